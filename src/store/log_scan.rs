//! Reads SQLite's write-ahead log as recovery will, to find what recovery passes over in silence: it stops at the first
//! frame whose checksum is wrong, which is right for a commit that a power cut interrupted and wrong for a damaged disk.
//!
//! Format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>. In synchronous FULL each commit is durable before
//! the next one begins, so a power cut leaves at most one broken commit, at the end; more than that is damage.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The lowest bit says whether checksums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;
const PAGE_BYTES_MAX: usize = 65_536;

/// Commits that recovery would pass over although they were durable; 0 for a sound log or none.
///
/// # Errors
/// When the log is there and cannot be read.
pub(super) fn lost_commits(log: &Path) -> io::Result<usize> {
    match fs::read(log) {
        Ok(bytes) => Ok(lost(&bytes)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(0),
        Err(cause) => Err(cause),
    }
}

fn lost(log: &[u8]) -> usize {
    let Some((header, frames)) = log.split_at_checked(HEADER_BYTES) else { return 0 };
    let page_bytes = word(header, 8) as usize;
    let salts = &header[16..24];
    if word(header, 0) & !1 != MAGIC || page_bytes == 0 || page_bytes > PAGE_BYTES_MAX {
        // Nothing in it can be found; a log that was emptied has no frames.
        return usize::from(frames.iter().any(|byte| *byte != 0));
    }
    let big_endian = word(header, 0) & 1 == 1;
    let mut sums = checksum((0, 0), &header[..24], big_endian);
    let mut sound = sums == (word(header, 24), word(header, 28));
    let header_broken = !sound;
    let mut commits = 0;
    for frame in frames.chunks_exact(FRAME_HEADER_BYTES + page_bytes) {
        let same_log = &frame[8..16] == salts;
        if sound {
            sums = checksum(checksum(sums, &frame[..8], big_endian), &frame[FRAME_HEADER_BYTES..], big_endian);
            sound = same_log && sums == (word(frame, 16), word(frame, 20));
        }
        if !sound && same_log && word(frame, 4) != 0 {
            commits += 1;
        }
    }
    // Behind a sound header the last commit may have been cut off by a power cut.
    if commits > 1 || header_broken { commits } else { 0 }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn checksum(start: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    bytes.chunks_exact(8).fold(start, |(first, second), pair| {
        let (mut left, mut right) = (word(pair, 0), word(pair, 4));
        if !big_endian {
            (left, right) = (left.swap_bytes(), right.swap_bytes());
        }
        let first = first.wrapping_add(left).wrapping_add(second);
        (first, second.wrapping_add(right).wrapping_add(first))
    })
}
