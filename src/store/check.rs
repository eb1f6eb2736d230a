//! A check of the whole database: pages, indices, references and shape.

use rusqlite::Connection;

use crate::error::Result;
use crate::store::{Pending, Store, version};

/// Problems listed by a check; a broken database can have very many.
const PROBLEMS_MAX: usize = 100;

impl Store {
    /// Reads everything and lists what is wrong with it, a line each; nothing for a sound database.
    pub fn check(&self) -> Pending<Vec<String>> {
        self.maintain(|connection, _| problems(connection))
    }
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
    let differences = version::differences(connection)?;
    let foreign = differences.foreign.into_iter().map(|name| format!("not of this program: {name}"));
    problems.extend(differences.damaged.into_iter().chain(foreign).take(PROBLEMS_MAX));
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
