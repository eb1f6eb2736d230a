//! The database file: how it is made, opened and named.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::store::failure::is_damage;
use crate::store::version;

/// The database's name in the state directory.
pub const FILE_NAME: &str = "unit.db";
/// How long to wait for another process that writes: the command line beside the daemon.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept prepared by each connection: more than there are.
const STATEMENTS_MAX: usize = 64;
/// One step of the schema each; the number of steps done is the file's `user_version`. Steps are only ever added.
pub(super) const MIGRATIONS: [&str; 6] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
];

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
pub(super) struct FileSizes {
    pub database: u64,
    pub log: u64,
}

impl FileSizes {
    pub(super) fn total(self) -> u64 {
        self.database + self.log
    }
}

pub(super) fn size(path: &Path) -> FileSizes {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    FileSizes { database: bytes(path), log: bytes(&beside(path, "-wal")) }
}

/// Opens for writing; makes the directory (0700) and the file (0600) where there are none, and migrates.
///
/// # Errors
/// Conflict when the file belongs to a newer version or another program: it is then left as it was found.
pub(super) fn open_writer(path: &Path) -> Result<Connection> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|cause| unusable(directory, cause))?;
    }
    require_usable(path)?;
    if fs::symlink_metadata(path).is_err() {
        // SQLite gives the log beside it the same mode, and the same owner.
        match files::create(path) {
            // Another process was faster.
            Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => return Err(unusable(path, cause)),
            _ => {}
        }
    }
    version::refuse_foreign(path)?;
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    settle(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    version::migrate(&connection)?;
    Ok(connection)
}

/// Opens for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let connection = peek(path)?;
    settle(&connection)?;
    Ok(connection)
}

/// Looks without touching: a read-only connection neither changes the file nor moves the log into it.
pub(super) fn peek(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // The last connection would remove the log by its name, which may be that of a fresh database by then.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch(SETTINGS)
}

/// Removes a database and what belongs to it; what cannot be removed stays.
pub(super) fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(beside(path, suffix));
    }
}

/// A name beside the file that says when, and that nothing has yet.
pub(super) fn dated(path: &Path, mark: &str) -> PathBuf {
    let date = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let names = std::iter::once(String::new()).chain((2..).map(|number| format!("-{number:03}")));
    let mut names = names.map(|suffix| beside(path, &format!("{mark}{date}{suffix}")));
    names.find(|name| fs::symlink_metadata(name).is_err()).unwrap_or_else(|| beside(path, mark))
}

/// Makes renamed and new names in the file's directory durable.
///
/// # Errors
/// Internal when the file system refuses.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(|cause| unusable(directory, cause))
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Refuses what this account cannot read and write: the directory, the database, its log.
///
/// # Errors
/// Config, naming the file, its owner and the remedy.
pub(super) fn require_usable(path: &Path) -> Result<()> {
    obstacle(path).map_or(Ok(()), |why| Err(Error::config(why)))
}

/// What keeps this account from using the database and what belongs to it; that is no damage.
pub(super) fn obstacle(path: &Path) -> Option<String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = ["", "-wal", "-shm"].iter().find_map(|suffix| files::obstacle(&beside(path, suffix)));
    beside.or_else(|| files::obstacle(directory))
}

/// The failure of opening a database, with its file, and the obstacle where there is one.
pub(super) fn refused(path: &Path, error: Error) -> Error {
    if error.kind() != ErrorKind::Unavailable || is_damage(&error) {
        return error;
    }
    let text = obstacle(path).unwrap_or_else(|| format!("{} cannot be used. {}", path.display(), error.message()));
    let cause = error.chain();
    Error::config(text).because(cause)
}

pub(super) fn unusable(path: &Path, cause: std::io::Error) -> Error {
    let text = obstacle(path).unwrap_or_else(|| {
        format!("{} cannot be used for the database: check its disk and the kernel's log.", path.display())
    });
    Error::internal(text).because(cause)
}
