//! The vehicles that passed. A passage, its counts and whatever else goes out because of it are one transaction.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use crate::clock::Stamp;
use crate::error::{Error, Result};
use crate::record::{Event, LabelProbability, Passage, PassageRow};
use crate::store::columns::{Json, Micros, monotonic_us, nullable_text, text};
use crate::store::counts::{self, CountedKind};
use crate::store::{Pending, Store, outbox};

/// Most rows of one page.
pub const PASSAGE_PAGE_ROWS_MAX: u32 = 1_000;

/// About what a passage holds in memory, its crop aside.
const HELD_PASSAGE_BYTES: usize = 1_024;

/// Crops removed by one new crop at most: a lowered budget is reached in time, and no write takes long.
const CROPS_TRIMMED: i64 = 16;

/// Which passages; every condition that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct PassageFilter {
    /// Counted from this moment on.
    pub from: Option<Timestamp>,
    /// Counted before this moment.
    pub to: Option<Timestamp>,
    pub class: Option<String>,
    pub line: Option<String>,
    pub direction: Option<String>,
    /// 0…1.
    pub confidence_min: Option<f64>,
}

/// A place in the order of passages: by the moment they are counted at, then by when they were recorded. It stays one when
/// the row itself has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassagePlace {
    /// Microseconds since 1970 UTC.
    pub counted_us: i64,
    pub id: i64,
}

impl PassagePlace {
    #[must_use]
    pub fn of(row: &PassageRow) -> Self {
        Self { counted_us: row.passage.counted.at.as_microsecond(), id: row.id }
    }
}

impl Store {
    /// Records a vehicle with its counts: all or nothing, durable once answered. False when it was recorded before, which
    /// changes nothing. While the disk takes no writes it is kept in memory, within a limit, and answered once it is stored.
    pub fn record_passage(&self, passage: Passage) -> Pending<bool> {
        let (crop_bytes_max, events) = (self.0.crop_bytes_max, self.0.events.clone());
        let deleted = self.rows_deleted("passage_crops");
        let bytes = HELD_PASSAGE_BYTES + passage.crop.as_ref().map_or(0, Vec::len);
        self.write_steadfast(bytes, move |connection| {
            let Some(id) = insert(connection, &passage)? else { return Ok(false) };
            if let Some(jpeg) = &passage.crop {
                deleted.inc_by(insert_crop(connection, id, jpeg, crop_bytes_max)?);
            }
            counts::add(connection, passage.counted.at, CountedKind::of(&passage), 1)?;
            outbox::append(connection, events.as_ref(), Event::Passage(&passage))?;
            Ok(true)
        })
    }

    /// Passages newest first, at most `limit` and one more than [`PASSAGE_PAGE_ROWS_MAX`]; the next page comes before the
    /// place of this one's last row.
    pub fn passages_page(
        &self,
        filter: PassageFilter,
        before: Option<PassagePlace>,
        limit: u32,
    ) -> Pending<Vec<PassageRow>> {
        self.list(move |connection| {
            let (sql, values) = page_query(&filter, Page::Before(before), limit);
            rows(connection, &sql, values)
        })
    }

    /// The same oldest first: the next page comes after the place of this one's last row.
    pub fn passages_following(
        &self,
        filter: PassageFilter,
        after: Option<PassagePlace>,
        limit: u32,
    ) -> Pending<Vec<PassageRow>> {
        self.list(move |connection| {
            let (sql, values) = page_query(&filter, Page::After(after), limit);
            rows(connection, &sql, values)
        })
    }

    /// Passages in the order in which they were recorded, behind `id`: for whoever must miss none.
    pub fn passages_recorded_after(&self, id: i64, limit: u32) -> Pending<Vec<PassageRow>> {
        self.read(move |connection| {
            rows(connection, RECORDED_AFTER, vec![id.into(), i64::from(limit.min(PASSAGE_PAGE_ROWS_MAX)).into()])
        })
    }

