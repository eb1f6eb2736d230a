//! The audit trail: rows that are only ever added, each chained to the one before it by a SHA-256 hash.
//!
//! A row's hash is SHA-256 over the hash of the row before it (32 zero bytes before the first) and then the row's columns
//! in the order of [`Content`], each as its length in bytes (eight bytes, big endian; all ones for a null) and its bytes:
//! TEXT as UTF-8 as it stands in the column, INTEGER as eight bytes, big endian. Ids run 1, 2, 3, … without a gap, and the
//! table `audit_head` holds id and hash of the newest row, so that changed, missing, added and swapped rows all show.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::clock::Stamp;
use crate::error::Result;
use crate::record::{AuditEvent, AuditRow, Outcome};
use crate::store::columns::{Json, Named, monotonic_us, nullable_text, stamp, text};
use crate::store::{Pending, Store};

/// Most rows of one page.
pub const AUDIT_PAGE_ROWS_MAX: u32 = 1_000;

/// Action of the row that vouches for what retention dropped.
pub(super) const RETENTION: &str = "audit.retention";

pub(super) type Hash = [u8; 32];

/// Which rows; every condition that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub user: Option<String>,
    pub action: Option<String>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
    pub outcome: Option<Outcome>,
}

/// The end of the chain as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// Id of the newest row, which is the number of rows.
    pub rows: u64,
    /// Hex hash of the newest row.
    pub hash: String,
}

impl Store {
    /// The end of the chain; nothing is checked.
    pub fn audit_head(&self) -> Pending<AuditHead> {
        self.read(|connection| {
            let (id, hash) = head(connection)?;
            Ok(AuditHead { rows: id.unsigned_abs(), hash: hex(&hash) })
        })
    }

    /// Adds one event to the trail.
    pub fn record_audit(&self, event: AuditEvent) -> Pending<()> {
        self.record(event, |_, _| Ok(()))
    }

    /// Rows newest first (by time, then id), at most `limit` and [`AUDIT_PAGE_ROWS_MAX`]; the next page comes before the
    /// id of this one's last row.
    pub fn audit_page(&self, filter: AuditFilter, before_id: Option<i64>, limit: u32) -> Pending<Vec<AuditRow>> {
        self.list(move |connection| {
            let (sql, values) = page_query(&filter, before_id, limit);
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_map(params_from_iter(values), audit_row)?.collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// The content of a row, in the order in which its hash covers it.
pub(super) struct Content<'a> {
    pub id: i64,
    pub user: Option<&'a str>,
    pub action: &'a str,
    pub resource: &'a str,
    pub outcome: &'a str,
    pub details: &'a str,
    pub ip_address: Option<&'a str>,
    pub created_at: i64,
    pub clock_synced: bool,
    pub boot_id: &'a str,
    pub monotonic_us: i64,
}

impl Content<'_> {
    pub(super) fn hash(&self, previous: &Hash) -> Hash {
        fn field(hasher: &mut Sha256, bytes: Option<&[u8]>) {
            hasher.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_be_bytes());
            hasher.update(bytes.unwrap_or_default());
        }
        let mut hasher = Sha256::new_with_prefix(previous);
        field(&mut hasher, Some(&self.id.to_be_bytes()));
        field(&mut hasher, self.user.map(str::as_bytes));
        field(&mut hasher, Some(self.action.as_bytes()));
        field(&mut hasher, Some(self.resource.as_bytes()));
        field(&mut hasher, Some(self.outcome.as_bytes()));
        field(&mut hasher, Some(self.details.as_bytes()));
        field(&mut hasher, self.ip_address.map(str::as_bytes));
        field(&mut hasher, Some(&self.created_at.to_be_bytes()));
        field(&mut hasher, Some(&i64::from(self.clock_synced).to_be_bytes()));
        field(&mut hasher, Some(self.boot_id.as_bytes()));
        field(&mut hasher, Some(&self.monotonic_us.to_be_bytes()));
        hasher.finalize().into()
    }
}

/// Adds the event to the chain, in the caller's transaction.
pub(super) fn append(connection: &Connection, event: &AuditEvent) -> Result<()> {
    let (newest, previous) = head(connection)?;
    let details = event.details.to_string();
    let content = Content {
        id: newest + 1,
        user: event.user.as_deref(),
        action: &event.action,
        resource: &event.resource,
        outcome: event.outcome.name(),
        details: &details,
        ip_address: event.ip_address.as_deref(),
        created_at: event.at.at.as_microsecond(),
        clock_synced: event.at.synced,
        boot_id: &event.at.boot_id,
        monotonic_us: monotonic_us(&event.at),
    };
    let hash = content.hash(&previous);
    let sql =
        "INSERT INTO audit_log (id, user_id, action, resource, outcome, details, ip_address, created_at, clock_synced,
            boot_id, monotonic_us, hash)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    connection.prepare_cached(sql)?.execute(params![
        content.id,
        content.user,
        content.action,
        content.resource,
        content.outcome,
        content.details,
        content.ip_address,
        content.created_at,
        content.clock_synced,
        content.boot_id,
        content.monotonic_us,
        hash,
    ])?;
    connection.prepare_cached("UPDATE audit_head SET id = ?1, hash = ?2")?.execute(params![content.id, hash])?;
    Ok(())
}

