//! How much the store holds of what.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::error::Result;
use crate::store::columns::Micros;
use crate::store::{Pending, Store};

/// What one kind of record amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordCount {
    pub rows: u64,
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
    /// Rows of each class.
    pub by_class: BTreeMap<String, u64>,
}

/// What the store holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    pub users: u64,
    pub validations: u64,
    pub reports: RecordCount,
    pub classifications: RecordCount,
    pub passages: RecordCount,
    /// Means over the classifications; none where there are none.
    pub confidence_mean: Option<f64>,
    pub processing_time_ms_mean: Option<f64>,
}

impl Store {
    /// Counts what there is. Reads every row of the index or table concerned, on the thread for lists.
    pub fn statistics(&self) -> Pending<Statistics> {
        self.list(|connection| {
            let sql = "SELECT avg(confidence), avg(processing_time_ms) FROM classifications";
            let (confidence_mean, processing_time_ms_mean) =
                connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(Statistics {
                users: rows(connection, "SELECT count(*) FROM users")?,
                validations: rows(connection, "SELECT count(*) FROM validations")?,
                reports: record_count(
                    connection,
                    "SELECT (SELECT min(created_at) FROM reports), (SELECT max(created_at) FROM reports)",
                    "SELECT class, count(*) FROM reports GROUP BY class",
                )?,
                classifications: record_count(
                    connection,
                    "SELECT (SELECT min(created_at) FROM classifications), (SELECT max(created_at) FROM classifications)",
                    "SELECT ifnull(class, 'unclassified'), count(*) FROM classifications GROUP BY 1",
                )?,
                passages: record_count(
                    connection,
                    "SELECT (SELECT min(counted_at) FROM passages), (SELECT max(counted_at) FROM passages)",
                    "SELECT class, count(*) FROM passages GROUP BY class",
                )?,
                confidence_mean,
                processing_time_ms_mean,
            })
        })
    }
}

fn rows(connection: &Connection, sql: &str) -> Result<u64> {
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

fn record_count(connection: &Connection, ends: &str, classes: &str) -> Result<RecordCount> {
    let moment = |micros: Option<Micros>| micros.map(|micros| micros.0);
    let (oldest, newest) =
        connection.prepare_cached(ends)?.query_row([], |row| Ok((moment(row.get(0)?), moment(row.get(1)?))))?;
    let mut statement = connection.prepare_cached(classes)?;
    let by_class: BTreeMap<String, u64> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(RecordCount { rows: by_class.values().sum(), oldest, newest, by_class })
}