    /// Ids of the oldest and the newest passage there is; none for an empty ledger.
    pub fn passage_ids(&self) -> Pending<Option<(i64, i64)>> {
        self.read(|connection| {
            // Two subqueries: SQLite reads only one end of the table for a lone min or max.
            let sql = "SELECT (SELECT min(id) FROM passages), (SELECT max(id) FROM passages)";
            let (oldest, newest): (Option<i64>, Option<i64>) =
                connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(oldest.zip(newest))
        })
    }

    /// How many passages of each line, direction and class were counted in exactly `from`…`until`, with
    /// `until` outside; slots aside.
    pub fn passages_between(&self, from: Timestamp, until: Timestamp) -> Pending<Vec<crate::record::Count>> {
        self.list(move |connection| {
            let mut statement = connection.prepare_cached(BETWEEN)?;
            let found = statement.query_map(params![Micros(from), Micros(until)], counts::count)?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The passage with that id (a UUID).
    pub fn passage(&self, id: &str) -> Pending<Option<PassageRow>> {
        let id = id.to_owned();
        self.read(move |connection| {
            let sql = "SELECT * FROM passages WHERE uuid = ?1";
            crate::store::failure::optional(connection.prepare_cached(sql)?.query_row([id], passage_row))
        })
    }

    /// JPEG of the best crop of the passage with that id (a UUID), where one was kept.
    pub fn passage_crop(&self, id: &str) -> Pending<Option<Vec<u8>>> {
        let id = id.to_owned();
        self.read(move |connection| {
            let sql = "SELECT jpeg FROM passage_crops WHERE passage_id = (SELECT id FROM passages WHERE uuid = ?1)";
            crate::store::failure::optional(connection.prepare_cached(sql)?.query_row([id], |row| row.get(0)))
        })
    }
}

pub(super) const RECORDED_AFTER: &str = "SELECT * FROM passages WHERE id > ?1 ORDER BY id LIMIT ?2";

pub(super) const BETWEEN: &str =
    "SELECT ?1 AS slot, ifnull(line, '') AS line, ifnull(direction, '') AS direction, class, count(*) AS vehicles
    FROM passages WHERE counted_at >= ?1 AND counted_at < ?2 GROUP BY 2, 3, 4";

/// The new row's id; none when the passage is there already.
fn insert(connection: &Connection, passage: &Passage) -> Result<Option<i64>> {
    let sql =
        "INSERT INTO passages (uuid, class, confidence, votes, crops, line, direction, lane, speed_kmh, started_at,
            started_monotonic_us, ended_at, ended_monotonic_us, counted_at, model, model_version, clock_synced, boot_id,
            monotonic_us)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
        ON CONFLICT (uuid) DO NOTHING";
    let votes = serde_json::to_string(&passage.votes)
        .map_err(|cause| Error::internal("A passage cannot be stored.").because(cause))?;
    let (started, ended, counted) = (&passage.started, &passage.ended, &passage.counted);
    let added = connection.prepare_cached(sql)?.execute(params![
        passage.id,
        passage.class,
        passage.confidence,
        votes,
        passage.crops,
        passage.line,
        passage.direction,
        passage.lane,
        passage.speed_kmh,
        Micros(started.at),
        monotonic_us(started),
        Micros(ended.at),
        monotonic_us(ended),
        Micros(counted.at),
        passage.model,
        passage.model_version,
        started.synced && ended.synced && counted.synced,
        &*counted.boot_id,
        monotonic_us(counted),
    ])?;
    Ok((added == 1).then(|| connection.last_insert_rowid()))
}

/// Keeps the crop and removes the oldest ones that do not fit into the budget any more, the new one included; how many.
fn insert_crop(connection: &Connection, passage_id: i64, jpeg: &[u8], bytes_max: i64) -> Result<u64> {
    let size = i64::try_from(jpeg.len()).unwrap_or(i64::MAX);
    let sql = "INSERT INTO passage_crops (passage_id, bytes, jpeg) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute(params![passage_id, size, jpeg])?;
    let mut deleted = 0;
    for _ in 0..CROPS_TRIMMED {
        let sql = "SELECT ifnull(sum(bytes), 0) FROM passage_crops";
        let total: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        if total <= bytes_max {
            break;
        }
        let sql = "DELETE FROM passage_crops WHERE passage_id = (SELECT min(passage_id) FROM passage_crops)";
        deleted += connection.prepare_cached(sql)?.execute([])? as u64;
    }
    Ok(deleted)
}

/// Where a page lies.
#[derive(Clone, Copy)]
pub(super) enum Page {
    Before(Option<PassagePlace>),
    After(Option<PassagePlace>),
}

pub(super) fn page_query(filter: &PassageFilter, page: Page, limit: u32) -> (String, Vec<Value>) {
    let mut conditions = vec!["TRUE"];
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition, value| {
        conditions.push(condition);
        values.push(value);
    };
    if let Some(class) = &filter.class {
        add("class = ?", class.clone().into());
    }
    if let Some(line) = &filter.line {
        add("line = ?", line.clone().into());
    }
    if let Some(direction) = &filter.direction {
        add("direction = ?", direction.clone().into());
    }
    if let Some(confidence) = filter.confidence_min {
        add("confidence >= ?", confidence.into());
    }
    if let Some(from) = filter.from {
        add("counted_at >= ?", from.as_microsecond().into());
    }
    if let Some(to) = filter.to {
        add("counted_at < ?", to.as_microsecond().into());
    }
    let (order, condition, place) = match page {
        Page::Before(place) => ("DESC", "(counted_at, id) < (?, ?)", place),
        Page::After(place) => ("ASC", "(counted_at, id) > (?, ?)", place),
    };
    if let Some(place) = place {
        conditions.push(condition);
        values.extend([Value::from(place.counted_us), Value::from(place.id)]);
    }
    // One more than a page tells whether another follows.
    values.push(i64::from(limit.min(PASSAGE_PAGE_ROWS_MAX + 1)).into());
    let sql = format!(
        "SELECT * FROM passages WHERE {} ORDER BY counted_at {order}, id {order} LIMIT ?",
        conditions.join(" AND ")
    );
    (sql, values)
}

fn rows(connection: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<PassageRow>> {
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_map(params_from_iter(values), passage_row)?.collect::<rusqlite::Result<_>>()?)
}

fn passage_row(row: &Row<'_>) -> rusqlite::Result<PassageRow> {
    let synced = row.get("clock_synced")?;
    let boot_id: std::sync::Arc<str> = text(row, "boot_id")?.into();
    let stamp = |at: &str, monotonic: &str| -> rusqlite::Result<Stamp> {
        let monotonic = Duration::from_micros(row.get::<_, i64>(monotonic)?.unsigned_abs());
        Ok(Stamp { at: row.get::<_, Micros>(at)?.0, monotonic, synced, boot_id: boot_id.clone() })
    };
    Ok(PassageRow {
        id: row.get("id")?,
        passage: Passage {
            id: text(row, "uuid")?,
            class: text(row, "class")?,
            confidence: row.get("confidence")?,
            votes: votes(row.get::<_, Json>("votes")?.0),
            crops: row.get("crops")?,
            line: nullable_text(row, "line")?,
            direction: nullable_text(row, "direction")?,
            lane: nullable_text(row, "lane")?,
            speed_kmh: row.get("speed_kmh")?,
            started: stamp("started_at", "started_monotonic_us")?,
            ended: stamp("ended_at", "ended_monotonic_us")?,
            counted: stamp("counted_at", "monotonic_us")?,
            model: text(row, "model")?,
            model_version: text(row, "model_version")?,
            crop: None,
        },
    })
}

/// Votes of a shape that this version does not know are no reason to lose the row.
fn votes(json: serde_json::Value) -> Vec<LabelProbability> {
    serde_json::from_value(json).unwrap_or_default()
}
