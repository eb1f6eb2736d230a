//! Damage: how it is recognised, how damaged files are set aside, and what is saved from them.

use std::fs;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::files;
use crate::record::{AuditEvent, Outcome};
use crate::store::database::{
    BUSY_TIMEOUT, beside, dated, obstacle, open_writer, peek, remove, require_usable, size, sync_directory, unusable,
};
use crate::store::failure::is_damage;
use crate::store::log_scan::lost_commits;
use crate::store::{audit, automatic, schema, version};

/// Marks the names of damaged files that were set aside and that nobody has acknowledged yet.
const DAMAGED: &str = ".damaged-";
/// Marks them afterwards.
const KEPT: &str = ".kept-";
/// Damaged databases kept, acknowledged or not; the oldest go first, so that a dying disk does not fill up with them.
const KEPT_MAX: usize = 3;

/// Up to this size every page is looked at before the first use; it takes some 10 ms a MB on a Cortex-A53.
const QUICK_CHECK_BYTES_MAX: u64 = 4 << 20;

/// Makes the database file fit to be opened: a log with holes is copied aside, a damaged database set aside. Afterwards there
/// is a sound database, as far as a look that takes no longer for a large one can tell, or none. Returns where the damaged
/// one is now.
///
/// # Errors
/// When the file cannot be read for another reason than damage, such as a disk that fails.
fn set_damaged_aside(path: &Path) -> Result<Option<PathBuf>> {
    require_usable(path)?;
    if size(path).database == 0 {
        return Ok(None);
    }
    let log = beside(path, "-wal");
    let lost = lost_commits(&log).map_err(|cause| unusable(&log, cause))?;
    // Again, because another process may have been writing.
    if lost > 0 && lost_commits(&log).is_ok_and(|again| again == lost) {
        let copy = set_log_aside(path)?;
        tracing::error!(lost, copy = %copy.display(), "the database's log is damaged: what it held last is lost");
    }
    if is_damaged(path)? {
        let name = set_aside(path)?;
        tracing::error!(aside = %name.display(), "the database is damaged and was set aside; starting with an empty one");
        return Ok(Some(name));
    }
    Ok(None)
}

fn is_damaged(path: &Path) -> Result<bool> {
    match look_through(path) {
        Ok(sound) => Ok(!sound),
        Err(cause) if is_damage(&cause) => Ok(true),
        // A damaged header can make SQLite take a file for one that may not be written to.
        Err(cause) => {
            if size(path).log == 0 && !header_is_sound(path)? {
                Ok(true)
            } else {
                Err(cause)
            }
        }
    }
}

/// A small database is read through; of a large one only header, version and schema, because the start must not take long.
fn look_through(path: &Path) -> Result<bool> {
    let connection = peek(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    if !version::mend(path, &connection)? {
        // Somebody else's database is refused when it is opened, not set aside.
        return Ok(true);
    }
    let differences = version::differences(&connection)?;
    // What somebody put there is no damage: it is refused when the database is opened, with its name.
    if !differences.foreign.is_empty() {
        return Ok(true);
    }
    if !differences.damaged.is_empty() {
        tracing::error!("the database's schema is damaged: {}", schema::listed(&differences.damaged));
        return Ok(false);
    }
    let sound = size(path).total() > QUICK_CHECK_BYTES_MAX
        || connection.query_row("PRAGMA quick_check(1)", [], |row| Ok(row.get::<_, String>(0)? == "ok"))?;
    drop(connection);
    // The header counts once nothing in the log stands above it.
    settled(path)?;
    Ok(sound && (size(path).log > 0 || header_is_sound(path)?))
}

/// Moves the log into the database as far as other processes let it.
fn settled(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Whether the fields of the header that never change are what they must be; SQLite itself believes some of them.
/// Format: <https://www.sqlite.org/fileformat2.html#the_database_header>.
///
/// # Errors
/// When the file cannot be read: that says nothing about what is in it.
fn header_is_sound(path: &Path) -> Result<bool> {
    let mut header = [0; 100];
    match fs::File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        Err(cause) if cause.kind() == IoErrorKind::UnexpectedEof => return Ok(false),
        read => read.map_err(|cause| unusable(path, cause))?,
    }
    let versions = [header[18], header[19]];
    let sound = header.starts_with(b"SQLite format 3\0")
        && (versions == [1, 1] || versions == [2, 2])
        && header[20..24] == [0, 64, 32, 32]
        && header[44..48] == [0, 0, 0, 4]
        // Text is UTF-8.
        && header[56..60] == [0, 0, 0, 1]
        && header[72..92].iter().all(|byte| *byte == 0);
    Ok(sound)
}

/// Renames the database and its log, and returns the new name. Connections that still have it open go on with the file
/// under its new name.
///
/// # Errors
/// Internal when the file system refuses.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf> {
    let aside = dated(path, DAMAGED);
    // The log first: without its database it is nothing, while a database without it would pass for an older one.
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(cause) if cause.kind() != IoErrorKind::NotFound => return Err(unusable(path, cause)),
            _ => {}
        }
    }
    sync_directory(path)?;
    for old in aside_files(path).into_iter().rev().skip(KEPT_MAX) {
        remove(&old);
    }
    Ok(aside)
}

/// Keeps a copy of a log that cannot be replayed to its end; the database goes on with what can.
///
/// # Errors
/// Internal when the file system refuses.
pub(super) fn set_log_aside(path: &Path) -> Result<PathBuf> {
    let log = beside(path, "-wal");
    let aside = dated(&log, DAMAGED);
    let copied = fs::File::open(&log).and_then(|mut log| files::copy_new(&mut log, &aside));
    copied.map_err(|cause| unusable(&log, cause))?;
    Ok(aside)
}

