//! What waits for the central site: events in the order of their records, each written in its record's transaction.
//!
//! An event's body is fixed when it is recorded, so that it survives the record and a resent event is byte for byte what it
//! was. Delivered rows are kept for a while: they are the ledger from which a central site that lost data is served again.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::error::{Error, Result};
use crate::record::Event;
use crate::store::columns::Micros;
use crate::store::failure::optional;
use crate::store::{Pending, Store};

/// Delivered rows that one acknowledgement looks at, and may remove.
const TRIMMED_PER_ACK: i64 = 2_048;

type Encode = dyn Fn(&Event<'_>) -> serde_json::Result<String> + Send + Sync;

/// How events become bodies; who has none keeps no outbox.
#[derive(Clone)]
pub struct EventEncoder(Arc<Encode>);

impl EventEncoder {
    pub fn new(encode: impl Fn(&Event<'_>) -> serde_json::Result<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(encode))
    }
}

impl fmt::Debug for EventEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventEncoder")
    }
}

/// One event as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// 1, 2, 3, …; never used again.
    pub seq: i64,
    pub kind: String,
    /// JSON.
    pub body: String,
    pub created: Timestamp,
}

/// From which row on ids outside carry which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub first: i64,
    pub number: i64,
}

/// How the outbox stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxHead {
    /// Everything up to this row is delivered; 0: nothing.
    pub acked: i64,
    /// The newest row ever written; 0: none.
    pub newest: i64,
    /// The oldest row that is still there; `newest + 1` when there is none.
    pub oldest: i64,
    /// In order; at least one.
    pub epochs: Vec<Epoch>,
    /// When the first undelivered row was recorded.
    pub waiting_since: Option<Timestamp>,
}

impl OutboxHead {
    /// Rows that are not delivered.
    #[must_use]
    pub fn waiting(&self) -> i64 {
        self.newest - self.acked.max(self.oldest - 1)
    }
}

/// Which delivered rows are kept for resending.
#[derive(Clone, Copy, Debug)]
pub struct OutboxKeep {
    pub rows_max: i64,
    /// Rows recorded before this moment go.
    pub since: Timestamp,
}

impl Store {
    /// How the outbox stands.
    pub fn outbox_head(&self) -> Pending<OutboxHead> {
        self.read(head)
    }

    /// Rows behind `after` in order: at most `rows_max`, and no more once `bytes_max` of bodies are together.
    pub fn outbox_batch(&self, after: i64, rows_max: usize, bytes_max: usize) -> Pending<Vec<OutboxRow>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(FOLLOWING)?;
            let mut found = statement.query([after, i64::try_from(rows_max).unwrap_or(i64::MAX)])?;
            let (mut rows, mut bytes) = (Vec::new(), 0);
            while let Some(row) = found.next()? {
                let row = outbox_row(row)?;
                bytes += row.body.len();
                rows.push(row);
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(rows)
        })
    }

    /// One row, as long as it is there.
    pub fn outbox_row(&self, seq: i64) -> Pending<Option<OutboxRow>> {
        self.read(move |connection| {
            let sql = "SELECT * FROM outbox WHERE seq = ?1";
            optional(connection.prepare_cached(sql)?.query_row([seq], outbox_row))
        })
    }

    /// The newest row recorded before that moment; 0 for none.
    pub fn outbox_before(&self, moment: Timestamp) -> Pending<i64> {
        self.read(move |connection| before(connection, moment))
    }

    /// Notes that everything up to `seq` is delivered, and lets go of the oldest delivered rows that need not be kept.
    pub fn outbox_ack(&self, seq: i64, keep: OutboxKeep) -> Pending<()> {
        let deleted = self.rows_deleted("outbox");
        self.write(move |connection| {
            let sql = "UPDATE outbox_head SET acked = ?1 WHERE acked < ?1";
            connection.prepare_cached(sql)?.execute([seq])?;
            let sql = "DELETE FROM outbox WHERE seq IN
                (SELECT seq FROM (SELECT seq, created_at FROM outbox ORDER BY seq LIMIT ?4)
                 WHERE seq <= (SELECT acked FROM outbox_head) AND (seq <= ?1 - ?2 OR created_at < ?3))";
            let keep = params![seq, keep.rows_max, Micros(keep.since), TRIMMED_PER_ACK];
            deleted.inc_by(connection.prepare_cached(sql)?.execute(keep)? as u64);
            Ok(())
        })
    }

    /// Takes acknowledgements back: everything behind `seq` is to be delivered again.
    pub fn outbox_rewind(&self, seq: i64) -> Pending<()> {
        self.write(move |connection| {
            connection.prepare_cached("UPDATE outbox_head SET acked = ?1")?.execute([seq])?;
            Ok(())
        })
    }

    /// Gives everything from `first` on a new epoch and has it delivered.
    pub fn outbox_fork(&self, first: i64, epoch: i64) -> Pending<()> {
        self.write(move |connection| {
            connection.prepare_cached("DELETE FROM outbox_epochs WHERE first >= ?1")?.execute([first])?;
            let sql = "INSERT INTO outbox_epochs (first, epoch) VALUES (?1, ?2)";
            connection.prepare_cached(sql)?.execute([first, epoch])?;
            connection.prepare_cached("UPDATE outbox_head SET acked = ?1")?.execute([first - 1])?;
            Ok(())
        })
    }

    /// Resolves when something may have been recorded since it last did. For one waiter.
    pub async fn recorded(&self) {
        self.0.recorded.notified().await;
    }
}

