//! The only SQL of the unit: SQLite in one file, one thread that writes with group commit, a few that read, numbered
//! migrations, and one file for each group of tables.
//!
//! Every operation answers through a [`Pending`]; a write is answered once it is durable (WAL, synchronous FULL), so it
//! survives `kill -9` and a power cut. Several processes may have the same state directory open: the daemon and the
//! command line beside it.

mod audit;
mod authority;
mod automatic;
mod backup;
mod check;
mod classifications;
mod columns;
mod condition;
mod counts;
mod coverage;
mod damage;
mod database;
mod failure;
mod health;
mod held;
mod log_scan;
mod outbox;
mod passages;
mod pending;
mod queue;
mod reports;
mod restamp;
mod restore;
mod retention;
mod schema;
mod statistics;
mod tokens;
mod trail;
mod upkeep;
mod users;
mod validations;
mod version;
mod wear;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Notify;

pub use audit::{AUDIT_PAGE_ROWS_MAX, AuditFilter, AuditHead};
pub use automatic::{BackupFile, BackupPlan};
pub use backup::back_up;
pub use classifications::{ClassificationFilter, ClassificationPlace};
pub use counts::CountsPage;
pub use database::FILE_NAME as DATABASE_FILE;
pub use health::{StoreHealth, acknowledge_damage, damaged_files};
pub use outbox::{Epoch, EventEncoder, OutboxHead, OutboxKeep, OutboxRow};
pub use passages::{PASSAGE_PAGE_ROWS_MAX, PassageFilter, PassagePlace};
pub use pending::Pending;
pub use reports::{REPORT_PAGE_ROWS_MAX, ReportFilter, ReportPlace};
pub use restore::{BackupSource, Restored, restore};
pub use retention::{Keep, Retention};
pub use statistics::{RecordCount, Statistics};
pub use trail::{AuditCheck, Fault};
pub use upkeep::UpkeepPlan;
pub use users::{FIRST_ADMIN, FIRST_PASSWORD_FILE, NewPassword, NewUser, UserChange};
pub use validations::{VALIDATION_PAGE_ROWS_MAX, Validation};
pub use wear::{WriteVolume, bytes_written};

use crate::error::{Error, Result};
use crate::metrics::{Limit, Metrics};
use condition::{Condition, Reader};
use failure::stopping;
use held::Held;
use queue::{Jobs, Queue};
use upkeep::Upkeep;
use writer::{Heartbeat, Writer};

/// Of the SQLite that is built in.
pub const SQLITE_VERSION: &str = match rusqlite::ffi::SQLITE_VERSION.to_str() {
    Ok(version) => version,
    Err(_) => "unknown",
};

/// Checks, backups and chain walks that may wait for the one thread that does them.
const MAINTENANCE_DEPTH_MAX: usize = 4;

/// Where the store is, and its limits.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The state directory; the database is `unit.db` in it. Made (0700) if there is none.
    pub directory: PathBuf,
    /// Writes, and as many reads, that may wait; the next one is refused.
    pub queue_depth_max: usize,
    /// Threads for short reads, each with a connection of its own; at least one. Lists have another.
    pub readers: usize,
    /// Classifications kept; the oldest go first.
    pub classifications_max: u64,
    /// Bytes of kept crops of passages; the oldest go first.
    pub crop_bytes_max: u64,
    /// How events for the central site are written; none: there is no central site, and no outbox is kept.
    pub events: Option<EventEncoder>,
    /// Memory for records that the disk refuses, until it takes them.
    pub held_bytes_max: usize,
}

/// What a watchdog needs to know of the writer.
#[derive(Clone, Copy, Debug)]
pub struct StoreProgress {
    /// Writes done since the start, failed ones included.
    pub jobs_done: u64,
    /// How long the writer has been at its present group of writes; none while it is idle. Long means stuck.
    pub busy_for: Option<Duration>,
    /// Whether the writing thread runs.
    pub alive: bool,
}

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    condition: Arc<Condition>,
    classifications_max: i64,
    crop_bytes_max: i64,
    events: Option<EventEncoder>,
    /// Told of each commit.
    recorded: Arc<Notify>,
    writes: Queue,
    reads: Queue,
    lists: Queue,
    maintenance: Queue,
    heartbeat: Arc<Heartbeat>,
    threads: Mutex<Threads>,
    /// Tells long maintenance to end early.
    closing: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Threads {
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    upkeep: Option<Upkeep>,
}

impl Store {
    /// Counts what goes from a table by a limit of its rows or bytes.
    fn rows_deleted(&self, table: &str) -> prometheus::IntCounter {
        self.0.metrics.store.rows_deleted.with_label_values(&[table])
    }

    /// Opens the database of the state directory, making or migrating it as needed, and starts the threads.
    ///
    /// # Errors
    /// Conflict when the database belongs to a newer version or another program, which leaves it untouched; internal when
    /// it is damaged or the directory cannot be used.
    pub fn open(settings: StoreSettings, metrics: Arc<Metrics>) -> Result<Self> {
        let path = settings.directory.join(database::FILE_NAME);
        let connection = database::open_writer(&path).map_err(|error| database::refused(&path, error))?;
        Self::start(&settings, metrics, connection, Condition::new(path, false))
    }

    /// Like [`Store::open`] for the daemon, which must go on when the database is damaged, found now or while it runs: that
    /// one is renamed to `unit.db.damaged-<date>`, and the unit goes on with an empty one that has its accounts and service
    /// tokens, as far as they can be read in it or in the newest automatic backup. A database that cannot be read or written
    /// for another reason (rights, locks, descriptors, a failing disk) is never taken for a damaged one.
    ///
    /// # Errors
    /// As [`Store::open`], damage aside.
    pub fn open_or_set_aside(settings: StoreSettings, metrics: Arc<Metrics>) -> Result<Self> {
        let path = settings.directory.join(database::FILE_NAME);
        let connection = damage::open_sound(&path).map_err(|error| database::refused(&path, error))?;
        Self::start(&settings, metrics, connection, Condition::new(path, true))
    }

