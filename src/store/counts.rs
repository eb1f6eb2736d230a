//! How many passed: counts by slot, line, direction and class, kept in three widths (`migrations/0002.sql` says why), and
//! the coverage of the same slots.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, Row, params};

use crate::error::{Error, Result};
use crate::record::{Count, Coverage, Gap, Passage, SlotWidth};
use crate::store::columns::{Micros, Named};
use crate::store::{Pending, Store};

/// Counts and coverage of a range of slots, of one moment of the store.
#[derive(Clone, Debug)]
pub struct CountsPage {
    /// By slot; slots in which nobody passed are not here.
    pub counts: Vec<Count>,
    /// By slot; slots in which the unit did not run are not here.
    pub coverage: Vec<Coverage>,
    /// Where days begin.
    pub zone: TimeZone,
    /// Start of the first slot (of five minutes) in which the unit ran at all; none for a unit that never did.
    pub first_watch: Option<Timestamp>,
    /// Until when it is known whether the unit was watching; what comes later is not written yet.
    pub watched_until: Timestamp,
}

/// What is counted together.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountedKind<'a> {
    pub line: Option<&'a str>,
    pub direction: Option<&'a str>,
    pub class: &'a str,
}

impl<'a> CountedKind<'a> {
    pub(super) fn of(passage: &'a Passage) -> Self {
        Self { line: passage.line.as_deref(), direction: passage.direction.as_deref(), class: &passage.class }
    }
}

pub(super) const COUNTS: &str =
    "SELECT * FROM counts WHERE width_s = ?1 AND slot >= ?2 AND slot < ?3 ORDER BY slot, line, direction, class";
pub(super) const KINDS: &str = "SELECT DISTINCT 0 AS slot, line, direction, class, 0 AS vehicles FROM counts
    WHERE width_s = ?1 AND slot >= ?2 AND slot < ?3";
pub(super) const COVERAGE: &str =
    "SELECT * FROM coverage WHERE width_s = ?1 AND slot >= ?2 AND slot < ?3 ORDER BY slot, gap";

impl Store {
    /// Counts and coverage of the slots of `width` that start in `from`…`until`, with `until` outside.
    pub fn counts(&self, width: SlotWidth, from: Timestamp, until: Timestamp) -> Pending<CountsPage> {
        self.list(move |connection| {
            // Counts and coverage must be of the same moment.
            let snapshot = connection.unchecked_transaction()?;
            let range = params![width.seconds(), Micros(from), Micros(until)];
            let counts = snapshot.prepare_cached(COUNTS)?.query_map(range, count)?.collect::<rusqlite::Result<_>>()?;
            let coverage =
                snapshot.prepare_cached(COVERAGE)?.query_map(range, coverage)?.collect::<rusqlite::Result<_>>()?;
            let first: Option<Micros> = snapshot
                .prepare_cached("SELECT min(slot) FROM coverage WHERE width_s = 300")?
                .query_row([], |row| row.get(0))?;
            let head = head(&snapshot)?;
            Ok(CountsPage {
                counts,
                coverage,
                zone: head.zone,
                first_watch: first.map(|first| first.0),
                watched_until: head.watched_until,
            })
        })
    }

