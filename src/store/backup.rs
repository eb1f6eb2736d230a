//! A copy of the database as it is at one moment, made while work goes on.

use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::store::{Pending, Store, database, unless};

/// Pages (4 KiB) copied between two looks at whether the unit stops.
const BACKUP_STEP_PAGES: i32 = 1_024;

impl Store {
    /// Copies the database as it is now to a new file (0600) while work goes on; Conflict when the file exists.
    pub fn backup(&self, path: &Path) -> Pending<()> {
        let path = path.to_owned();
        self.maintain(move |connection, closing| backup(connection, closing, &path))
    }
}

/// Copies a state directory's database to a new file (0600, of its directory's owner) beside a running unit, without opening
/// the database for writing.
///
/// # Errors
/// Not found when there is no database; conflict when the file exists.
pub fn back_up(directory: &Path, file: &Path) -> Result<()> {
    let path = directory.join(database::FILE_NAME);
    if fs::symlink_metadata(&path).is_err_and(|cause| cause.kind() == IoErrorKind::NotFound) {
        return Err(Error::new(ErrorKind::NotFound, format!("There is no database in {}.", directory.display())));
    }
    let done = database::require_usable(&path)
        .and_then(|()| database::open_reader(&path))
        .and_then(|connection| backup(&connection, &AtomicBool::new(false), file));
    done.map_err(|error| database::refused(&path, error))
}

fn backup(connection: &Connection, closing: &AtomicBool, path: &Path) -> Result<()> {
    match files::create(path) {
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
