//! Putting a backup in the place of the database: everything is verified on a copy before anything is replaced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::record::AuditEvent;
use crate::store::database::{self, beside, dated, open_writer, remove, sync_directory, unusable};
use crate::store::{audit, check, trail, version};

/// What `restore` put in place.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Version of the schema that the backup had; it is brought up to date on the way.
    pub version: i32,
    /// Rows of each table that holds records.
    pub rows: Vec<(String, u64)>,
    /// Time of the newest audit row.
    pub newest: Option<Timestamp>,
    /// Where the database is kept that was replaced; none when there was none.
    pub kept: Option<PathBuf>,
}

/// A backup, opened with the rights of whoever names it: root may read where the unit's account may not.
#[derive(Debug)]
pub struct BackupSource {
    path: PathBuf,
    /// With the suffix that each has: the database, and its log as when somebody copied the files of a unit at rest.
    files: Vec<(&'static str, fs::File)>,
}

impl BackupSource {
    /// Opens the file, and the log beside it where there is one.
    ///
    /// # Errors
    /// Validation when it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for suffix in ["", "-wal"] {
            match fs::File::open(beside(path, suffix)) {
                Ok(file) => files.push((suffix, file)),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound && !suffix.is_empty() => {}
                Err(cause) => {
                    return Err(Error::validation(format!("{}: cannot be read ({cause}).", path.display())));
                }
            }
        }
        Ok(Self { path: path.to_owned(), files })
    }
}

/// Verifies a backup and puts it in the place of the state directory's database, which is kept under a dated name. The
/// caller holds the state directory. Either the old database is in place afterwards or the new one, also after a power cut.
///
/// # Errors
/// Validation when the backup is not sound; conflict when it belongs to another program or a newer version.
pub fn restore(backup: BackupSource, directory: &Path, event: &AuditEvent) -> Result<Restored> {
    let place = directory.join(database::FILE_NAME);
    let copy = directory.join("restoring.db");
    remove(&copy);
    let BackupSource { path, files } = backup;
    let restored = copy_files(&path, files, &copy)
        .and_then(|()| verified(&path, &copy, event))
        .and_then(|restored| Ok(Restored { kept: exchange(&copy, &place)?, ..restored }));
    if restored.is_err() {
        remove(&copy);
    }
    restored.map_err(|error| database::refused(&copy, error))
}

fn copy_files(backup: &Path, files: Vec<(&'static str, fs::File)>, copy: &Path) -> Result<()> {
    for (suffix, mut from) in files {
        let to = beside(copy, suffix);
        files::copy_new(&mut from, &to).map_err(|cause| {
            let text = format!("{} cannot be copied to {}", backup.display(), to.display());
            let why = database::obstacle(copy).unwrap_or_else(|| "check the free space and the disk.".into());
            Error::internal(format!("{text}: {why}")).because(cause)
        })?;
    }
    Ok(())
}

/// Checks the copy through, brings it up to date and notes in its audit trail where it came from.
fn verified(backup: &Path, copy: &Path, event: &AuditEvent) -> Result<Restored> {
    let unsound = |problem: String| {
        Error::validation(format!("{} is no sound backup, nothing was changed: {problem}", backup.display()))
    };
    // Before anything is asked of it: what somebody put there could answer.
    version::refuse_foreign(copy).map_err(|error| match error.kind() {
        ErrorKind::Conflict => {
            let (own, given) = (copy.display().to_string(), backup.display().to_string());
            Error::new(error.kind(), error.message().replace(&own, &given))
        }
        _ => unsound(error.chain()),
    })?;
    let facts = (|| {
        let connection = database::peek(copy)?;
        connection.busy_timeout(database::BUSY_TIMEOUT)?;
        let version = version::of(&connection)?;
        let problems = match version {
            Some(_) => check::problems(&connection)?,
            None => Vec::new(),
        };
        Ok::<_, Error>((version, problems))
    })();
    let (version, problems) = facts.map_err(|error| unsound(error.chain()))?;
    let Some(version) = version else {
        return Err(Error::new(ErrorKind::Conflict, format!("{} is no backup of this program.", backup.display())));
    };
    if let Some(problem) = problems.first() {
        return Err(unsound(problem.clone()));
    }
    let connection = open_writer(copy)?;
    let check = trail::verify(&connection, &AtomicBool::new(false))?;
    if let Some(row) = check.first_broken {
        return Err(unsound(format!("its audit trail is broken at row {row}.")));
    }
    let rows = check::row_counts(&connection)?;
    let newest: Option<i64> = connection.query_row("SELECT max(created_at) FROM audit_log", [], |row| row.get(0))?;
    audit::append(&connection, event)?;
    single_file(&connection)?;
    drop(connection);
    remove(&beside(copy, "-wal"));
    remove(&beside(copy, "-shm"));
    let newest = newest.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    Ok(Restored { version, rows, newest, kept: None })
}

/// Everything into the file, so that renaming it is all there is to do.
fn single_file(connection: &Connection) -> Result<()> {
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy { Err(Error::internal("The copy of the backup is in use by another process.")) } else { Ok(()) }
}

/// The old database gets its dated name as a second one before the copy takes the first: there is no moment without a
/// database. Its log, which must not be taken for the copy's, is moved into it, or set beside it when it is damaged.
fn exchange(copy: &Path, place: &Path) -> Result<Option<PathBuf>> {
    let failed = |cause: io::Error| unusable(place, cause);
    let kept = fs::symlink_metadata(place).is_ok().then(|| dated(place, ".replaced-"));
    if let Some(kept) = &kept {
        if let Ok(old) = open_writer(place) {
            let _ = single_file(&old);
        }
        fs::hard_link(place, kept)
            .or_else(|_| fs::File::open(place).and_then(|mut old| files::copy_new(&mut old, kept)))
            // Another account's file can be neither linked nor read, but moved.
            .or_else(|_| fs::rename(place, kept))
            .map_err(failed)?;
        for suffix in ["-wal", "-shm"] {
            match fs::rename(beside(place, suffix), beside(kept, suffix)) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
                _ => {}
            }
        }
        sync_directory(place)?;
    }
    fs::rename(copy, place).map_err(failed)?;
    sync_directory(place)?;
    Ok(kept)
}