    /// What was counted in a range of slots, each line, direction and class once and without its vehicles.
    pub fn counted_kinds(&self, width: SlotWidth, from: Timestamp, until: Timestamp) -> Pending<Vec<Count>> {
        self.list(move |connection| {
            let range = params![width.seconds(), Micros(from), Micros(until)];
            let mut statement = connection.prepare_cached(KINDS)?;
            Ok(statement.query_map(range, count)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The same of all times.
    pub fn kinds_ever_counted(&self) -> Pending<Vec<Count>> {
        self.counted_kinds(SlotWidth::Day, Timestamp::MIN, Timestamp::MAX)
    }

    /// Where days and hours begin from now on (an IANA name); those there are already are put together anew when that is
    /// another zone than before, and when the hours are those of a version that kept them by UTC. For the daemon at its
    /// start; whoever else opens the store takes the zone it finds.
    pub fn set_day_zone(&self, name: &str) -> Pending<()> {
        let name = name.to_owned();
        self.write(move |connection| {
            let zone = zone(&name)?;
            let sql = "UPDATE ledger_head SET day_zone = ?1 WHERE day_zone <> ?1";
            if connection.prepare_cached(sql)?.execute([&name])? == 1 || hours_of_another_clock(connection, &zone)? {
                rebuild(connection, &zone)?;
            }
            Ok(())
        })
    }
}

pub(super) struct Head {
    pub zone: TimeZone,
    pub watched_until: Timestamp,
}

pub(super) fn head(connection: &Connection) -> Result<Head> {
    let (name, until): (String, Micros) = connection
        .prepare_cached("SELECT day_zone, watched_until FROM ledger_head")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Head { zone: zone(&name)?, watched_until: until.0 })
}

fn zone(name: &str) -> Result<TimeZone> {
    TimeZone::get(name).map_err(|cause| {
        Error::config(format!("The time zone {name:?} is not known: set unit.timezone to an IANA name.")).because(cause)
    })
}

/// Counts `vehicles` more (or fewer: a re-stamped passage moves) in the slots of every width that `at` falls into, in the
/// caller's transaction.
pub(super) fn add(connection: &Connection, at: Timestamp, kind: CountedKind<'_>, vehicles: i64) -> Result<()> {
    let zone = head(connection)?.zone;
    for width in SlotWidth::ALL {
        let (slot, _) = width.slot(at, &zone);
        upsert(connection, width, slot, kind, vehicles)?;
    }
    Ok(())
}

fn upsert(
    connection: &Connection,
    width: SlotWidth,
    slot: Timestamp,
    kind: CountedKind<'_>,
    vehicles: i64,
) -> Result<()> {
    let sql = "INSERT INTO counts (width_s, slot, line, direction, class, vehicles) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT DO UPDATE SET vehicles = vehicles + excluded.vehicles";
    let (line, direction) = (kind.line.unwrap_or_default(), kind.direction.unwrap_or_default());
    connection.prepare_cached(sql)?.execute(params![
        width.seconds(),
        Micros(slot),
        line,
        direction,
        kind.class,
        vehicles
    ])?;
    if vehicles < 0 {
        let sql = "DELETE FROM counts
            WHERE width_s = ?1 AND slot = ?2 AND line = ?3 AND direction = ?4 AND class = ?5 AND vehicles <= 0";
        let row = params![width.seconds(), Micros(slot), line, direction, kind.class];
        connection.prepare_cached(sql)?.execute(row)?;
    }
    Ok(())
}

/// Whether any hour that is kept does not begin where the zone's clock begins one.
fn hours_of_another_clock(connection: &Connection, zone: &TimeZone) -> Result<bool> {
    let sql =
        "SELECT DISTINCT slot FROM coverage WHERE width_s = 3600 UNION SELECT slot FROM counts WHERE width_s = 3600";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let slot = row.get::<_, Micros>(0)?.0;
        if SlotWidth::Hour.slot(slot, zone).0 != slot {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The widths that are put together anew for another zone.
pub(super) const OF_THE_ZONE: [SlotWidth; 2] = [SlotWidth::Hour, SlotWidth::Day];

/// Puts the hours and days together from the slots of five minutes, which every zone's hours are multiples of.
fn rebuild(connection: &Connection, zone: &TimeZone) -> Result<()> {
    connection.execute("DELETE FROM counts WHERE width_s IN (3600, 86400)", [])?;
    let mut statement = connection.prepare("SELECT * FROM counts WHERE width_s = 300 ORDER BY slot")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let found = count(row)?;
        let kind =
            CountedKind { line: found.line.as_deref(), direction: found.direction.as_deref(), class: &found.class };
        for width in OF_THE_ZONE {
            let (slot, _) = width.slot(found.slot, zone);
            upsert(connection, width, slot, kind, i64::try_from(found.vehicles).unwrap_or(i64::MAX))?;
        }
    }
    super::coverage::rebuild(connection, zone)
}

pub(super) fn count(row: &Row<'_>) -> rusqlite::Result<Count> {
    let named = |text: String| (!text.is_empty()).then_some(text);
    Ok(Count {
        slot: row.get::<_, Micros>("slot")?.0,
        line: named(row.get("line")?),
        direction: named(row.get("direction")?),
        class: row.get("class")?,
        vehicles: row.get::<_, i64>("vehicles")?.unsigned_abs(),
    })
}

pub(super) fn coverage(row: &Row<'_>) -> rusqlite::Result<Coverage> {
    let gap = match row.get_ref("gap")?.as_str()? {
        "" => None,
        _ => Some(row.get::<_, Named<Gap>>("gap")?.0),
    };
    Ok(Coverage {
        slot: row.get::<_, Micros>("slot")?.0,
        gap,
        milliseconds: row.get::<_, i64>("milliseconds")?.unsigned_abs(),
    })
}
