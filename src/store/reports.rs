//! Vehicle reports as served.

use rusqlite::{Row, params};

use crate::record::{AuditEvent, Classification, Report};
use crate::store::columns::{Json, Micros, monotonic_us, stamp};
use crate::store::failure::optional;
use crate::store::{Pending, Store, audit, classifications};

pub(super) const NEWEST: &str =
    "SELECT * FROM reports WHERE vehicle_id = ?1 ORDER BY created_at DESC, rowid DESC LIMIT 1";

impl Store {
    /// Stores a report, the classification it rests on and the audit row: all or nothing, durable once answered.
    pub fn record_report(&self, report: Report, classification: Classification, event: AuditEvent) -> Pending<()> {
        let keep = self.0.classifications_max;
        self.write(move |connection| {
            classifications::insert(connection, &classification, keep)?;
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
            audit::append(connection, &event)
        })
    }

    /// The newest report of a vehicle.
    pub fn newest_report(&self, vehicle_id: &str) -> Pending<Option<Report>> {
        let vehicle_id = vehicle_id.to_owned();
        self.read(move |connection| optional(connection.prepare_cached(NEWEST)?.query_row([vehicle_id], report)))
    }

    /// The report with that id (a UUID).
    pub fn report(&self, id: &str) -> Pending<Option<Report>> {
        let id = id.to_owned();
        self.read(move |connection| {
            optional(connection.prepare_cached("SELECT * FROM reports WHERE id = ?1")?.query_row([id], report))
        })
    }
}

fn report(row: &Row<'_>) -> rusqlite::Result<Report> {
    Ok(Report {
        id: row.get("id")?,
        vehicle_id: row.get("vehicle_id")?,
        user: row.get("user_id")?,
        class: row.get("class")?,
        confidence: row.get("confidence")?,
        body: row.get::<_, Json>("data")?.0,
        created: stamp(row)?,
    })
}
