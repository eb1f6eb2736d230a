//! Manual counts of technicians, as they were answered.

use jiff::Timestamp;
use rusqlite::params;
use serde_json::Value;

use crate::clock::Stamp;
use crate::record::AuditEvent;
use crate::store::columns::{Json, Micros, monotonic_us};
use crate::store::{Pending, Store};

/// Most rows of one page.
pub const VALIDATION_PAGE_ROWS_MAX: u32 = 1_000;

/// Manual counts kept; the oldest go first. More than anybody makes.
const KEPT_MAX: i64 = 10_000;

/// A manual count with the unit's answer.
#[derive(Clone, Debug)]
pub struct Validation {
    /// UUID.
    pub id: String,
    pub from: Timestamp,
    pub until: Timestamp,
    /// The whole answer as it was served.
    pub body: Value,
    pub user: String,
    pub created: Stamp,
}

pub(super) const PAGE: &str = "SELECT id, data FROM validations WHERE id < ?1 ORDER BY id DESC LIMIT ?2";

impl Store {
    /// Keeps a manual count and its audit row: all or nothing, durable once answered.
    pub fn record_validation(&self, validation: Validation, event: AuditEvent) -> Pending<()> {
        let deleted = self.rows_deleted("validations");
        self.record(event, move |connection, _| {
            let sql =
                "INSERT INTO validations (uuid, from_at, until_at, data, user_id, created_at, clock_synced, boot_id,
                    monotonic_us)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            connection.prepare_cached(sql)?.execute(params![
                validation.id,
                Micros(validation.from),
                Micros(validation.until),
                validation.body.to_string(),
                validation.user,
                Micros(validation.created.at),
                validation.created.synced,
                &*validation.created.boot_id,
                monotonic_us(&validation.created),
            ])?;
            let oldest_kept = connection.last_insert_rowid().saturating_sub(KEPT_MAX);
            let sql = "DELETE FROM validations WHERE id <= ?1";
            deleted.inc_by(connection.prepare_cached(sql)?.execute([oldest_kept])? as u64);
            Ok(())
        })
    }

    /// Manual counts newest first, at most `limit` and one more than [`VALIDATION_PAGE_ROWS_MAX`], each with its place; the
    /// next page comes before the place of this one's last row.
    pub fn validations_page(&self, before: Option<i64>, limit: u32) -> Pending<Vec<(i64, Value)>> {
        self.list(move |connection| {
            let mut statement = connection.prepare_cached(PAGE)?;
            let most = limit.min(VALIDATION_PAGE_ROWS_MAX + 1);
            let rows = statement.query_map(params![before.unwrap_or(i64::MAX), most], |row| {
                Ok((row.get("id")?, row.get::<_, Json>("data")?.0))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}
