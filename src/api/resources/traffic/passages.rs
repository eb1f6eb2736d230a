//! The vehicles that passed, one by one.

use salvo::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use salvo::prelude::*;

use crate::api::http::csv;
use crate::api::http::error::Answer;
use crate::api::http::query::{self, List, Listing, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, cursor_text};
use crate::api::resources::traffic::wire::PassagePage;
use crate::api::resources::traffic::{check_names, zone};
use crate::api::resources::wire::{Reply, Success, Written};
use crate::api::state::AppState;
use crate::error::{Error, ErrorKind};
use crate::ledger::table;
use crate::ledger::wire::PassageWire;
use crate::store::{PassageFilter, PassagePlace};

const KNOWN: [&str; 10] =
    ["from", "to", "class", "line", "direction", "min_confidence", "format", "limit", "cursor", "bom"];

/// Passages
///
/// The vehicles that passed, newest first, in pages. As CSV, the next page's cursor is in the headers `X-Next-Cursor` and
/// `Link`. `from` and `to` are compared with `counted_at`.
#[endpoint(
    tags("traffic"),
    parameters(
        ("from" = Option<String>, Query, format = DateTime, description = "RFC 3339, inclusive", example = json!("2026-05-01T00:00:00Z")),
        ("to" = Option<String>, Query, format = DateTime, description = "RFC 3339, exclusive", example = json!("2026-05-02T00:00:00Z")),
        ("class" = Option<String>, Query, description = "Of this class only, for example `bus` or `unclassified`", min_length = 1, max_length = 128),
        ("line" = Option<String>, Query, description = "Over this counting line only", min_length = 1, max_length = 128),
        ("direction" = Option<String>, Query, description = "In this direction only", min_length = 1, max_length = 128),
        ("min_confidence" = Option<f64>, Query, description = "0 to 1", minimum = 0, maximum = 1),
        ("format" = Option<String>, Query, description = "`json` (default) or `csv`", pattern = "^(json|csv)$"),
        ("bom" = Option<bool>, Query, description = "Of CSV only: begin with a byte order mark, for Excel"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", pattern = "^p[0-9a-fA-F]{1,16}-[0-9a-fA-F]{1,16}$")
    ),
    responses((status_code = 200, description = "A page of passages", content(
        ("application/json" = Success<PassagePage>), ("text/csv" = String)
    ))),
    security(["bearer" = []])
)]
pub async fn list(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &KNOWN)?;
    let limit = query::limit(req, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)?;
    let (from, to) = query::range(req, &zone(&api)?)?;
    let filter = PassageFilter {
        from,
        to,
        class: query::word(req, "class")?,
        line: query::word(req, "line")?,
        direction: query::word(req, "direction")?,
        confidence_min: query::share(req, "min_confidence")?.map(f64::from),
    };
    let listing = query::listing(req)?;
    let (line, direction, class) = (filter.line.as_deref(), filter.direction.as_deref(), filter.class.as_deref());
    check_names(&api, line, direction, class).await?;
    let before = query::cursor(req, List::Passages)?.map(|(counted_us, id)| PassagePlace { counted_us, id });
    // One more than asked for tells whether there is a next page.
    let mut rows = api.store.passages_page(filter, before, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let last = rows.last().filter(|_| more).map(PassagePlace::of);
    let next = last.map(|place| cursor_text(List::Passages, place.counted_us, place.id));
    let passages: Vec<PassageWire> = rows.into_iter().map(Into::into).collect();
    match listing {
        Listing::Json => Reply(PassagePage { passages, next_cursor: next }).render(res),
        Listing::Csv => {
            let table = table::in_memory(&table::PASSAGE_COLUMNS, passages.iter().map(table::passage))?;
            csv::answer(req, res, "passages.csv", table, next.as_deref())?;
        }
    }
    Ok(Written)
}

/// One passage
///
/// As long as it is kept.
#[endpoint(
    tags("traffic"),
    parameters(("id" = String, Path, description = "`id` of a passage")),
    security(["bearer" = []])
)]
pub async fn one(req: &mut Request, depot: &mut Depot) -> Answer<Reply<PassageWire>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let id = req.param::<String>("id").unwrap_or_default();
    let missing = || Error::new(ErrorKind::NotFound, "There is no such passage: it never was, or is no longer kept.");
    Ok(Reply(api.store.passage(&id).await?.ok_or_else(missing)?.into()))
}

/// Crop of a passage
///
/// The best picture of the vehicle, where the configuration keeps crops.
#[endpoint(
    tags("traffic"),
    parameters(("id" = String, Path, description = "`id` of a passage")),
    responses((status_code = 200, description = "JPEG", body = String, content_type = "image/jpeg")),
    security(["bearer" = []])
)]
pub async fn crop(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let id = req.param::<&str>("id").unwrap_or_default().to_owned();
    let jpeg = api.store.passage_crop(&id).await?.ok_or_else(|| {
        let text = "No crop of such a passage is kept: it was never kept, or has given way to newer ones.";
        Error::new(ErrorKind::NotFound, text)
    })?;
    res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    res.write_body(jpeg).map_err(|cause| Error::internal("The crop cannot be sent.").because(cause))?;
    Ok(Written)
}
