//! Records from before the clock was right: once it is, their times follow from the monotonic clock of the same boot.
//!
//! Rows of the audit trail stay as they were written, because the chain covers them; a row of the action `clock.set` says
//! by how much they are off.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde_json::json;

use crate::clock::Stamp;
use crate::error::Result;
use crate::record::{AuditEvent, Gap, Outcome};
use crate::store::columns::{Micros, Named, monotonic_us};
use crate::store::counts::{self, CountedKind};
use crate::store::{audit, coverage};

/// Rows of each table that one step re-stamps.
const STEP_ROWS: i64 = 200;

pub(super) const PASSAGES: &str = "SELECT id, counted_at, monotonic_us, line, direction, class FROM passages
    WHERE boot_id = ?1 AND clock_synced = 0 LIMIT ?2";
pub(super) const WATCHED: &str = "SELECT id, from_at, until_at, from_monotonic_us, until_monotonic_us, nullif(gap, '')
    FROM watch_unsynced WHERE boot_id = ?1 LIMIT ?2";

/// Re-stamps the next rows of the boot that `now`, a moment at which the clock is right, belongs to; how many. In the
/// caller's transaction.
pub(super) fn step(connection: &Connection, now: &Stamp) -> Result<u64> {
    let offset_us = now.at.as_microsecond().saturating_sub(monotonic_us(now));
    let mut rows = 0;
    for table in ["classifications", "reports", "validations"] {
        let sql = format!(
            "UPDATE {table} SET created_at = monotonic_us + ?2, clock_synced = 1 WHERE rowid IN
            (SELECT rowid FROM {table} WHERE boot_id = ?1 AND clock_synced = 0 LIMIT ?3)"
        );
        rows += connection.prepare_cached(&sql)?.execute(params![&*now.boot_id, offset_us, STEP_ROWS])? as u64;
    }
    rows += passages(connection, &now.boot_id, offset_us)?;
    rows += watched(connection, &now.boot_id, offset_us)?;
    Ok(rows)
}

/// Notes in the trail that the clock is right from now on.
pub(super) fn note(connection: &Connection, now: &Stamp, rows: u64) -> Result<()> {
    let offset_us = now.at.as_microsecond().saturating_sub(monotonic_us(now));
    let event = AuditEvent {
        user: None,
        action: "clock.set".into(),
        resource: "clock".into(),
        outcome: Outcome::Success,
        details: json!({ "boot_id": &*now.boot_id, "monotonic_zero_us": offset_us, "records": rows }),
        ip_address: None,
        at: now.clone(),
        authority: None,
    };
    audit::append(connection, &event)
}

/// Each one takes its count along to the slot it belongs to.
fn passages(connection: &Connection, boot_id: &str, offset_us: i64) -> Result<u64> {
    type Found = (i64, Micros, i64, Option<String>, Option<String>, String);
    let mut statement = connection.prepare_cached(PASSAGES)?;
    let found = statement.query_map(params![boot_id, STEP_ROWS], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    })?;
    // All of them before the first one changes what is being read.
    let found: Vec<Found> = found.collect::<rusqlite::Result<_>>()?;
    let moved = found.len() as u64;
    for (id, Micros(counted), monotonic, line, direction, class) in found {
        let kind = CountedKind { line: line.as_deref(), direction: direction.as_deref(), class: &class };
        counts::add(connection, counted, kind, -1)?;
        counts::add(connection, moment(monotonic + offset_us, counted), kind, 1)?;
        let sql = "UPDATE passages SET started_at = started_monotonic_us + ?2, ended_at = ended_monotonic_us + ?2,
                counted_at = monotonic_us + ?2, clock_synced = 1
            WHERE id = ?1";
        connection.prepare_cached(sql)?.execute([id, offset_us])?;
    }
    Ok(moved)
}

fn watched(connection: &Connection, boot_id: &str, offset_us: i64) -> Result<u64> {
    type Found = (i64, Micros, Micros, i64, i64, Option<Named<Gap>>);
    let mut statement = connection.prepare_cached(WATCHED)?;
    let found = statement.query_map(params![boot_id, STEP_ROWS], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    })?;
    let found: Vec<Found> = found.collect::<rusqlite::Result<_>>()?;
    let moved = found.len() as u64;
    for (id, Micros(from), Micros(until), from_monotonic, until_monotonic, gap) in found {
        let (right_from, right_until) =
            (moment(from_monotonic + offset_us, from), moment(until_monotonic + offset_us, until));
        let gap = gap.map(|Named(gap)| gap);
        coverage::cover(connection, from, until, gap, -1)?;
        coverage::cover(connection, right_from, right_until, gap, 1)?;
        let sql = "UPDATE ledger_head SET watched_until = ?2 WHERE watched_until = ?1";
        connection.prepare_cached(sql)?.execute(params![Micros(until), Micros(right_until)])?;
        connection.prepare_cached("DELETE FROM watch_unsynced WHERE id = ?1")?.execute([id])?;
    }
    Ok(moved)
}

fn moment(micros: i64, otherwise: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(otherwise)
}
