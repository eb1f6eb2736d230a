//! Counts by class, direction and interval.

use jiff::{SignedDuration, Timestamp};
use salvo::prelude::*;

use crate::api::http::csv;
use crate::api::http::error::Answer;
use crate::api::http::query::{self, Listing};
use crate::api::resources::traffic::{check_names, load, scheme, zone};
use crate::api::resources::wire::{Reply, Success, Written};
use crate::api::state::AppState;
use crate::error::{Error, Result};
use crate::ledger::interval::{Kinds, Ledger, intervals};
use crate::ledger::names::ways;
use crate::ledger::wire::CountsWire;
use crate::ledger::{Interval, Scheme, table};
use crate::metrics::Limit;

const KNOWN: [&str; 6] = ["from", "to", "interval", "scheme", "line", "format"];

/// Counts
///
/// Vehicles by class, line and direction, interval by interval. Every interval of the range is there: `0` means that the
/// unit watched and nobody passed, `null` (in CSV: empty) that it was not watching; `coverage_ratio` and `reasons` say how
/// much and why. Without `from`, the unit's present day. The range is widened to whole intervals and bounded
/// (`api.count_intervals_max`).
#[endpoint(
    tags("traffic"),
    parameters(
        ("from" = Option<String>, Query, format = DateTime, description = "RFC 3339, inclusive", example = json!("2026-05-01T00:00:00Z")),
        ("to" = Option<String>, Query, format = DateTime, description = "RFC 3339, exclusive; now when absent"),
        ("interval" = Option<String>, Query, description = "`5m`, `15m` (default), `1h` or `1d` (of the unit's time zone)", pattern = "^(5m|15m|1h|1d)$"),
        ("scheme" = Option<String>, Query, description = "`native` (default), `tls8+1` or `coba`; a plus may be escaped as `%2B`", pattern = "^(native|tls8\\+1|coba)$"),
        ("line" = Option<String>, Query, description = "Over this counting line only", min_length = 1, max_length = 128),
        ("format" = Option<String>, Query, description = "`json` (default) or `csv`", pattern = "^(json|csv)$")
    ),
    responses((status_code = 200, description = "Every interval of the range", content(
        ("application/json" = Success<CountsWire>), ("text/csv" = String)
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
    let listing = query::listing(req)?;
    let (from, to) = range(req, &api, interval)?;
    let found = counted(&api, interval, (from, to), scheme, line).await?;
    match listing {
        Listing::Json => Reply(found).render(res),
        Listing::Csv => {
            let rows = found.intervals.iter().flat_map(table::interval);
            csv::answer(req, res, "counts.csv", table::in_memory(&table::INTERVAL_COLUMNS, rows)?, None)?;
        }
    }
    Ok(Written)
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
