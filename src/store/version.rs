//! The version of the schema: whose database a file is, the numbered steps that bring an old one up to date, and what a
//! database of each version looks like.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{Error, ErrorKind, Result};
use crate::store::database::{BUSY_TIMEOUT, MIGRATIONS, peek};
use crate::store::failure::optional;
use crate::store::schema::{self, Differences};

/// "VCLS" in the file's header: tells our databases from anybody else's.
const APPLICATION_ID: i32 = 0x5643_4C53;

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// The version of one of this program's databases; none for anybody else's.
///
/// # Errors
/// When the header cannot be read.
pub(super) fn of(connection: &Connection) -> rusqlite::Result<Option<i32>> {
    let ours = pragma(connection, "application_id")? == APPLICATION_ID;
    ours.then(|| pragma(connection, "user_version")).transpose()
}

/// # Errors
/// Conflict when the file belongs to a newer version or another program, or holds what this program did not put there.
pub(super) fn refuse_foreign(path: &Path) -> Result<()> {
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
    // One moment: another process may be migrating.
    let moment = connection.unchecked_transaction()?;
    let foreign = schema::differences(&moment, pragma(&moment, "user_version")?)?.foreign;
    if !foreign.is_empty() {
        let text = format!(
            "{} holds what this program did not put there: {}. Nothing was changed. Keep a copy and find out who did it; then \
             remove it with an editor for SQLite databases, or `restore` a backup.",
            path.display(),
            schema::listed(&foreign)
        );
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    Ok(())
}

pub(super) fn migrate(connection: &Connection) -> Result<()> {
    while usize::try_from(pragma(connection, "user_version")?).is_ok_and(|done| done < MIGRATIONS.len()) {
        let step = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        // Read again: another process may have been faster.
        let done = usize::try_from(pragma(&step, "user_version")?).unwrap_or(0);
        let Some(sql) = MIGRATIONS.get(done) else { break };
        step.execute_batch(sql)?;
        step.pragma_update(None, "application_id", APPLICATION_ID)?;
        let version = i64::try_from(done + 1).unwrap_or(i64::MAX);
        step.pragma_update(None, "user_version", version)?;
        if step
            .query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'store_head')", [], |row| row.get(0))?
        {
            step.execute("UPDATE store_head SET schema_version = ?1", [version])?;
        }
        step.commit()?;
    }
    Ok(())
}

/// The last migration notes the version in a table too. When that is not the one in the file's header, a bit was flipped
/// in one of them, which would keep the unit from starting: the one that the tables bear out is written to both. Whether
/// the database is of this program and of a version that it knows.
///
/// # Errors
/// When it cannot be read or written.
pub(super) fn mend(path: &Path, connection: &Connection) -> Result<bool> {
    let (application, version) = (pragma(connection, "application_id")?, pragma(connection, "user_version")?);
    let known = 1..=i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    let noted = connection.query_row("SELECT schema_version FROM store_head", [], |row| row.get(0));
    let Some(noted) = optional(noted).unwrap_or(None) else {
        return Ok(application == APPLICATION_ID && known.contains(&version));
    };
    if application == APPLICATION_ID && noted == version {
        return Ok(known.contains(&version));
    }
    let there = shape(connection)?;
    // A newer program's database looks like none of ours; what merely gained an index may be an older one of ours.
    let exact = [version, noted].iter().any(|version| !known.contains(version));
    let mut truth = None;
    for candidate in [version, noted].into_iter().filter(|version| known.contains(version)) {
        let ours = shape_of(candidate)?;
        if if exact { ours == there } else { ours.is_subset(&there) } {
            truth = truth.max(Some(candidate));
        }
    }
    let Some(truth) = truth else { return Ok(false) };
    tracing::error!(application, version, noted, truth, "the database's version was damaged and is put right");
    let writer = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    writer.busy_timeout(BUSY_TIMEOUT)?;
    writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    writer.pragma_update(None, "application_id", APPLICATION_ID)?;
    writer.pragma_update(None, "user_version", truth)?;
    writer.execute("UPDATE store_head SET schema_version = ?1", [truth])?;
    Ok(true)
}

/// How the schema differs from the one of the version in the header.
///
/// # Errors
/// When the schema cannot be read.
pub(super) fn differences(connection: &Connection) -> Result<Differences> {
    schema::differences(connection, pragma(connection, "user_version")?)
}

/// The shape that a fresh database of that version has.
fn shape_of(version: i32) -> Result<BTreeSet<String>> {
    let fresh = Connection::open_in_memory()?;
    for step in MIGRATIONS.iter().take(usize::try_from(version).unwrap_or(0)) {
        fresh.execute_batch(step)?;
    }
    Ok(shape(&fresh)?)
}

/// Tables with their columns and indices with theirs, a line each; not the SQL, whose wording SQLite itself may change.
pub(super) fn shape(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let sql = r#"SELECT concat_ws(' ', 'table', s.name, c.name, c.type, c."notnull", c.pk, c.dflt_value)
        FROM sqlite_schema s JOIN pragma_table_info(s.name) c WHERE s.type = 'table'
        UNION SELECT concat_ws(' ', 'index', s.tbl_name, s.name, i.seqno, i.name, i."desc")
        FROM sqlite_schema s JOIN pragma_index_xinfo(s.name) i WHERE s.type = 'index'"#;
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}
