//! The database as a whole: its health, a check of all of it, and copies of it.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, ErrorKind, Result};
use crate::store::{Pending, Store, damage, database, unless, version};

/// Problems listed by a check; a broken database can have very many.
const PROBLEMS_MAX: usize = 100;
/// Pages (4 KiB) copied between two looks at whether the unit stops.
const BACKUP_STEP_PAGES: i32 = 1_024;

/// Whether the store can do its work.
#[derive(Clone, Copy, Debug)]
pub struct StoreHealth {
    /// It answers reads, its writer runs, and the last write did not fail for want of disk.
    pub ok: bool,
    /// Database and log on disk.
    pub bytes: u64,
    /// Damaged databases that were set aside and that nobody has acknowledged yet.
    pub damaged: usize,
    /// Records kept in memory until the disk takes them.
    pub held: u64,
}

impl Store {
    /// Asks a reader; cheap enough for every health check.
    pub fn health(&self) -> Pending<StoreHealth> {
        let store = self.clone();
        self.read(move |connection| {
            connection.prepare_cached("SELECT id FROM audit_head")?.query_row([], |_| Ok(()))?;
            let ok = store.progress().alive && !store.0.heartbeat.failing();
            Ok(StoreHealth {
                ok,
                bytes: database::size(store.path()).total(),
                damaged: damage::damaged(store.path()).len(),
                held: store.0.heartbeat.held(),
            })
        })
    }

    /// Names of damaged files that were set aside and that nobody has acknowledged yet, oldest first.
    #[must_use]
    pub fn damaged_files(&self) -> Vec<String> {
        damage::damaged(self.path())
    }

    /// Reads everything and lists what is wrong with it, a line each; nothing for a sound database.
    pub fn check(&self) -> Pending<Vec<String>> {
        self.maintain(|connection, _| problems(connection))
    }

    /// Copies the database as it is now to a new file (0600) while work goes on; Conflict when the file exists.
    pub fn backup(&self, path: &Path) -> Pending<()> {
        let path = path.to_owned();
        self.maintain(move |connection, closing| backup(connection, closing, &path))
    }
}

/// Damaged files of a state directory that were set aside and not acknowledged, oldest first.
#[must_use]
pub fn damaged_files(directory: &Path) -> Vec<String> {
    damage::damaged(&directory.join(database::FILE_NAME))
}

/// Renames damaged files from `….damaged-…` to `….kept-…`, so that they are no longer complained of; how many.
///
/// # Errors
/// Internal when the file system refuses.
pub fn acknowledge_damage(directory: &Path) -> Result<usize> {
    damage::acknowledge(&directory.join(database::FILE_NAME))
}

/// Bytes that an unprivileged process may still write beside `path`.
///
/// # Errors
/// Internal when the file system gives no answer.
pub(super) fn free_bytes(path: &Path) -> Result<u64> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::statvfs(directory).map(|facts| facts.f_bavail * facts.f_frsize).map_err(|cause| {
        Error::internal(format!("The free space of {} cannot be read.", directory.display())).because(cause)
    })
}

/// Pages, indices, references and shape.
pub(super) fn problems(connection: &Connection) -> Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
    let mut problems: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    problems.retain(|line| line != "ok");
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if problems.len() < PROBLEMS_MAX {
            problems.push(format!("table {}: a row refers to nothing", row.get::<_, String>(0)?));
        }
    }
    if !version::has_its_shape(connection)? {
        problems.push("a table, column or index of this version is missing".into());
    }
    Ok(problems)
}

/// Rows of each table that holds records, by name.
pub(super) fn row_counts(connection: &Connection) -> Result<Vec<(String, u64)>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
        AND name NOT LIKE '%_head' ORDER BY name";
    let names: Vec<String> =
        connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let count = |name: String| {
        let rows = connection.query_row(&format!("SELECT count(*) FROM \"{name}\""), [], |row| row.get::<_, i64>(0))?;
        Ok((name, rows.unsigned_abs()))
    };
    names.into_iter().map(count).collect()
}

fn backup(connection: &Connection, closing: &AtomicBool, path: &PathBuf) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(cause) if cause.kind() == IoErrorKind::AlreadyExists => {
            let text = format!("{} exists: name a new file for the backup.", path.display());
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        Err(cause) => {
            let text = format!("The backup {} cannot be made: check its directory.", path.display());
            return Err(Error::internal(text).because(cause));
        }
    }
    copy(connection, closing, path).inspect_err(|_| {
        // Half a backup is worse than none; when it cannot be removed either, the error says enough.
        let _ = fs::remove_file(path);
    })
}

fn copy(connection: &Connection, closing: &AtomicBool, path: &Path) -> Result<()> {
    // Steps see one moment as long as this transaction lasts; without it each foreign write would start the copy over.
    let snapshot = connection.unchecked_transaction()?;
    snapshot.query_row("SELECT id FROM audit_head", [], |_| Ok(()))?;
    let mut target = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let backup = Backup::new(&snapshot, &mut target)?;
    while backup.step(BACKUP_STEP_PAGES)? != StepResult::Done {
        unless(closing)?;
    }
    Ok(())
}
