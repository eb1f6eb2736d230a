//! How much the unit writes to the disk on each day: flash wears out.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clock::Stamp;
use crate::error::Result;
use crate::store::{Pending, Store};

/// How often the write volume of the day is noted; it is once more when the unit stops.
const NOTE_PERIOD: Duration = Duration::from_secs(600);
/// How many days of it are kept.
const DAYS: i64 = 400;
const DAY_SECONDS: i64 = 86_400;
/// How the names of the store's threads begin.
const THREADS: &str = "store-";

/// What was written to the disk on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteVolume {
    /// Days since 1970 UTC.
    pub day: i64,
    /// By the store; the file system's own log and the card's erase blocks come on top.
    pub bytes: u64,
    pub commits: u64,
}

impl Store {
    fn note_write_volume(&self, new: WriteVolume, clock_synced: bool) -> Result<()> {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let sql = "INSERT INTO write_volume (day, bytes, commits) VALUES (?1, ?2, ?3)
            ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes, commits = commits + excluded.commits";
        let noted = self.write(move |connection| {
            connection.prepare_cached(sql)?.execute([new.day, count(new.bytes), count(new.commits)])?;
            if clock_synced {
                let sql = "DELETE FROM write_volume WHERE day < ?1";
                connection.prepare_cached(sql)?.execute([new.day - DAYS])?;
            }
            Ok(())
        });
        noted.wait()
    }

    /// What was written to the disk on each of the newest days, oldest first; what the running unit wrote in the last
    /// minutes is not noted yet.
    pub fn write_volume(&self, days: u32) -> Pending<Vec<WriteVolume>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(NEWEST_DAYS)?;
            let rows = statement.query_map([days], |row| {
                let (bytes, commits): (i64, i64) = (row.get(1)?, row.get(2)?);
                Ok(WriteVolume { day: row.get(0)?, bytes: bytes.unsigned_abs(), commits: commits.unsigned_abs() })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

pub(super) const NEWEST_DAYS: &str =
    "SELECT * FROM (SELECT day, bytes, commits FROM write_volume ORDER BY day DESC LIMIT ?1) ORDER BY day";

/// What the threads of the process's stores have given the file system to write (proc_pid_io(5), `wchar`); 0 where the kernel
/// does not count it. Not its `write_bytes`: on file systems with large folios it takes each page for the whole folio, 25 times
/// what went to the disk in a large database.
#[must_use]
pub fn bytes_written() -> u64 {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return 0 };
    let read = |thread: &Path, file: &str| fs::read_to_string(thread.join(file)).unwrap_or_default();
    let written = |thread: &Path| {
        read(thread, "io").lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap_or(0)
    };
    let own = threads.flatten().map(|thread| thread.path()).filter(|thread| read(thread, "comm").starts_with(THREADS));
    own.map(|thread| written(&thread)).sum()
}

fn day_of(now: &Stamp) -> i64 {
    now.at.as_second().div_euclid(DAY_SECONDS)
}

/// The upkeep's book on it.
pub(super) struct Wear {
    next_note: Instant,
    /// Bytes and commits that are noted already.
    noted: (u64, u64),
}

impl Wear {
    pub(super) fn new() -> Self {
        Self { next_note: Instant::now() + NOTE_PERIOD, noted: (bytes_written(), 0) }
    }

    pub(super) fn note_now_and_then(&mut self, store: &Store, now: &Stamp) {
        if Instant::now() >= self.next_note {
            self.next_note = Instant::now() + NOTE_PERIOD;
            self.note(store, now);
        }
    }

    pub(super) fn note(&mut self, store: &Store, now: &Stamp) {
        let new = self.new_since(store, now);
        match store.note_write_volume(new, now.synced) {
            Ok(()) => self.noted = (self.noted.0 + new.bytes, self.noted.1 + new.commits),
            Err(error) => tracing::debug!("the write volume cannot be noted: {}", error.chain()),
        }
    }

    fn new_since(&self, store: &Store, now: &Stamp) -> WriteVolume {
        WriteVolume {
            day: day_of(now),
            bytes: bytes_written().saturating_sub(self.noted.0),
            commits: store.0.metrics.store_commits.get().saturating_sub(self.noted.1),
        }
    }

    pub(super) fn figures(&self, store: &Store, now: &Stamp) {
        let set = |gauge: &prometheus::IntGauge, bytes: u64| gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let metrics = &store.0.metrics.store;
        set(&metrics.written_bytes, bytes_written());
        let Ok(days) = store.write_volume(2).wait() else { return };
        let of = |day: i64| days.iter().find(|noted| noted.day == day).map_or(0, |noted| noted.bytes);
        let today = day_of(now);
        let new = self.new_since(store, now).bytes;
        set(&metrics.written_day_bytes.with_label_values(&["today"]), of(today) + new);
        set(&metrics.written_day_bytes.with_label_values(&["yesterday"]), of(today - 1));
    }
}
