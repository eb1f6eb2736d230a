//! Backups that the unit makes of itself: numbered files in `backups` beside the database, within a byte budget.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;
use crate::store::database::{self, sync_directory, unusable};

/// Below the state directory.
const DIRECTORY: &str = "backups";
/// Free space that a backup leaves on the disk.
const DISK_RESERVE_BYTES: u64 = 64 << 20;

/// When and how much.
#[derive(Clone, Copy, Debug)]
pub struct BackupPlan {
    /// Between two backups; none: none are made.
    pub every: Option<Duration>,
    /// All of them together; the oldest go first.
    pub bytes_max: u64,
}

/// A backup in the directory of automatic backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    pub path: PathBuf,
    pub bytes: u64,
    pub made: SystemTime,
    number: u64,
}

/// Oldest first. Their order is that of the numbers in their names: clocks may be wrong.
pub(super) fn backups(database: &Path) -> Vec<BackupFile> {
    let directory = database.with_file_name(DIRECTORY);
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix("unit-")?.strip_suffix(".db")?.split('-').next()?.parse().ok()?;
        let found = entry.metadata().ok()?;
        Some(BackupFile { path: entry.path(), bytes: found.len(), made: found.modified().ok()?, number })
    };
    let mut found: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().filter_map(file).collect();
    found.sort_by_key(|backup| backup.number);
    found
}

impl Store {
    /// The backups that the unit made of itself, oldest first.
    #[must_use]
    pub fn backups(&self) -> Vec<BackupFile> {
        backups(self.path())
    }

    /// Makes a backup in the directory of automatic ones, looks through it, and removes the oldest ones beyond the budget.
    /// Blocks.
    ///
    /// # Errors
    /// Conflict when the database is larger than the budget or the disk has no room; otherwise whatever keeps the copy from
    /// being made or is wrong with it: no older backup goes then.
    pub fn back_up_automatically(&self, bytes_max: u64) -> Result<PathBuf> {
        let directory = self.path().with_file_name(DIRECTORY);
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let size =
            self.read(move |connection| Ok(connection.query_row(sql, [], |row| row.get::<_, i64>(0))?)).wait()?;
        let size = size.unsigned_abs();
        make_room(self.path(), &directory, size, bytes_max)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|cause| unusable(&directory, cause))?;
        let number = self.backups().last().map_or(1, |newest| newest.number + 1);
        let date = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let path = directory.join(format!("unit-{number:06}-{date}.db"));
        // Whole under its name or not there at all.
        let part = directory.join("being-made.part");
        database::remove(&part);
        let made = self.backup(&part).wait().and_then(|()| self.look_through(&part).wait());
        if let Err(error) = made {
            database::remove(&part);
            return Err(error);
        }
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(database::beside(&part, suffix));
        }
        fs::rename(&part, &path).map_err(|cause| unusable(&path, cause))?;
        sync_directory(&path)?;
        let mut bytes = 0;
        for (place, backup) in self.backups().into_iter().rev().enumerate() {
            bytes += backup.bytes;
            if place > 0 && bytes > bytes_max {
                database::remove(&backup.path);
            }
        }
        Ok(path)
    }

    /// Reads a copy through, without its indices: what a restore will want of it.
    fn look_through(&self, path: &Path) -> super::Pending<()> {
        let path = path.to_owned();
        let condition = self.0.condition.clone();
        self.maintain(move |connection, _| {
            let copy = database::open_reader(&path)?;
            condition.allow_interrupt(&copy);
            let answer = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
            condition.allow_interrupt(connection);
            match answer? {
                sound if sound == "ok" => Ok(()),
                problem => {
                    Err(Error::internal("The copy of the database is not sound; run `store check`.").because(problem))
                }
            }
        })
    }
}

/// Old backups go before a disk is filled by a new one; the newest stays until there is a newer one.
fn make_room(database: &Path, directory: &Path, size: u64, bytes_max: u64) -> Result<()> {
    if size > bytes_max {
        let text = format!(
            "The database has {} MiB, store.backup_bytes_max is {} MiB: no automatic backup is made.",
            size >> 20,
            bytes_max >> 20
        );
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    let mut old = backups(database);
    old.pop();
    for backup in old {
        if free_bytes(database)? >= size + DISK_RESERVE_BYTES {
            return Ok(());
        }
        database::remove(&backup.path);
    }
    if free_bytes(database)? < size + DISK_RESERVE_BYTES {
        let text = format!("There is no room for a backup of {} MiB in {}.", size >> 20, directory.display());
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    Ok(())
}

/// Bytes that an unprivileged process may still write beside `path`.
///
/// # Errors
/// Internal when the file system gives no answer.
fn free_bytes(path: &Path) -> Result<u64> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::statvfs(directory).map(|facts| facts.f_bavail * facts.f_frsize).map_err(|cause| {
        Error::internal(format!("The free space of {} cannot be read.", directory.display())).because(cause)
    })
}