    fn start(
        settings: &StoreSettings,
        metrics: Arc<Metrics>,
        connection: Connection,
        condition: Condition,
    ) -> Result<Self> {
        let condition = Arc::new(condition);
        let mut threads = Threads::default();

        let (reads, jobs) = Queue::new("store_read", Limit::StoreReadQueue, settings.queue_depth_max, &metrics);
        for number in 0..settings.readers.max(1) {
            let reader = Reader::open(&condition, false)?;
            threads.readers.push(reading(format!("store-read-{number}"), reader, &condition, jobs.shared(), &metrics)?);
        }
        let (lists, jobs) = Queue::new("store_list", Limit::StoreListQueue, settings.queue_depth_max, &metrics);
        let reader = Reader::open(&condition, false)?;
        threads.readers.push(reading("store-list".into(), reader, &condition, jobs, &metrics)?);
        let (maintenance, jobs) =
            Queue::new("store_maintenance", Limit::StoreMaintenanceQueue, MAINTENANCE_DEPTH_MAX, &metrics);
        let reader = Reader::open(&condition, true)?;
        threads.readers.push(reading("store-maintain".into(), reader, &condition, jobs, &metrics)?);

        let (writes, jobs) = Queue::new("store", Limit::StoreQueue, settings.queue_depth_max, &metrics);
        let heartbeat = Arc::new(Heartbeat::default());
        let recorded = Arc::new(Notify::new());
        let writer = Writer {
            connection: Some(connection),
            condition: condition.clone(),
            jobs,
            held: Held::new(settings.held_bytes_max, metrics.clone()),
            heartbeat: heartbeat.clone(),
            recorded: recorded.clone(),
            metrics: metrics.clone(),
            aside: None,
            obstructed: false,
        };
        threads.writer = Some(spawn("store-write".into(), move || writer.run())?);

        Ok(Self(Arc::new(Inner {
            condition,
            classifications_max: i64::try_from(settings.classifications_max).unwrap_or(i64::MAX),
            crop_bytes_max: i64::try_from(settings.crop_bytes_max).unwrap_or(i64::MAX),
            events: settings.events.clone(),
            recorded,
            writes,
            reads,
            lists,
            maintenance,
            heartbeat,
            threads: Mutex::new(threads),
            closing: Arc::new(AtomicBool::new(false)),
            metrics,
        })))
    }

    /// How the writer is getting on; does not wait for it.
    #[must_use]
    pub fn progress(&self) -> StoreProgress {
        let threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
        StoreProgress {
            jobs_done: self.0.heartbeat.jobs_done(),
            busy_for: self.0.heartbeat.busy_for(),
            alive: threads.writer.as_ref().is_some_and(|writer| !writer.is_finished()),
        }
    }

    /// Takes no more jobs, finishes those that wait, moves the log into the database and ends the threads. Blocks; the
    /// second call finds nothing to do.
    pub fn close(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
        let Threads { readers, writer, upkeep } =
            std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.condition.interrupt();
        if let Some(upkeep) = upkeep {
            upkeep.stop();
        }
        self.0.condition.interrupt();
        self.0.reads.close();
        self.0.lists.close();
        self.0.maintenance.close();
        // Readers first: while one is open, the writer cannot empty the log.
        for reader in readers {
            ended(reader);
        }
        self.0.writes.close();
        if let Some(writer) = writer {
            ended(writer);
        }
    }

    fn path(&self) -> &Path {
        &self.0.condition.path
    }

    /// A write that is kept in memory, within a limit, and tried again while the disk refuses it; `bytes` is what it holds
    /// there. It is answered once it is durable or there is no room for it.
    fn write_steadfast<T, W>(&self, bytes: usize, work: W) -> Pending<T>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        self.0.writes.submit_steadfast(bytes, work)
    }

    fn write<T, W>(&self, work: W) -> Pending<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.0.writes.submit(work)
    }

    fn read<T, W>(&self, work: W) -> Pending<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.0.reads.submit(work)
    }

    /// Reads of many rows, some of which find little among very many. On a thread of their own: whoever asks for such lists
    /// all the time waits for others who do, and nobody waits to be known by his token.
    fn list<T, W>(&self, work: W) -> Pending<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.0.lists.submit(work)
    }

    /// Long reads, which must not hold up the short ones. `work` looks at the flag now and then and stops when it is set.
    fn maintain<T, W>(&self, work: W) -> Pending<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection, &AtomicBool) -> Result<T> + Send + 'static,
    {
        let closing = self.0.closing.clone();
        self.0.maintenance.submit(move |connection| {
            unless(&closing)?;
            // Whatever it failed with then, it was the interruption.
            work(connection, &closing).map_err(|error| if unless(&closing).is_err() { stopping() } else { error })
        })
    }
}

/// Fails once the store is closing.
fn unless(closing: &AtomicBool) -> Result<()> {
    if closing.load(Ordering::Relaxed) { Err(stopping()) } else { Ok(()) }
}

fn reading(
    name: String,
    reader: Reader,
    condition: &Arc<Condition>,
    jobs: Jobs,
    metrics: &Arc<Metrics>,
) -> Result<JoinHandle<()>> {
    let (condition, metrics) = (condition.clone(), metrics.clone());
    spawn(name, move || queue::read(reader, &condition, &jobs, &metrics))
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name)
        .spawn(work)
        .map_err(|cause| Error::internal("The store cannot start a thread.").because(cause))
}

fn ended(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store ended with a panic");
    }
}
