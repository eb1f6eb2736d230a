//! The list of reports, in pages.

use salvo::prelude::*;
use serde_json::{Value, json};

use crate::api::http::access::Caller;
use crate::api::http::csv;
use crate::api::http::error::Answer;
use crate::api::http::query::{self, List, Listing, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, cursor_text};
use crate::api::resources::traffic::{check_names, zone};
use crate::api::resources::wire::{Reply, ReportPage, Success, Written};
use crate::api::state::AppState;
use crate::error::{Error, Result};
use crate::ledger::table;
use crate::record::{Outcome, Report};
use crate::report::ReportBody;
use crate::store::{ReportFilter, ReportPlace};

const KNOWN: [&str; 9] = ["from", "to", "vehicle_id", "class", "min_confidence", "format", "limit", "cursor", "bom"];
/// Columns of [`report_row`].
pub const REPORT_COLUMNS: [&str; 11] = [
    "report_id",
    "vehicle_id",
    "report_date",
    "class",
    "confidence",
    "level",
    "model",
    "model_version",
    "classification_id",
    "user",
    "clock_synced",
];

/// Reports
///
/// Newest first, in pages. As CSV, the next page's cursor is in the headers `X-Next-Cursor` and `Link`.
#[endpoint(
    tags("vehicle"),
    parameters(
        ("from" = Option<String>, Query, format = DateTime, description = "RFC 3339, inclusive", example = json!("2026-05-01T00:00:00Z")),
        ("to" = Option<String>, Query, format = DateTime, description = "RFC 3339, exclusive", example = json!("2026-05-02T00:00:00Z")),
        ("vehicle_id" = Option<String>, Query, description = "Of this vehicle only", min_length = 1, max_length = 128),
        ("class" = Option<String>, Query, description = "Of this class only, for example `bus`", min_length = 1, max_length = 128),
        ("min_confidence" = Option<f64>, Query, description = "0 to 1", minimum = 0, maximum = 1),
        ("format" = Option<String>, Query, description = "`json` (default) or `csv`", pattern = "^(json|csv)$"),
        ("bom" = Option<bool>, Query, description = "Of CSV only: begin with a byte order mark, for Excel"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", pattern = "^r[0-9a-fA-F]{1,16}-[0-9a-fA-F]{1,16}$")
    ),
    responses((status_code = 200, description = "A page of reports", content(
        ("application/json" = Success<ReportPage>), ("text/csv" = String)
    ))),
    security(["bearer" = []])
)]
pub async fn list(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &KNOWN)?;
    let limit = query::limit(req, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)?;
    let (from, to) = query::range(req, &zone(&api)?)?;
    let filter = ReportFilter {
        from,
        to,
        vehicle_id: query::word(req, "vehicle_id")?,
        class: query::word(req, "class")?,
        confidence_min: query::share(req, "min_confidence")?,
    };
    let listing = query::listing(req)?;
    check_names(&api, None, None, filter.class.as_deref()).await?;
    let after = query::cursor(req, List::Reports)?.map(|(created_us, row)| ReportPlace { created_us, row });
    // One more than asked for tells whether there is a next page.
    let mut rows = api.store.report_page(filter, after, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(|(place, _)| cursor_text(List::Reports, place.created_us, place.row));
    let event = api.audit(
        req,
        Some(Caller::of(depot)?.name()),
        "vehicle.reports.read",
        "/api/vehicle/reports",
        Outcome::Success,
        json!({ "rows": rows.len() }),
    );
    api.store.record_audit(event).await?;
    match listing {
        Listing::Json => {
            let reports: Result<Vec<_>> = rows.into_iter().map(|(_, report)| body(report.body)).collect();
            Reply(ReportPage { reports: reports?, next_cursor: next }).render(res);
        }
        Listing::Csv => {
            let lines: Result<Vec<_>> = rows.into_iter().map(|(_, report)| report_row(report)).collect();
            csv::answer(req, res, "reports.csv", table::in_memory(&REPORT_COLUMNS, lines?)?, next.as_deref())?;
        }
    }
    Ok(Written)
}

fn body(stored: Value) -> Result<ReportBody> {
    serde_json::from_value(stored).map_err(|cause| Error::internal("A stored report cannot be read.").because(cause))
}

/// The row of one report, in answers and exports.
///
/// # Errors
/// Internal for a stored report that cannot be read.
pub fn report_row(report: Report) -> Result<Vec<String>> {
    let (class, confidence, user) = (report.class, report.confidence, report.user);
    let body = body(report.body)?;
    Ok(vec![
        body.report_id,
        table::text(&body.vehicle_id),
        body.report_date.to_string(),
        table::text(&class),
        confidence.to_string(),
        body.summary.level,
        table::text(&body.model),
        table::text(&body.model_version),
        body.classification_id,
        table::text(&user),
        report.created.synced.to_string(),
    ])
}
