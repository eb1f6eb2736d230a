//! Counts by class, direction and interval.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use salvo::http::header::HeaderValue;
use salvo::prelude::*;

use crate::api::http::csv;
use crate::api::http::error::Answer;
use crate::api::http::query;
use crate::api::resources::traffic::{check_names, load, scheme, zone};
use crate::api::resources::wire::{Reply, Success, Written};
use crate::api::state::AppState;
use crate::error::{Error, Result};
use crate::ledger::interval::{Kinds, Ledger, intervals};
use crate::ledger::names::ways;
use crate::ledger::wide::{Cell, Wide};
use crate::ledger::wire::CountsWire;
use crate::ledger::workbook::{self, Sheet};
use crate::ledger::{Interval, Scheme, table};
use crate::metrics::Limit;

const KNOWN: [&str; 8] = ["from", "to", "interval", "scheme", "line", "format", "layout", "bom"];

/// How the counts are wanted.
enum Shape {
    Json,
    Long,
    Wide,
    Xlsx,
}

impl Shape {
    fn of(req: &Request) -> Result<Self> {
        let bad = |name: &str, text: &str| Err(Error::validation(text).detail("parameter", name));
        let format = query::text(req, "format").unwrap_or("json");
        if format != "csv" && query::text(req, "layout").is_some() {
            return bad("layout", "`layout` is only for format=csv.");
        }
        match (format, query::text(req, "layout")) {
            ("json", _) => Ok(Self::Json),
            ("csv", None | Some("long")) => Ok(Self::Long),
            ("csv", Some("wide")) => Ok(Self::Wide),
            ("xlsx", _) if query::text(req, "interval").is_some() => {
                bad("interval", "A workbook has a sheet of days and one of hours: leave `interval` away.")
            }
            ("xlsx", _) => Ok(Self::Xlsx),
            ("csv", Some(_)) => bad("layout", "`layout` must be long or wide."),
            _ => bad("format", "`format` must be json, csv or xlsx."),
        }
    }
}

/// Counts
///
/// Vehicles by class, line and direction, interval by interval. Every interval of the range is there: `0` means that the
/// unit watched and nobody passed, `null` (in CSV: empty) that it was not watching; `coverage_ratio` and `reasons` say how
/// much and why. Without `from`, the unit's present day. The range is widened to whole intervals and bounded
/// (`api.count_intervals_max`).
///
/// As CSV, `layout=long` (default) has one row for each interval, line, direction and class, `layout=wide` one row an interval and
/// a column a class. `from_local` is the start on the clock of the site. `format=xlsx` is a workbook with the same wide tables by
/// day and by hour.
#[endpoint(
    tags("traffic"),
    parameters(
        ("from" = Option<String>, Query, format = DateTime, description = "RFC 3339, inclusive", example = json!("2026-05-01T00:00:00Z")),
        ("to" = Option<String>, Query, format = DateTime, description = "RFC 3339, exclusive; now when absent"),
        ("interval" = Option<String>, Query, description = "`5m`, `15m` (default), `1h` or `1d` (of the unit's time zone)", pattern = "^(5m|15m|1h|1d)$"),
        ("scheme" = Option<String>, Query, description = "`native` (default), `tls8+1` or `coba`; a plus may be escaped as `%2B`", pattern = "^(native|tls8\\+1|coba)$"),
        ("line" = Option<String>, Query, description = "Over this counting line only", min_length = 1, max_length = 128),
        ("format" = Option<String>, Query, description = "`json` (default), `csv` or `xlsx`", pattern = "^(json|csv|xlsx)$"),
        ("layout" = Option<String>, Query, description = "Of CSV only: `long` (default) or `wide`", pattern = "^(long|wide)$"),
        ("bom" = Option<bool>, Query, description = "Of CSV only: begin with a byte order mark, for Excel")
    ),
    responses((status_code = 200, description = "Every interval of the range", content(
        ("application/json" = Success<CountsWire>), ("text/csv" = String),
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" = String)
    ))),
    security(["bearer" = []])
)]
pub async fn counts(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &KNOWN)?;
    let interval = query::text(req, "interval").map_or(Ok(Interval::QuarterHour), str::parse)?;
    let scheme = load(&api, scheme(req)?)?;
    let line = query::word(req, "line")?;
    check_names(&api, line.as_deref(), None, None).await?;
    let (shape, zone) = (Shape::of(req)?, zone(&api)?);
    if let Shape::Xlsx = shape {
        let mut sheets = Vec::new();
        for interval in [Interval::Day, Interval::Hour] {
            let range = range(req, &api, interval)?;
            sheets.push(counted(&api, interval, range, scheme.clone(), line.clone()).await?);
        }
        let book = tokio::task::spawn_blocking(move || book(&sheets, &zone)).await;
        let book = book.map_err(|cause| Error::internal("The workbook cannot be put together.").because(cause))??;
        csv::file(res, "counts.xlsx", HeaderValue::from_static(workbook::MEDIA_TYPE), book)?;
        return Ok(Written);
    }
    let range = range(req, &api, interval)?;
    let found = counted(&api, interval, range, scheme, line).await?;
    let table = match shape {
        Shape::Long => {
            let rows = found.intervals.iter().flat_map(|interval| table::interval(interval, &zone));
            table::in_memory(&table::INTERVAL_COLUMNS, rows)?
        }
        Shape::Wide => {
            let wide = Wide::of(&found.intervals, zone);
            let columns: Vec<_> = wide.columns().iter().map(|column| table::text(column)).collect();
            let columns: Vec<_> = columns.iter().map(String::as_str).collect();
            let rows = found.intervals.iter().map(|interval| wide.row(interval).iter().map(Cell::csv).collect());
            table::in_memory(&columns, rows)?
        }
        Shape::Json | Shape::Xlsx => {
            Reply(found).render(res);
            return Ok(Written);
        }
    };
    csv::answer(req, res, "counts.csv", table, None)?;
    Ok(Written)
}

