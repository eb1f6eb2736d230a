//! What the threads of one store tell each other about the database file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, InterruptHandle};

use crate::store::database;

/// Longest a short read may take, so that one question that finds little among very many rows does not hold up all others.
pub(super) const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Instructions of SQLite between two looks at the time: about a millisecond.
const LOOK_INSTRUCTIONS: i32 = 50_000;

pub(super) struct Condition {
    pub path: PathBuf,
    /// Whether a damaged database is set aside while the unit runs: the daemon's right alone.
    pub replaces_damaged: bool,
    /// Goes up when a damaged database is set aside.
    generation: AtomicU64,
    /// Generation of the newest database that damage was met in, plus one; 0: none.
    damaged: AtomicU64,
    /// Fresh databases that took the place of damaged ones.
    replacements: AtomicU64,
    /// Of the long work under way, so that closing can cut it short.
    interrupt: Mutex<Option<InterruptHandle>>,
}

impl Condition {
    pub(super) fn new(path: PathBuf, replaces_damaged: bool) -> Self {
        Self {
            path,
            replaces_damaged,
            generation: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            replacements: AtomicU64::new(0),
            interrupt: Mutex::new(None),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Somebody met damage in the database of that generation.
    pub(super) fn report_damage(&self, generation: u64) {
        if self.replaces_damaged {
            self.damaged.fetch_max(generation + 1, Ordering::AcqRel);
        }
    }

    /// Whether the present database is to be set aside.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire) == self.generation() + 1
    }

    /// The damaged database is out of the way; readers turn to its successor with their next job.
    pub(super) fn set_aside(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// A fresh database is there.
    pub(super) fn replaced(&self) {
        self.replacements.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn replacements(&self) -> u64 {
        self.replacements.load(Ordering::Acquire)
    }

    pub(super) fn allow_interrupt(&self, connection: &Connection) {
        *self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.get_interrupt_handle());
    }

    pub(super) fn interrupt(&self) {
        if let Some(handle) = &*self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.interrupt();
        }
    }
}

/// A reading connection that follows its store from one database to the next.
pub(super) struct Reader {
    connection: Option<Connection>,
    generation: u64,
    /// For long work, which closing can cut short. Short work has a time limit instead.
    long: bool,
    deadline: Deadline,
}

/// When the read under way must be done.
#[derive(Clone, Default)]
struct Deadline(Arc<Mutex<Option<Instant>>>);

impl Deadline {
    fn set(&self, time: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
    }

    fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl Reader {
    pub(super) fn open(condition: &Condition, long: bool) -> crate::error::Result<Self> {
        let generation = condition.generation();
        let mut connection = database::open_reader(&condition.path)?;
        let deadline = Deadline::default();
        if long {
            condition.allow_interrupt(&connection);
        } else {
            let deadline = deadline.clone();
            connection.progress_handler(LOOK_INSTRUCTIONS, Some(move || deadline.is_over()))?;
        }
        Ok(Self { connection: Some(connection), generation, long, deadline })
    }

    /// The connection to the present database, for one job of at most that long; none when that cannot be opened.
    pub(super) fn connection(&mut self, condition: &Condition, time_max: Duration) -> Option<&Connection> {
        if self.connection.is_none() || self.generation != condition.generation() {
            self.connection = None;
            match Self::open(condition, self.long) {
                Ok(reader) => *self = reader,
                Err(error) => tracing::warn!("the database cannot be opened for reading: {}", error.chain()),
            }
        }
        self.deadline.set(time_max);
        self.connection.as_ref()
    }

    /// Whether the last job was cut off by the time limit.
    pub(super) fn ran_out_of_time(&self) -> bool {
        !self.long && self.deadline.is_over()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}
