//! The one thread that writes, with group commit: everything that waits is written in one transaction and shares one
//! synchronisation of the disk. It never waits for more jobs with a transaction open.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior, ffi};
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::store::database::{self, BUSY_TIMEOUT};
use crate::store::failure::explain;
use crate::store::lane::{Job, Jobs};

/// Jobs of one transaction: bounds how long the first one waits for the last one.
const GROUP_JOBS_MAX: usize = 128;
/// A log of this size means that readers have kept the automatic checkpoint (4 MB) from starting the log over.
const WAL_BYTES_MAX: u64 = 16 << 20;
/// How often the writer tries to empty such a log, and how long it lets readers keep it from that.
const TRUNCATE_INTERVAL: Duration = Duration::from_secs(10);
const TRUNCATE_TIMEOUT: Duration = Duration::from_millis(250);

/// What the writer shows of itself while it works.
#[derive(Default)]
pub(super) struct Heartbeat {
    jobs_done: AtomicU64,
    busy_since: Mutex<Option<Instant>>,
    failing: AtomicBool,
}

impl Heartbeat {
    pub(super) fn jobs_done(&self) -> u64 {
        self.jobs_done.load(Ordering::Relaxed)
    }

    /// How long the group in hand has been worked on.
    pub(super) fn busy_for(&self) -> Option<Duration> {
        self.busy_since.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    /// Whether the last commit failed.
    pub(super) fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    fn set_busy(&self, since: Option<Instant>) {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

pub(super) struct Writer {
    pub connection: Connection,
    pub path: PathBuf,
    pub jobs: Jobs,
    pub heartbeat: Arc<Heartbeat>,
    /// Told of each commit.
    pub recorded: Arc<Notify>,
    pub metrics: Arc<Metrics>,
}

impl Writer {
    /// Until the lane is closed and its queue is empty; then the log is emptied into the database.
    pub(super) fn run(self) {
        let mut next_truncate = Instant::now();
        while let Some(first) = self.jobs.next() {
            self.heartbeat.set_busy(Some(Instant::now()));
            let mut group = vec![first];
            group.extend(self.jobs.waiting(GROUP_JOBS_MAX - 1));
            self.commit(group);
            self.watch_size(&mut next_truncate);
            self.heartbeat.set_busy(None);
        }
        // Not being able to is no loss: whoever opens the database next finds the log.
        let _ = truncate_log(&self.connection);
    }

    fn commit(&self, mut group: Vec<Box<dyn Job>>) {
        let failure = self.transact(&mut group).err();
        self.note(failure.as_ref());
        self.heartbeat.jobs_done.fetch_add(group.len() as u64, Ordering::Relaxed);
        for job in group {
            job.answer(failure.as_ref().map(explain));
        }
    }

    /// All jobs in one transaction, each in a savepoint of its own.
    fn transact(&self, group: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        for job in group {
            transaction.execute_batch("SAVEPOINT job")?;
            let succeeded = job.run(&transaction);
            // A full disk or an input/output error makes SQLite roll everything back by itself: the whole group failed.
            if transaction.is_autocommit() {
                return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT), None));
            }
            transaction.execute_batch(if succeeded { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" })?;
        }
        transaction.commit()?;
        self.metrics.store_commits.inc();
        self.recorded.notify_one();
        Ok(())
    }

    /// Logs the first of many failed commits, and the end of them.
    fn note(&self, failure: Option<&rusqlite::Error>) {
        let failed_before = self.heartbeat.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(cause) if !failed_before => {
                tracing::error!(%cause, path = %self.path.display(), "the store cannot write");
            }
            None if failed_before => tracing::info!("the store can write again"),
            _ => {}
        }
    }

    fn watch_size(&self, next_truncate: &mut Instant) {
        let size = database::size(&self.path);
        self.metrics.store_bytes.set(i64::try_from(size.total()).unwrap_or(i64::MAX));
        if size.log > WAL_BYTES_MAX && Instant::now() >= *next_truncate {
            *next_truncate = Instant::now() + TRUNCATE_INTERVAL;
            let connection = &self.connection;
            let emptied = connection.busy_timeout(TRUNCATE_TIMEOUT).and_then(|()| truncate_log(connection));
            let emptied = connection.busy_timeout(BUSY_TIMEOUT).and(emptied);
            if let Err(cause) = emptied {
                tracing::warn!(%cause, "the store's log cannot be emptied");
            }
        }
    }
}

/// Moves the log into the database and cuts it to nothing, as far as readers let it.
fn truncate_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
