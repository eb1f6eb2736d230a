//! The one thread that writes, with group commit: everything that waits is written in one transaction and shares one
//! synchronisation of the disk. It never waits for more jobs with a transaction open.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior, ffi};
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::store::condition::Condition;
use crate::store::damage;
use crate::store::database::{self, BUSY_TIMEOUT};
use crate::store::failure::{again, explain, is_damage, no_database};
use crate::store::held::Held;
use crate::store::queue::{Job, Jobs, Next, Ran};

/// Jobs of one transaction: bounds how long the first one waits for the last one.
const GROUP_JOBS_MAX: usize = 128;
/// A log of this size means that readers have kept the automatic checkpoint (4 MB) from starting the log over.
const WAL_BYTES_MAX: u64 = 16 << 20;
/// How often the writer tries to empty such a log, and how long it lets readers keep it from that.
const TRUNCATE_INTERVAL: Duration = Duration::from_secs(10);
const TRUNCATE_TIMEOUT: Duration = Duration::from_millis(250);

/// How often an idle writer looks whether the database is damaged and whether what it keeps can be stored.
const TICK: Duration = Duration::from_secs(1);

/// What the writer shows of itself while it works.
#[derive(Default)]
pub(super) struct Heartbeat {
    jobs_done: AtomicU64,
    busy_since: Mutex<Option<Instant>>,
    failing: AtomicBool,
    held: AtomicU64,
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

    /// Records kept in memory until the disk takes them.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn set_busy(&self, since: Option<Instant>) {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

pub(super) struct Writer {
    /// None while no database can be opened.
    pub connection: Option<Connection>,
    pub condition: Arc<Condition>,
    pub jobs: Jobs,
    pub held: Held,
    pub heartbeat: Arc<Heartbeat>,
    /// Told of each commit.
    pub recorded: Arc<Notify>,
    pub metrics: Arc<Metrics>,
    /// The damaged database in whose place no fresh one could be made yet.
    pub aside: Option<PathBuf>,
    /// Whether the log was told that a database that reports damage cannot be used.
    pub obstructed: bool,
}

impl Writer {
    /// Until the queue is closed and empty; then the log is emptied into the database.
    pub(super) fn run(mut self) {
        let mut next_truncate = Instant::now();
        let mut next_held = Instant::now();
        loop {
            let arrived = match self.jobs.next_within(TICK) {
                Next::Job(job) => Some(job),
                Next::Nothing => None,
                Next::Closed => break,
            };
            self.heartbeat.set_busy(Some(Instant::now()));
            self.see_to_database();
            if let Some(first) = arrived {
                let mut group = vec![first];
                group.extend(self.jobs.waiting(GROUP_JOBS_MAX - 1));
                self.commit(group);
            }
            // Apart from the others, which may be small enough for what room there is.
            if !self.held.is_empty() && (!self.heartbeat.failing() || Instant::now() >= next_held) {
                next_held = Instant::now() + TICK;
                let group = self.held.take(GROUP_JOBS_MAX);
                self.commit(group);
            }
            self.see_to_database();
            self.watch_size(&mut next_truncate);
            self.heartbeat.set_busy(None);
        }
        self.finish();
    }

    /// The last try for what was kept, then the log is emptied.
    fn finish(mut self) {
        while !self.held.is_empty() {
            let group = self.held.take(GROUP_JOBS_MAX);
            let count = group.len();
            self.commit(group);
            if self.heartbeat.failing() {
                tracing::error!("{} records were kept in memory and could not be stored", count.max(self.held.len()));
                break;
            }
        }
        if let Some(connection) = &self.connection {
            // Not being able to is no loss: whoever opens the database next finds the log.
            let _ = truncate_log(connection);
            if self.condition.replaces_damaged {
                // Nobody but this process exchanges the file: the log's name is surely this database's.
                let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
            }
        }
    }

