//! What goes when it is too old or takes too much room: the oldest rows of each kind first, in small steps between other
//! writes. The room is used again by new rows; the file itself does not shrink.
//!
//! Rows go in the order of their ids, which a wrong clock cannot disturb: a row is too old when it, or one behind it, has a
//! time that was right when it was recorded and is too long ago.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::clock::Stamp;
use crate::error::Result;
use crate::store::audit;
use crate::store::columns::Micros;

/// Rows that one step looks at, and may remove.
const STEP_ROWS: i64 = 500;
/// Rows at either end whose size stands for that of all.
const SAMPLE_ROWS: i64 = 100;
/// Fewer rows of the audit trail are not worth the row that vouches for their going.
const AUDIT_STEP_ROWS_MIN: i64 = 100;

/// How long and how much of one kind of rows is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// None: whatever their age.
    pub age_max: Option<Duration>,
    pub bytes_max: u64,
}

/// How long and how much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub classifications: Keep,
    pub passages: Keep,
    pub reports: Keep,
    pub audit: Keep,
    /// Only the age: their bytes are kept in bounds when one is added.
    pub crops: Keep,
    /// Only the bytes: delivered rows go first, the others only when there is no other way.
    pub outbox: Keep,
}

/// Rows that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    Classifications,
    Passages,
    Reports,
    Audit,
    Crops,
    Outbox,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RetentionStep {
    pub deleted: u64,
    /// Of those, what the central site had not got yet.
    pub undelivered: u64,
    /// What the rows that are left take, indices included; an estimate.
    pub bytes: u64,
    /// There is more to do.
    pub more: bool,
}

impl RecordKind {
    pub(super) const ALL: [Self; 6] =
        [Self::Classifications, Self::Passages, Self::Reports, Self::Audit, Self::Crops, Self::Outbox];

    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Classifications => "classifications",
            Self::Passages => "passages",
            Self::Reports => "reports",
            Self::Audit => "audit_log",
            Self::Crops => "passage_crops",
            Self::Outbox => "outbox",
        }
    }

    pub(super) const fn keep(self, retention: &Retention) -> Keep {
        match self {
            Self::Classifications => retention.classifications,
            Self::Passages => retention.passages,
            Self::Reports => retention.reports,
            Self::Audit => retention.audit,
            Self::Crops => retention.crops,
            Self::Outbox => retention.outbox,
        }
    }

    /// The ascending key, the time, and whether that was right.
    const fn columns(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Classifications => ("id", "created_at", "clock_synced"),
            Self::Passages => ("id", "counted_at", "clock_synced"),
            Self::Reports => ("rowid", "created_at", "clock_synced"),
            Self::Audit => ("id", "created_at", "clock_synced"),
            Self::Crops => (
                "passage_id",
                "(SELECT counted_at FROM passages WHERE id = passage_id)",
                "(SELECT clock_synced FROM passages WHERE id = passage_id)",
            ),
            Self::Outbox => ("seq", "created_at", "FALSE"),
        }
    }

    /// Bytes of a row: its texts, and a constant for numbers, row and index entries, measured with `dbstat` (a test holds
    /// the sum to that).
    const fn row_bytes(self) -> &'static str {
        match self {
            Self::Classifications => {
                "170 + 2 * length(uuid) + ifnull(octet_length(image_path), 0) + length(sha256)
                    + octet_length(predictions) + length(model) + length(model_version) + ifnull(octet_length(user_id), 0)
                    + ifnull(length(class), 0) + length(boot_id)"
            }
            Self::Passages => {
                "150 + 2 * length(uuid) + 2 * octet_length(class) + octet_length(votes) + ifnull(octet_length(line), 0)
                    + ifnull(octet_length(direction), 0) + length(model) + length(model_version) + length(boot_id)"
            }
            Self::Reports => {
                "145 + 2 * length(id) + 3 * octet_length(vehicle_id) + octet_length(data) + 2 * octet_length(user_id)
                    + length(boot_id) + octet_length(class)"
            }
            Self::Audit => {
                "160 + 2 * ifnull(octet_length(user_id), 0) + 2 * length(action) + octet_length(resource)
                    + octet_length(details) + ifnull(length(ip_address), 0) + length(boot_id)"
            }
            Self::Crops => "40 + bytes",
            Self::Outbox => "30 + length(kind) + octet_length(body)",
        }
    }
}

