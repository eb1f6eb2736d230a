//! What the central site is told of watching: not every stretch of ten seconds that is stored, but one for each state, cut at
//! full five minutes. The one that goes on is kept beside the coverage and grows in the same transaction, so that a power cut
//! takes nothing of it: it is told when the next one, which does not follow on it, begins.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, Row, params};

use crate::clock::Stamp;
use crate::error::Result;
use crate::record::{CoverageSpan, Event, Gap, SlotWidth};
use crate::store::columns::{Micros, Named, monotonic_us, text};
use crate::store::failure::optional;
use crate::store::outbox::{self, EventEncoder};

/// Adds a stretch, in the caller's transaction, and tells of what is complete with it.
pub(super) fn tell(connection: &Connection, span: &CoverageSpan, events: Option<&EventEncoder>) -> Result<()> {
    if events.is_none() {
        return Ok(());
    }
    let mut open = open(connection)?;
    for part in parts(span) {
        match &mut open {
            Some(open) if follows(open, &part) => open.until = part.until,
            _ => {
                if let Some(complete) = open.replace(part) {
                    outbox::append(connection, events, Event::Coverage(&complete))?;
                }
            }
        }
        if let Some(complete) = open.take_if(|open| slot_of(open.until.at).0 == open.until.at) {
            outbox::append(connection, events, Event::Coverage(&complete))?;
        }
    }
    keep(connection, open.as_ref())
}

/// Tells of the stretch that goes on, in the caller's transaction.
pub(super) fn end(connection: &Connection, events: Option<&EventEncoder>) -> Result<()> {
    match open(connection)? {
        Some(open) if events.is_some() => {
            outbox::append(connection, events, Event::Coverage(&open))?;
            keep(connection, None)
        }
        _ => Ok(()),
    }
}

/// The stretch cut at full five minutes, in the microseconds that the store keeps.
fn parts(span: &CoverageSpan) -> Vec<CoverageSpan> {
    let synced = span.from.synced && span.until.synced;
    let rounded = |stamp: &Stamp| Stamp { at: whole(stamp.at), synced, ..stamp.clone() };
    let (first, last) = (rounded(&span.from), rounded(&span.until));
    let (mut from, mut parts) = (first.clone(), Vec::new());
    while from.at < last.at {
        let (_, edge) = slot_of(from.at);
        let until = if from.at < edge && edge < last.at {
            let passed = Duration::try_from(edge.duration_since(first.at)).unwrap_or_default();
            Stamp { at: edge, monotonic: first.monotonic + passed, ..first.clone() }
        } else {
            last.clone()
        };
        parts.push(CoverageSpan { from, until: until.clone(), gap: span.gap });
        from = until;
    }
    parts
}

fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

fn slot_of(at: Timestamp) -> (Timestamp, Timestamp) {
    SlotWidth::FiveMinutes.slot(at, &TimeZone::UTC)
}

fn follows(open: &CoverageSpan, part: &CoverageSpan) -> bool {
    open.gap == part.gap
        && open.until.at == part.from.at
        && open.until.boot_id == part.from.boot_id
        && open.until.synced == part.from.synced
}

fn open(connection: &Connection) -> Result<Option<CoverageSpan>> {
    let sql = "SELECT *, nullif(gap, '') AS why FROM watch_head";
    optional(connection.prepare_cached(sql)?.query_row([], open_row))
}

fn open_row(row: &Row<'_>) -> rusqlite::Result<CoverageSpan> {
    let (synced, boot_id) = (row.get("clock_synced")?, std::sync::Arc::from(text(row, "boot_id")?));
    let stamp = |at: &str, monotonic: &str| -> rusqlite::Result<Stamp> {
        let monotonic = Duration::from_micros(row.get::<_, i64>(monotonic)?.unsigned_abs());
        Ok(Stamp { at: row.get::<_, Micros>(at)?.0, monotonic, synced, boot_id: std::sync::Arc::clone(&boot_id) })
    };
    Ok(CoverageSpan {
        from: stamp("from_at", "from_monotonic_us")?,
        until: stamp("until_at", "until_monotonic_us")?,
        gap: row.get::<_, Option<Named<Gap>>>("why")?.map(|Named(gap)| gap),
    })
}

fn keep(connection: &Connection, open: Option<&CoverageSpan>) -> Result<()> {
    let Some(CoverageSpan { from, until, gap }) = open else {
        connection.prepare_cached("DELETE FROM watch_head")?.execute([])?;
        return Ok(());
    };
    let sql = "INSERT OR REPLACE INTO watch_head
        (one, boot_id, from_at, from_monotonic_us, until_at, until_monotonic_us, clock_synced, gap)
        VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        &*until.boot_id,
        Micros(from.at),
        monotonic_us(from),
        Micros(until.at),
        monotonic_us(until),
        until.synced,
        gap.map_or("", Gap::name),
    ])?;
    Ok(())
}