/// Names of damaged files that were set aside and not acknowledged, oldest first.
pub(super) fn damaged(path: &Path) -> Vec<String> {
    aside_files(path)
        .iter()
        .filter_map(|file| Some(file.file_name()?.to_str()?.to_owned()))
        .filter(|name| name.contains(DAMAGED))
        .collect()
}

/// Renames damaged files so that they are no longer complained of; how many.
///
/// # Errors
/// Internal when the file system refuses.
pub(super) fn acknowledge(path: &Path) -> Result<usize> {
    let names = damaged(path);
    for name in &names {
        let (from, to) = (path.with_file_name(name), path.with_file_name(name.replace(DAMAGED, KEPT)));
        for suffix in ["-wal", "-shm", ""] {
            match fs::rename(beside(&from, suffix), beside(&to, suffix)) {
                Err(cause) if cause.kind() != IoErrorKind::NotFound => return Err(unusable(path, cause)),
                _ => {}
            }
        }
    }
    Ok(names.len())
}

/// Databases and logs set aside, oldest first: the dates in their names sort.
fn aside_files(path: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let is_aside = |found: &str| {
        let date = found.strip_prefix(name)?.trim_start_matches("-wal");
        let date = date.strip_prefix(DAMAGED).or_else(|| date.strip_prefix(KEPT))?;
        (!date.ends_with("-wal") && !date.ends_with("-shm")).then(|| date.to_owned())
    };
    let mut found: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((is_aside(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Opens the database; a damaged one is set aside first, and a fresh one with its accounts takes its place.
///
/// # Errors
/// As [`open_writer`], damage aside.
pub(super) fn open_sound(path: &Path) -> Result<Connection> {
    // A start that set a database aside and went no further must not lead to a new admin with the next one.
    let unfinished = || (size(path).database == 0).then(|| newest_aside(path)).flatten();
    let aside = match set_damaged_aside(path)? {
        Some(aside) => Some(aside),
        None => unfinished(),
    };
    match open_fresh(path, aside.as_deref()) {
        Err(error) if is_damage(&error) => open_fresh(path, Some(&set_aside(path)?)),
        Err(error) => {
            // Without its accounts the fresh one is nothing yet.
            if aside.is_some() {
                remove(path);
            }
            Err(error)
        }
        opened => opened,
    }
}

/// The database that was set aside last and that nobody has acknowledged.
fn newest_aside(path: &Path) -> Option<PathBuf> {
    let names = damaged(path).into_iter().rev().map(|name| path.with_file_name(name));
    let log = beside(path, "-wal");
    names.into_iter().find(|name| !name.as_os_str().as_encoded_bytes().starts_with(log.as_os_str().as_encoded_bytes()))
}

/// Opens the database, making one if there is none, and takes the accounts of the one that was set aside over into it.
///
/// # Errors
/// As [`open_writer`], and when the accounts cannot be read for another reason than damage: then they are there still.
pub(super) fn open_fresh(path: &Path, aside: Option<&Path>) -> Result<Connection> {
    let connection = open_writer(path)?;
    if let Some(aside) = aside {
        let backups = automatic::backups(path).into_iter().rev().map(|backup| backup.path);
        let (mut from, mut accounts, mut tokens) = (String::new(), 0, 0);
        for source in std::iter::once(aside.to_owned()).chain(backups) {
            (accounts, tokens) = save_accounts(&source, &connection)?;
            if accounts > 0 {
                from = source.display().to_string();
                break;
            }
        }
        tracing::warn!(accounts, tokens, from, "accounts and service tokens taken over into the fresh database");
        let event = AuditEvent {
            user: None,
            action: "store.set_aside".into(),
            resource: aside.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            outcome: Outcome::Failure,
            details: json!({ "accounts": accounts, "service_tokens": tokens, "taken_from": from }),
            ip_address: None,
            at: SystemClock::new().now(),
            authority: None,
        };
        audit::append(&connection, &event)?;
    }
    Ok(connection)
}

/// Copies accounts, revocations and service tokens, as far as they can be read: people and machines still get in after
/// damage. All other records stay where they are.
fn save_accounts(from: &Path, fresh: &Connection) -> Result<(usize, usize)> {
    require_usable(from)?;
    let copy = |table: &str| {
        let copied = peek(from).and_then(|source| copy_rows(&source, fresh, table)).map_err(Error::from);
        copied.or_else(|error| {
            tracing::warn!(table, from = %from.display(), "a table cannot be saved: {}", error.chain());
            // Rights, descriptors or locks may have gone wrong since.
            obstacle(from).map_or(Ok(0), |why| Err(Error::config(why)))
        })
    };
    let accounts = copy("users")?;
    copy("revoked_tokens")?;
    Ok((accounts, copy("service_tokens")?))
}

/// All rows or none: half of the accounts would pass for all of them.
fn copy_rows(source: &Connection, target: &Connection, table: &str) -> rusqlite::Result<usize> {
    let mut select = source.prepare(&format!("SELECT * FROM {table}"))?;
    let columns: Vec<String> = select.column_names().map(str::to_owned).collect();
    let marks = vec!["?"; columns.len()].join(", ");
    let insert = format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
    let transaction = target.unchecked_transaction()?;
    let mut copied = 0;
    {
        let mut insert = transaction.prepare(&insert)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let values: Vec<Value> =
                (0..columns.len()).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?;
            copied += insert.execute(params_from_iter(values))?;
        }
    }
    transaction.commit()?;
    Ok(copied)
}