    /// Puts a fresh database in the place of a damaged one, and opens one where there is none.
    fn see_to_database(&mut self) {
        if self.condition.is_damaged() {
            // The same judgement as at the start: what this account may not use tells nothing.
            if let Some(why) = database::obstacle(&self.condition.path) {
                if !std::mem::replace(&mut self.obstructed, true) {
                    tracing::error!(
                        "the database reports damage but is not set aside, because it cannot be used: {why}"
                    );
                }
                return;
            }
            self.obstructed = false;
            self.connection = None;
            match damage::set_aside(&self.condition.path) {
                Ok(aside) => {
                    tracing::error!(aside = %aside.display(), "the database is damaged and was set aside; going on with an empty one");
                    self.aside = Some(aside);
                    self.condition.set_aside();
                }
                Err(error) => return tracing::error!("a damaged database cannot be set aside: {}", error.chain()),
            }
        }
        if self.connection.is_none() {
            match damage::open_fresh(&self.condition.path, self.aside.as_deref()) {
                Ok(connection) => {
                    (self.connection, self.aside) = (Some(connection), None);
                    self.condition.replaced();
                }
                Err(error) => tracing::error!("no fresh database can be made: {}", error.chain()),
            }
        }
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) {
        let failure = match &self.connection {
            None => {
                self.heartbeat.failing.store(true, Ordering::Relaxed);
                Some(no_database())
            }
            Some(connection) => {
                let outcome = self.transact(connection, &mut group);
                self.note(&outcome);
                outcome.err().as_ref().map(explain)
            }
        };
        if failure.as_ref().is_some_and(is_damage) {
            self.condition.report_damage(self.condition.generation());
        }
        self.heartbeat.jobs_done.fetch_add(group.len() as u64, Ordering::Relaxed);
        let done: Vec<_> = group.into_iter().filter_map(|job| self.held.keep(job, failure.as_ref())).collect();
        self.heartbeat.held.store(self.held.len() as u64, Ordering::Relaxed);
        self.metrics.store.held.set(i64::try_from(self.held.len()).unwrap_or(i64::MAX));
        // Last: who has an answer finds the figures right.
        for job in done {
            job.answer(failure.as_ref().map(again));
        }
    }

    /// All jobs in one transaction, each in a savepoint of its own. Whether there was anything to write.
    fn transact(&self, connection: &Connection, group: &mut [Box<dyn Job>]) -> rusqlite::Result<bool> {
        let changes = connection.total_changes();
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        for job in group {
            transaction.execute_batch("SAVEPOINT job")?;
            let ran = job.run(&transaction);
            if ran == Ran::MetDamage {
                return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), None));
            }
            // A full disk or an input/output error makes SQLite roll everything back by itself: the whole group failed.
            if transaction.is_autocommit() {
                return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT), None));
            }
            transaction.execute_batch(if ran == Ran::Well { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" })?;
        }
        transaction.commit()?;
        self.metrics.store_commits.inc();
        self.recorded.notify_one();
        Ok(connection.total_changes() != changes)
    }

    /// Logs the first of many failed commits, and the end of them. One that had nothing to write says nothing of the disk.
    fn note(&self, outcome: &rusqlite::Result<bool>) {
        let failed_before = self.heartbeat.failing();
        match outcome {
            Err(cause) if !failed_before => {
                tracing::error!(%cause, path = %self.condition.path.display(), "the store cannot write");
            }
            Ok(true) if failed_before => tracing::info!("the store can write again"),
            _ => return,
        }
        self.heartbeat.failing.store(outcome.is_err(), Ordering::Relaxed);
    }

    fn watch_size(&self, next_truncate: &mut Instant) {
        let size = database::size(&self.condition.path);
        self.metrics.store_bytes.set(i64::try_from(size.total()).unwrap_or(i64::MAX));
        if size.log > WAL_BYTES_MAX && Instant::now() >= *next_truncate {
            *next_truncate = Instant::now() + TRUNCATE_INTERVAL;
            let Some(connection) = &self.connection else { return };
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