pub(super) const EPOCHS: &str = "SELECT first, epoch FROM outbox_epochs ORDER BY first";
pub(super) const FOLLOWING: &str = "SELECT * FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2";

/// Adds the event, in the caller's transaction; without an encoder there is no central site to tell.
pub(super) fn append(connection: &Connection, encoder: Option<&EventEncoder>, event: Event<'_>) -> Result<()> {
    let Some(EventEncoder(encode)) = encoder else { return Ok(()) };
    let body = encode(&event).map_err(|cause| Error::internal("An event cannot be written as JSON.").because(cause))?;
    let sql = "INSERT INTO outbox (kind, body, created_at) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute(params![event.kind(), body, Micros(event.at().at)])?;
    Ok(())
}

fn head(connection: &Connection) -> Result<OutboxHead> {
    let sql = "SELECT acked, ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0),
            (SELECT min(seq) FROM outbox),
            (SELECT created_at FROM outbox WHERE seq > acked ORDER BY seq LIMIT 1)
        FROM outbox_head";
    let (acked, newest, oldest, since): (i64, i64, Option<i64>, Option<Micros>) = connection
        .prepare_cached(sql)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let mut statement = connection.prepare_cached(EPOCHS)?;
    let epochs = statement
        .query_map([], |row| Ok(Epoch { first: row.get(0)?, number: row.get(1)? }))?
        .collect::<rusqlite::Result<_>>()?;
    let oldest = oldest.unwrap_or(newest + 1);
    Ok(OutboxHead { acked, newest, oldest, epochs, waiting_since: since.map(|Micros(at)| at) })
}

/// By halving: rows are in the order of time, but for jumps of the clock.
fn before(connection: &Connection, moment: Timestamp) -> Result<i64> {
    let OutboxHead { oldest, newest, .. } = head(connection)?;
    let (mut low, mut high) = (oldest - 1, newest);
    while low < high {
        let middle = low + (high - low + 1) / 2;
        let sql = "SELECT created_at < ?2 FROM outbox WHERE seq >= ?1 ORDER BY seq LIMIT 1";
        let earlier =
            optional(connection.prepare_cached(sql)?.query_row(params![middle, Micros(moment)], |r| r.get(0)))?;
        if earlier.unwrap_or(false) { low = middle } else { high = middle - 1 }
    }
    Ok(low)
}

fn outbox_row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        seq: row.get("seq")?,
        kind: row.get("kind")?,
        body: row.get("body")?,
        created: row.get::<_, Micros>("created_at")?.0,
    })
}
