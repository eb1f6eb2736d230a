//! `serve`: runs the unit, with one heap for all its threads, that large buffers stay out of.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::config::{Sources, load};
use crate::daemon;
use crate::error::Result;

/// Read by the C library as a program starts, and only then.
const HEAPS: &str = "MALLOC_ARENA_MAX";
/// From this size on a buffer is mapped by itself and given back when it is freed (mallopt(3), M_MMAP_THRESHOLD).
const MAPPED: &str = "MALLOC_MMAP_THRESHOLD_";
/// More than a decoded 1080p picture, which should stay cheap to get, and less than what a password is hashed in.
const MAPPED_BYTES: u32 = 16 << 20;

pub fn run(sources: &Sources) -> Result<ExitCode> {
    share_one_heap();
    daemon::serve(&load(sources)?, sources).map(|()| ExitCode::SUCCESS)
}

/// glibc keeps what each thread has freed apart: buffers of whole pictures, several times over, a quarter of the unit's memory.
/// So the program begins once more, as the same process, with all threads on one heap; a number from outside wins.
///
/// Left to itself, glibc also begins to keep buffers of the size of the largest one freed so far in that heap. There, each
/// password's 19 MiB left a hole that something small soon lay in: half a gigabyte after some thousand logins.
fn share_one_heap() {
    if std::env::var_os(HEAPS).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // It comes back only when it could not: the unit then runs all the same, and takes more memory.
        let mut again = Command::new(program);
        again.args(std::env::args_os().skip(1)).env(HEAPS, "1");
        if std::env::var_os(MAPPED).is_none() {
            again.env(MAPPED, MAPPED_BYTES.to_string());
        }
        let _ = again.exec();
    }
}
