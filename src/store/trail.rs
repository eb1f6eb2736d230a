//! The walk along the audit chain, and what seems to have been done where it breaks.

use std::sync::atomic::AtomicBool;

use rusqlite::{Connection, Row};
use serde_json::Value;

use crate::error::Result;
use crate::store::audit::{Content, Hash, RETENTION, base, head, hex};
use crate::store::columns::{nullable_text, text};
use crate::store::{Pending, Store, unless};

/// Rows checked in one read transaction: short ones do not keep the writer's log from starting over.
const CHECK_ROWS: i64 = 1_000;
/// Rows behind a break that are looked at to tell what was done.
const WINDOW_ROWS: i64 = 200;

/// What was done to the trail at its first broken row, as far as the rows behind it tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The row's content or hash is not what it was, or the hash of the row before it.
    Edited,
    /// So many rows are gone from here on, as far as that can be told.
    Missing { rows: Option<u64> },
    /// The row was put in between; the one that belongs here comes later.
    Inserted,
    /// The row changed places with this one.
    Swapped { with: i64 },
    /// Rows before it were removed, and no row of the trail says that retention did so.
    Unvouched,
}

/// What a walk along the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCheck {
    /// Sound rows from the first one on.
    pub rows: u64,
    /// Id of the newest row that retention dropped, with a row that says so; 0: the trail goes back to its beginning.
    pub dropped_through: i64,
    /// Id of the first row that is missing or not what it was; the rows behind it are not vouched for either.
    pub first_broken: Option<i64>,
    /// What seems to have been done there.
    pub fault: Option<Fault>,
    /// Hex hash of the last sound row. Noted down elsewhere, it proves later that nobody rewrote the whole trail.
    pub head_hash: String,
}

impl Store {
    /// Walks the whole chain, however long, in constant memory.
    pub fn verify_audit(&self) -> Pending<AuditCheck> {
        self.maintain(verify)
    }
}

/// A row, taken along.
struct Held {
    id: i64,
    user: Option<String>,
    action: String,
    resource: String,
    outcome: String,
    details: String,
    ip_address: Option<String>,
    created_at: i64,
    clock_synced: bool,
    boot_id: String,
    monotonic_us: i64,
    stored: Vec<u8>,
}

impl Held {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            user: nullable_text(row, "user_id")?,
            action: text(row, "action")?,
            resource: text(row, "resource")?,
            outcome: text(row, "outcome")?,
            details: text(row, "details")?,
            ip_address: nullable_text(row, "ip_address")?,
            created_at: row.get("created_at")?,
            clock_synced: row.get("clock_synced")?,
            boot_id: text(row, "boot_id")?,
            monotonic_us: row.get("monotonic_us")?,
            stored: row.get("hash")?,
        })
    }

    /// Whether its hash is right for a row of that id behind one of that hash.
    fn fits(&self, id: i64, previous: &[u8]) -> bool {
        Hash::try_from(previous).is_ok_and(|previous| self.hash(id, &previous)[..] == self.stored[..])
    }

    fn hash(&self, id: i64, previous: &Hash) -> Hash {
        let content = Content {
            id,
            user: self.user.as_deref(),
            action: &self.action,
            resource: &self.resource,
            outcome: &self.outcome,
            details: &self.details,
            ip_address: self.ip_address.as_deref(),
            created_at: self.created_at,
            clock_synced: self.clock_synced,
            boot_id: &self.boot_id,
            monotonic_us: self.monotonic_us,
        };
        content.hash(previous)
    }

    /// Whether the row notes that retention dropped everything up to `through`, whose hash was `hash`.
    fn vouches_for(&self, through: i64, hash: &Hash) -> bool {
        let details: Value = serde_json::from_str(&self.details).unwrap_or_default();
        self.action == RETENTION && details["through"] == through && details["hash"] == hex(hash)
    }
}

pub(super) fn verify(connection: &Connection, closing: &AtomicBool) -> Result<AuditCheck> {
    let mut begin = base(connection)?;
    let (mut last, mut hash) = begin;
    let mut vouched = begin.0 == 0;
    loop {
        unless(closing)?;
        // Base, head and rows must be of the same moment.
        let snapshot = connection.unchecked_transaction()?;
        let (present, head) = (base(&snapshot)?, head(&snapshot)?);
        if present.0 > last {
            // Retention overtook the walk.
            begin = present;
            (last, hash) = begin;
            vouched = false;
        }
        let rows = following(&snapshot, last, CHECK_ROWS)?;
        let broken = |fault| {
            let (rows, first_broken) = ((last - begin.0).unsigned_abs(), Some(last + 1));
            AuditCheck { rows, dropped_through: begin.0, first_broken, fault: Some(fault), head_hash: hex(&hash) }
        };
        if rows.is_empty() {
            if head != (last, hash) {
                let rows = (head.0 > last).then(|| (head.0 - last).unsigned_abs());
                return Ok(broken(Fault::Missing { rows }));
            }
            if !vouched {
                let check = AuditCheck { first_broken: Some(begin.0 + 1), rows: 0, ..broken(Fault::Unvouched) };
                return Ok(check);
            }
            let rows = (last - begin.0).unsigned_abs();
            return Ok(AuditCheck {
                rows,
                dropped_through: begin.0,
                first_broken: None,
                fault: None,
                head_hash: hex(&hash),
            });
        }
        for row in rows {
            if row.id != last + 1 || !row.fits(row.id, &hash) {
                let broken = AuditCheck {
                    rows: (last - begin.0).unsigned_abs(),
                    dropped_through: begin.0,
                    first_broken: Some(last + 1),
                    fault: Some(diagnosis(&following(&snapshot, last, WINDOW_ROWS)?, last + 1, &hash, head.0)),
                    head_hash: hex(&hash),
                };
                return Ok(broken);
            }
            vouched = vouched || row.vouches_for(begin.0, &begin.1);
            hash = row.hash(row.id, &hash);
            last = row.id;
        }
    }
}

pub(super) const FOLLOWING: &str = "SELECT * FROM audit_log WHERE id > ?1 ORDER BY id LIMIT ?2";

fn following(connection: &Connection, after: i64, rows_max: i64) -> Result<Vec<Held>> {
    let mut statement = connection.prepare_cached(FOLLOWING)?;
    Ok(statement.query_map([after, rows_max], Held::of)?.collect::<rusqlite::Result<_>>()?)
}

/// `rows` begin where row `expected` should be, behind one of hash `previous`; the newest row there ever was is `newest`.
fn diagnosis(rows: &[Held], expected: i64, previous: &Hash, newest: i64) -> Fault {
    let [first, rest @ ..] = rows else { return Fault::Missing { rows: None } };
    if first.id > expected {
        return Fault::Missing { rows: Some((first.id - expected).unsigned_abs()) };
    }
    if let Some(place) = rest.iter().position(|row| row.fits(expected, previous)) {
        // The row that belongs here is further on; does this one belong there?
        let before = if place == 0 { &rest[0].stored } else { &rest[place - 1].stored };
        let there = rest[place].id;
        return if first.fits(there, before) { Fault::Swapped { with: there } } else { Fault::Inserted };
    }
    if expected > newest {
        return Fault::Inserted;
    }
    let Some(next) = rest.first() else { return Fault::Edited };
    if !next.fits(next.id, &first.stored) {
        // Rows were taken out and the ids behind them closed up.
        if let Some(gap) = (1..=WINDOW_ROWS).find(|gap| next.fits(next.id + gap, &first.stored)) {
            return Fault::Missing { rows: Some(gap.unsigned_abs()) };
        }
    }
    Fault::Edited
}