/// Id and hash of the newest row that retention dropped.
pub(super) fn base(connection: &Connection) -> rusqlite::Result<(i64, Hash)> {
    let mut statement = connection.prepare_cached("SELECT id, hash FROM audit_base")?;
    statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Drops the rows up to `through` and notes it in the trail itself, in the caller's transaction: from then on the chain
/// begins behind them, and the note vouches that they went by retention.
pub(super) fn drop_through(connection: &Connection, through: i64, at: &Stamp) -> Result<u64> {
    let sql = "SELECT hash FROM audit_log WHERE id = ?1";
    let hash: Hash = connection.prepare_cached(sql)?.query_row([through], |row| row.get(0))?;
    let dropped = connection.prepare_cached("DELETE FROM audit_log WHERE id <= ?1")?.execute([through])?;
    connection.prepare_cached("UPDATE audit_base SET id = ?1, hash = ?2")?.execute(params![through, hash])?;
    let event = AuditEvent {
        user: None,
        action: RETENTION.into(),
        resource: "audit_log".into(),
        outcome: Outcome::Success,
        details: json!({ "through": through, "hash": hex(&hash), "rows": dropped }),
        ip_address: None,
        at: at.clone(),
        authority: None,
    };
    append(connection, &event)?;
    Ok(dropped as u64)
}

/// Id and hash of the newest row.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<(i64, Hash)> {
    let mut statement = connection.prepare_cached("SELECT id, hash FROM audit_head")?;
    statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}

pub(super) fn page_query(filter: &AuditFilter, before_id: Option<i64>, limit: u32) -> (String, Vec<Value>) {
    let mut conditions = vec!["TRUE"];
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition, value| {
        conditions.push(condition);
        values.push(value);
    };
    if let Some(user) = &filter.user {
        add("user_id = ?", user.clone().into());
    }
    if let Some(action) = &filter.action {
        add("action = ?", action.clone().into());
    }
    if let Some(outcome) = filter.outcome {
        add("outcome = ?", outcome.name().to_owned().into());
    }
    if let Some(from) = filter.from {
        add("created_at >= ?", from.as_microsecond().into());
    }
    if let Some(to) = filter.to {
        add("created_at < ?", to.as_microsecond().into());
    }
    if let Some(id) = before_id {
        // One parameter for both: the position in (time, id) of the row with that id.
        add("(created_at, id) < (SELECT created_at, id FROM audit_log WHERE id = ?)", id.into());
    }
    values.push(i64::from(limit.min(AUDIT_PAGE_ROWS_MAX)).into());
    let sql =
        format!("SELECT * FROM audit_log WHERE {} ORDER BY created_at DESC, id DESC LIMIT ?", conditions.join(" AND "));
    (sql, values)
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let hash: Vec<u8> = row.get("hash")?;
    Ok(AuditRow {
        id: row.get("id")?,
        event: AuditEvent {
            user: nullable_text(row, "user_id")?,
            action: text(row, "action")?,
            resource: text(row, "resource")?,
            outcome: row.get::<_, Named<Outcome>>("outcome")?.0,
            details: row.get::<_, Json>("details")?.0,
            ip_address: nullable_text(row, "ip_address")?,
            at: stamp(row)?,
            authority: None,
        },
        hash: hex(&hash),
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
