//! Vehicle reports as served.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use crate::record::{AuditEvent, Classification, Event, Report};
use crate::store::columns::{Json, Micros, monotonic_us, stamp, text};
use crate::store::failure::optional;
use crate::store::{Pending, Store, classifications, outbox};

/// By when it was stored: a clock that jumped back must not let an older report pass for the newest.
pub(super) const NEWEST: &str = "SELECT * FROM reports WHERE vehicle_id = ?1 ORDER BY rowid DESC LIMIT 1";

/// Most rows of one page.
pub const REPORT_PAGE_ROWS_MAX: u32 = 1_000;

/// Which reports; every condition that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct ReportFilter {
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
    pub vehicle_id: Option<String>,
    pub class: Option<String>,
    /// 0…1.
    pub confidence_min: Option<f32>,
}

/// A place in the order of reports: by time, then by when they were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportPlace {
    /// Microseconds since 1970 UTC.
    pub created_us: i64,
    pub row: i64,
}

const RECORDED_CLASSES: &str =
    "SELECT class FROM reports UNION SELECT class FROM classifications WHERE class IS NOT NULL";

impl Store {
    /// Every class that a kept report or classification has.
    pub fn recorded_classes(&self) -> Pending<Vec<String>> {
        self.list(|connection| {
            let mut statement = connection.prepare_cached(RECORDED_CLASSES)?;
            Ok(statement.query_map([], |row| text(row, "class"))?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Stores a report, the classification it rests on and the audit row: all or nothing, durable once answered.
    pub fn record_report(&self, report: Report, classification: Classification, event: AuditEvent) -> Pending<()> {
        let (keep, events) = (self.0.classifications_max, self.0.events.clone());
        let deleted = self.rows_deleted("classifications");
        self.record(event, move |connection, _| {
            deleted.inc_by(classifications::insert(connection, &classification, keep)?);
            outbox::append(connection, events.as_ref(), Event::Classification(&classification))?;
            let sql = "INSERT INTO reports (id, vehicle_id, data, status, class, confidence, user_id, created_at,
                    clock_synced, boot_id, monotonic_us)
                VALUES (?1, ?2, ?3, 'completed', ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            connection.prepare_cached(sql)?.execute(params![
                report.id,
                report.vehicle_id,
                report.body.to_string(),
                report.class,
                report.confidence,
                report.user,
                Micros(report.created.at),
                report.created.synced,
                &*report.created.boot_id,
                monotonic_us(&report.created),
            ])?;
            outbox::append(connection, events.as_ref(), Event::Report(&report))
        })
    }

    /// The report of a vehicle that was stored last.
    pub fn newest_report(&self, vehicle_id: &str) -> Pending<Option<Report>> {
        let vehicle_id = vehicle_id.to_owned();
        self.read(move |connection| optional(connection.prepare_cached(NEWEST)?.query_row([vehicle_id], report)))
    }

    /// Reports newest first, at most `limit` and one more than [`REPORT_PAGE_ROWS_MAX`]; the next page comes after the place of this one's
    /// last row, wherever new reports are added meanwhile.
    pub fn report_page(
        &self,
        filter: ReportFilter,
        after: Option<ReportPlace>,
        limit: u32,
    ) -> Pending<Vec<(ReportPlace, Report)>> {
        self.list(move |connection| {
            let (sql, values) = page_query(&filter, after, limit);
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_map(params_from_iter(values), placed)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The report with that id (a UUID).
    pub fn report(&self, id: &str) -> Pending<Option<Report>> {
        let id = id.to_owned();
        self.read(move |connection| {
            optional(connection.prepare_cached("SELECT * FROM reports WHERE id = ?1")?.query_row([id], report))
        })
    }
}

pub(super) fn page_query(filter: &ReportFilter, after: Option<ReportPlace>, limit: u32) -> (String, Vec<Value>) {
    let mut conditions = vec!["TRUE"];
    let mut values: Vec<Value> = Vec::new();
    if let Some(vehicle_id) = &filter.vehicle_id {
        conditions.push("vehicle_id = ?");
        values.push(vehicle_id.clone().into());
    }
    if let Some(class) = &filter.class {
        conditions.push("class = ?");
        values.push(class.clone().into());
    }
    if let Some(confidence_min) = filter.confidence_min {
        conditions.push("confidence >= ?");
        values.push(f64::from(confidence_min).into());
    }
    if let Some(from) = filter.from {
        conditions.push("created_at >= ?");
        values.push(from.as_microsecond().into());
    }
    if let Some(to) = filter.to {
        conditions.push("created_at < ?");
        values.push(to.as_microsecond().into());
    }
    if let Some(place) = after {
        conditions.push("(created_at, rowid) < (?, ?)");
        values.extend([Value::from(place.created_us), Value::from(place.row)]);
    }
    // One more than a page tells whether another follows.
    values.push(i64::from(limit.min(REPORT_PAGE_ROWS_MAX + 1)).into());
    let sql = format!(
        "SELECT rowid AS row, * FROM reports WHERE {} ORDER BY created_at DESC, rowid DESC LIMIT ?",
        conditions.join(" AND ")
    );
    (sql, values)
}

fn placed(row: &Row<'_>) -> rusqlite::Result<(ReportPlace, Report)> {
    Ok((ReportPlace { created_us: row.get("created_at")?, row: row.get("row")? }, report(row)?))
}

fn report(row: &Row<'_>) -> rusqlite::Result<Report> {
    Ok(Report {
        id: text(row, "id")?,
        vehicle_id: text(row, "vehicle_id")?,
        user: text(row, "user_id")?,
        class: text(row, "class")?,
        confidence: row.get("confidence")?,
        body: row.get::<_, Json>("data")?.0,
        created: stamp(row)?,
    })
}
