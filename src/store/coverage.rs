//! How much of each slot the unit was watching, and why it was not.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::error::{Error, Result};
use crate::record::{CoverageSpan, Gap, SlotWidth};
use crate::store::columns::{Micros, monotonic_us};
use crate::store::counts::{self, Head, OF_THE_ZONE};
use crate::store::outbox::EventEncoder;
use crate::store::{Pending, Store};

mod told;

/// A longer stretch comes from a wall clock that jumped; it would touch very many slots.
const SPAN_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// About what a stretch holds in memory.
const HELD_SPAN_BYTES: usize = 256;

impl Store {
    /// Adds stretches of watching and not watching to the slots they cover: all or nothing, durable once answered. What is
    /// recorded twice counts twice. Kept in memory, within a limit, while the disk takes no writes.
    pub fn record_coverage(&self, spans: Vec<CoverageSpan>) -> Pending<()> {
        let (bytes, events) = (spans.len() * HELD_SPAN_BYTES, self.0.events.clone());
        self.write_steadfast(bytes, move |connection| {
            spans.iter().try_for_each(|span| record(connection, span, events.as_ref()))
        })
    }

    /// Tells the central site of the stretch that goes on: the unit stops.
    pub fn end_coverage(&self) -> Pending<()> {
        let events = self.0.events.clone();
        self.write(move |connection| told::end(connection, events.as_ref()))
    }
}

fn record(connection: &Connection, span: &CoverageSpan, events: Option<&EventEncoder>) -> Result<()> {
    let (from, until) = (span.from.at, span.until.at);
    if until.duration_since(from) > SPAN_MAX {
        return Err(Error::internal(format!("A stretch of watching from {from} to {until} is too long to be true.")));
    }
    if until <= from {
        return Ok(());
    }
    cover(connection, from, until, span.gap, 1)?;
    told::tell(connection, span, events)?;
    if !(span.from.synced && span.until.synced) {
        note_unsynced(connection, span)?;
    }
    connection.prepare_cached("UPDATE ledger_head SET watched_until = ?1")?.execute([Micros(until)])?;
    Ok(())
}

/// Adds the stretch to the slots of every width that it covers, or takes it away (`sign` −1: a re-stamped stretch moves), in
/// the caller's transaction.
pub(super) fn cover(
    connection: &Connection,
    from: Timestamp,
    until: Timestamp,
    gap: Option<Gap>,
    sign: i64,
) -> Result<()> {
    let Head { zone, .. } = counts::head(connection)?;
    for width in SlotWidth::ALL {
        let mut at = from;
        while at < until {
            let (slot, next) = width.slot(at, &zone);
            let end = if next > at { next.min(until) } else { until };
            // Whole milliseconds since 1970, so that neighbouring stretches lose nothing between them.
            let milliseconds = end.as_millisecond() - at.as_millisecond();
            upsert(connection, width, slot, gap, sign * milliseconds)?;
            at = end;
        }
    }
    Ok(())
}

fn upsert(
    connection: &Connection,
    width: SlotWidth,
    slot: Timestamp,
    gap: Option<Gap>,
    milliseconds: i64,
) -> Result<()> {
    if milliseconds == 0 {
        return Ok(());
    }
    let gap = gap.map_or("", Gap::name);
    let sql = "INSERT INTO coverage (width_s, slot, gap, milliseconds) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT DO UPDATE SET milliseconds = milliseconds + excluded.milliseconds";
    connection.prepare_cached(sql)?.execute(params![width.seconds(), Micros(slot), gap, milliseconds])?;
    if milliseconds < 0 {
        let sql = "DELETE FROM coverage WHERE width_s = ?1 AND slot = ?2 AND gap = ?3 AND milliseconds <= 0";
        connection.prepare_cached(sql)?.execute(params![width.seconds(), Micros(slot), gap])?;
    }
    Ok(())
}

/// Remembers what must move once the clock is right; a stretch that goes on makes its row longer.
fn note_unsynced(connection: &Connection, span: &CoverageSpan) -> Result<()> {
    let gap = span.gap.map_or("", Gap::name);
    let sql = "UPDATE watch_unsynced SET until_at = ?1, until_monotonic_us = ?2
        WHERE boot_id = ?3 AND until_monotonic_us = ?4 AND until_at = ?5 AND gap = ?6";
    let longer = connection.prepare_cached(sql)?.execute(params![
        Micros(span.until.at),
        monotonic_us(&span.until),
        &*span.from.boot_id,
        monotonic_us(&span.from),
        Micros(span.from.at),
        gap,
    ])?;
    if longer == 0 {
        let sql = "INSERT INTO watch_unsynced (boot_id, from_at, until_at, from_monotonic_us, until_monotonic_us, gap)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        connection.prepare_cached(sql)?.execute(params![
            &*span.from.boot_id,
            Micros(span.from.at),
            Micros(span.until.at),
            monotonic_us(&span.from),
            monotonic_us(&span.until),
            gap,
        ])?;
    }
    Ok(())
}

/// Puts the hours and days together from the slots of five minutes.
pub(super) fn rebuild(connection: &Connection, zone: &TimeZone) -> Result<()> {
    connection.execute("DELETE FROM coverage WHERE width_s IN (3600, 86400)", [])?;
    let mut statement = connection.prepare("SELECT * FROM coverage WHERE width_s = 300 ORDER BY slot")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let found = counts::coverage(row)?;
        for width in OF_THE_ZONE {
            let (slot, _) = width.slot(found.slot, zone);
            upsert(connection, width, slot, found.gap, i64::try_from(found.milliseconds).unwrap_or(i64::MAX))?;
        }
    }
    Ok(())
}
