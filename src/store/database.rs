//! The database file: how it is opened, made, migrated and judged.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{Error, ErrorKind, Result};

pub(super) const FILE_NAME: &str = "unit.db";
/// "VCLS" in the file's header: tells our databases from anybody else's.
const APPLICATION_ID: i32 = 0x5643_4C53;
/// How long to wait for another process that writes: the command line beside the daemon.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept prepared by each connection: more than there are.
const STATEMENTS_MAX: usize = 64;
/// Up to this size every page is looked at before the first use; it takes some 10 ms a MB on a Cortex-A53.
const QUICK_CHECK_BYTES_MAX: u64 = 4 << 20;

/// One step of the schema each; the number of steps done is the file's `user_version`. Steps are only ever added.
const MIGRATIONS: [&str; 3] =
    [include_str!("migrations/0001.sql"), include_str!("migrations/0002.sql"), include_str!("migrations/0003.sql")];

/// On every connection. FULL: NORMAL could lose commits at a power cut in WAL mode. No mmap: an input/output error would
/// be a signal instead of an error. The log is cut back to 4 MB whenever it starts over.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA journal_size_limit = 4194304;
    PRAGMA mmap_size = 0;
    PRAGMA trusted_schema = OFF;
    PRAGMA temp_store = MEMORY;
";

/// Bytes on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub database: u64,
    pub log: u64,
}

impl Size {
    pub(super) fn total(self) -> u64 {
        self.database + self.log
    }
}

pub(super) fn size(path: &Path) -> Size {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    Size { database: bytes(path), log: bytes(&beside(path, "-wal")) }
}

/// Opens for writing; makes the directory (0700) and the file (0600) where there are none, and migrates.
///
/// # Errors
/// Conflict when the file belongs to a newer version or another program: it is then left as it was found.
pub(super) fn open_writer(path: &Path) -> Result<Connection> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|cause| unusable(directory, cause))?;
    }
    // SQLite gives the log beside it the same mode.
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|cause| unusable(path, cause))?;
    refuse_foreign(path)?;
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    settle(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    migrate(&connection)?;
    Ok(connection)
}

/// Opens for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let connection = peek(path)?;
    settle(&connection)?;
    Ok(connection)
}

/// Looks without touching: a read-only connection neither changes the file nor moves the log into it.
fn peek(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.execute_batch(SETTINGS)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn refuse_foreign(path: &Path) -> Result<()> {
    let connection = peek(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let (application, version) = (pragma(&connection, "application_id")?, pragma(&connection, "user_version")?);
    if application != APPLICATION_ID && (application != 0 || version != 0) {
        let text = format!("{} is no database of this program: name another state directory.", path.display());
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    if usize::try_from(version).is_ok_and(|version| version > MIGRATIONS.len()) {
        let text = format!(
            "{} has version {version}, this program knows versions up to {}: install the newer program again, or restore \
             a backup made with this one.",
            path.display(),
            MIGRATIONS.len()
        );
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    Ok(())
}

fn migrate(connection: &Connection) -> Result<()> {
    while usize::try_from(pragma(connection, "user_version")?).is_ok_and(|done| done < MIGRATIONS.len()) {
        let step = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        // Read again: another process may have been faster.
        let done = usize::try_from(pragma(&step, "user_version")?).unwrap_or(0);
        let Some(sql) = MIGRATIONS.get(done) else { break };
        step.execute_batch(sql)?;
        step.pragma_update(None, "application_id", APPLICATION_ID)?;
        step.pragma_update(None, "user_version", i64::try_from(done + 1).unwrap_or(i64::MAX))?;
        step.commit()?;
    }
    Ok(())
}

/// Whether the file is there and cannot be a sound database. A small one is read through; of a large one only the header
/// and the schema, because the start must not take long.
///
/// # Errors
/// When it cannot be read for another reason.
pub(super) fn is_damaged(path: &Path) -> Result<bool> {
    if size(path).database == 0 {
        return Ok(false);
    }
    match look_through(path) {
        Ok(sound) => Ok(!sound),
        Err(cause) => match cause.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(true),
            _ => Err(cause.into()),
        },
    }
}

fn look_through(path: &Path) -> rusqlite::Result<bool> {
    let connection = peek(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    if size(path).total() > QUICK_CHECK_BYTES_MAX {
        return Ok(true);
    }
    connection.query_row("PRAGMA quick_check(1)", [], |row| Ok(row.get::<_, String>(0)? == "ok"))
}

/// Renames the database and its log, and returns the new name.
///
/// # Errors
/// Internal when the file system refuses.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf> {
    let aside = beside(path, &format!(".damaged-{}", Timestamp::now().as_second()));
    for suffix in ["", "-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(cause) if cause.kind() != IoErrorKind::NotFound => return Err(unusable(path, cause)),
            _ => {}
        }
    }
    Ok(aside)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unusable(path: &Path, cause: std::io::Error) -> Error {
    Error::internal(format!(
        "{} cannot be used for the database: check that it exists and belongs to this account.",
        path.display()
    ))
    .because(cause)
}