/// Removes the next rows that are to go, at most [`STEP_ROWS`], in the caller's transaction. `now` is none while the clock
/// is not to be trusted: then nothing is too old.
pub(super) fn step(
    connection: &Connection,
    kind: RecordKind,
    keep: Keep,
    now: Option<&Stamp>,
    at: &Stamp,
) -> Result<RetentionStep> {
    let (rows, row_bytes) = estimate(connection, kind)?;
    let bytes = rows * row_bytes;
    let aged = match (keep.age_max, now) {
        (Some(age_max), Some(now)) => too_old(connection, kind, now.at, age_max)?,
        _ => None,
    };
    let excess = bytes.saturating_sub(keep.bytes_max);
    let too_many = match i64::try_from(excess.div_ceil(row_bytes.max(1))).unwrap_or(i64::MAX).min(STEP_ROWS) {
        0 => None,
        rows => nth(connection, kind, rows)?,
    };
    let Some(through) = aged.max(too_many) else { return Ok(RetentionStep { bytes, ..RetentionStep::default() }) };
    let undelivered = if kind == RecordKind::Outbox { undelivered(connection, through)? } else { 0 };
    let deleted = match kind {
        RecordKind::Audit => drop_audit(connection, through, at)?,
        _ => {
            let sql = format!("DELETE FROM {} WHERE {} <= ?1", kind.table(), kind.columns().0);
            connection.prepare_cached(&sql)?.execute([through])? as u64
        }
    };
    let bytes = bytes.saturating_sub(deleted * row_bytes);
    let more = deleted > 0 && (bytes > keep.bytes_max || aged.is_some());
    Ok(RetentionStep { deleted, undelivered, bytes, more })
}

/// The trail is never emptied: the newest row stays, so that the next one has something to be chained to and to vouch.
fn drop_audit(connection: &Connection, through: i64, at: &Stamp) -> Result<u64> {
    let through = through.min(audit::head(connection)?.0 - 1);
    if through - audit::base(connection)?.0 < AUDIT_STEP_ROWS_MIN {
        return Ok(0);
    }
    audit::drop_through(connection, through, at)
}

/// How many rows there are, as ids are dense, and what one takes, from those at both ends.
fn estimate(connection: &Connection, kind: RecordKind) -> Result<(u64, u64)> {
    let (table, (key, ..), row_bytes) = (kind.table(), kind.columns(), kind.row_bytes());
    let sql = format!("SELECT ifnull((SELECT max({key}) FROM {table}) - (SELECT min({key}) FROM {table}) + 1, 0)");
    let rows: i64 = connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
    let sql = format!(
        "SELECT CAST(ifnull(avg(bytes), 0) AS INTEGER) FROM (
            SELECT * FROM (SELECT {row_bytes} AS bytes FROM {table} ORDER BY {key} LIMIT ?1)
            UNION ALL
            SELECT * FROM (SELECT {row_bytes} FROM {table} ORDER BY {key} DESC LIMIT ?1))"
    );
    let average: i64 = connection.prepare_cached(&sql)?.query_row([SAMPLE_ROWS], |row| row.get(0))?;
    Ok((rows.unsigned_abs(), average.unsigned_abs()))
}

/// The last one of the oldest rows that is surely too old.
fn too_old(connection: &Connection, kind: RecordKind, now: Timestamp, age_max: Duration) -> Result<Option<i64>> {
    let Ok(before) = now.checked_sub(age_max) else { return Ok(None) };
    let (key, time, synced) = kind.columns();
    let sql = format!(
        "SELECT max(key) FROM (SELECT {key} AS key, {time} AS time, {synced} AS synced FROM {} ORDER BY {key} LIMIT ?1)
        WHERE synced AND time < ?2",
        kind.table()
    );
    Ok(connection.prepare_cached(&sql)?.query_row(params![STEP_ROWS, Micros(before)], |row| row.get(0))?)
}

/// Key of the oldest rows' nth, or of the last one when there are fewer.
fn nth(connection: &Connection, kind: RecordKind, rows: i64) -> Result<Option<i64>> {
    let key = kind.columns().0;
    let sql = format!("SELECT max(key) FROM (SELECT {key} AS key FROM {} ORDER BY {key} LIMIT ?1)", kind.table());
    Ok(connection.prepare_cached(&sql)?.query_row([rows], |row| row.get(0))?)
}

fn undelivered(connection: &Connection, through: i64) -> Result<u64> {
    let sql = "SELECT count(*) FROM outbox WHERE seq <= ?1 AND seq > (SELECT acked FROM outbox_head)";
    let rows: i64 = connection.prepare_cached(sql)?.query_row([through], |row| row.get(0))?;
    Ok(rows.unsigned_abs())
}