/// Days and hours, each on a sheet.
fn book(sheets: &[CountsWire], zone: &TimeZone) -> Result<Vec<u8>> {
    let layouts: Vec<_> = sheets.iter().map(|found| Wide::of(&found.intervals, zone.clone())).collect();
    let pairs = sheets.iter().zip(&layouts);
    let sheets: Vec<_> =
        pairs.map(|(found, wide)| Sheet { name: found.interval, intervals: &found.intervals, wide }).collect();
    workbook::workbook(&sheets)
}

/// The intervals as the ledger has them now.
async fn counted(
    api: &AppState,
    interval: Interval,
    (from, to): (Timestamp, Timestamp),
    scheme: Scheme,
    line: Option<String>,
) -> Result<CountsWire> {
    let mut page = api.store.counts(interval.width(), from, to).await?;
    let mut ways = ways(&api.config.traffic);
    if let Some(line) = &line {
        page.counts.retain(|count| count.line.as_ref() == Some(line));
        ways.retain(|way| way.line.as_ref() == Some(line));
    }
    let now = api.clock.wall();
    let assembled = tokio::task::spawn_blocking(move || {
        let ledger = Ledger {
            counts: &page.counts,
            coverage: &page.coverage,
            zone: &page.zone,
            first_watch: page.first_watch,
            watched_until: page.watched_until,
            now,
        };
        let kinds = Kinds::of(ways, &page.counts, &scheme);
        let found = intervals(interval, from, to, ledger, &scheme, kinds);
        CountsWire::new(interval, &page.zone, &scheme, &found)
    });
    assembled.await.map_err(|cause| Error::internal("The counts cannot be put together.").because(cause))
}

/// Whole intervals, within the limit.
fn range(req: &Request, api: &AppState, interval: Interval) -> Result<(Timestamp, Timestamp)> {
    let zone = zone(api)?;
    let (from, to) = query::range(req, &zone)?;
    let to = to.unwrap_or_else(|| api.clock.wall());
    let from = from.unwrap_or_else(|| Interval::Day.around(to - SignedDuration::from_micros(1), &zone).0);
    if from >= to {
        return Err(
            Error::validation("`from` must lie before `to`, which is now when absent.").detail("parameter", "from")
        );
    }
    let start = interval.around(from, &zone).0;
    let end = interval.around(to - SignedDuration::from_micros(1), &zone).1;
    let (count, most) = (end.duration_since(start).as_secs() / interval.seconds(), api.config.api.count_intervals_max);
    if count > i64::from(most) {
        api.metrics.count_limit(Limit::CountIntervals);
        let text = format!(
            "The range has {count} intervals of {}, at most {most} are answered at once: ask for a shorter range, or for \
             longer intervals (interval=1h or 1d).",
            interval.name()
        );
        return Err(Error::validation(text).detail("intervals", count).detail("intervals_max", most));
    }
    Ok((start, end))
}
