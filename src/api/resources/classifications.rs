//! What was classified: looked up by id, and listed in pages.

use salvo::prelude::*;
use serde_json::json;

use crate::api::http::access::Caller;
use crate::api::http::csv;
use crate::api::http::error::Answer;
use crate::api::http::query::{self, List, Listing, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, cursor_text};
use crate::api::resources::traffic::{check_names, zone};
use crate::api::resources::wire::{Reply, Success, Written};
use crate::api::state::AppState;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::table;
use crate::record::{Origin, Outcome};
use crate::store::{ClassificationFilter, ClassificationPlace};

pub mod wire;
use wire::{CLASSIFICATION_COLUMNS, ClassificationPage, StoredClassification};

const KNOWN: [&str; 10] =
    ["from", "to", "class", "origin", "user", "min_confidence", "format", "limit", "cursor", "bom"];

/// Classifications
///
/// Newest first, in pages. As CSV, the next page's cursor is in the headers `X-Next-Cursor` and `Link`.
#[endpoint(
    tags("vehicle"),
    parameters(
        ("from" = Option<String>, Query, format = DateTime, description = "RFC 3339, inclusive", example = json!("2026-05-01T00:00:00Z")),
        ("to" = Option<String>, Query, format = DateTime, description = "RFC 3339, exclusive", example = json!("2026-05-02T00:00:00Z")),
        ("class" = Option<String>, Query, description = "Of this class only, for example `bus`", min_length = 1, max_length = 128),
        ("origin" = Option<String>, Query, description = "`upload` or `camera`", pattern = "^(upload|camera)$"),
        ("user" = Option<String>, Query, description = "Uploaded by this account only", min_length = 1, max_length = 128),
        ("min_confidence" = Option<f64>, Query, description = "0 to 1", minimum = 0, maximum = 1),
        ("format" = Option<String>, Query, description = "`json` (default) or `csv`", pattern = "^(json|csv)$"),
        ("bom" = Option<bool>, Query, description = "Of CSV only: begin with a byte order mark, for Excel"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", pattern = "^c[0-9a-fA-F]{1,16}-[0-9a-fA-F]{1,16}$")
    ),
    responses((status_code = 200, description = "A page of classifications", content(
        ("application/json" = Success<ClassificationPage>), ("text/csv" = String)
    ))),
    security(["bearer" = []])
)]
pub async fn list(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &KNOWN)?;
    let limit = query::limit(req, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)?;
    let (from, to) = query::range(req, &zone(&api)?)?;
    let filter = ClassificationFilter {
        from,
        to,
        class: query::word(req, "class")?,
        origin: origin(req)?,
        user: query::word(req, "user")?,
        confidence_min: query::share(req, "min_confidence")?,
    };
    let listing = query::listing(req)?;
    check_names(&api, None, None, filter.class.as_deref()).await?;
    let after =
        query::cursor(req, List::Classifications)?.map(|(created_us, row)| ClassificationPlace { created_us, row });
    // One more than asked for tells whether there is a next page.
    let mut rows = api.store.classifications_page(filter, after, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next =
        rows.last().filter(|_| more).map(|(place, _)| cursor_text(List::Classifications, place.created_us, place.row));
    audit(&api, req, depot, "/api/vehicle/classifications", Outcome::Success, json!({ "rows": rows.len() })).await?;
    let classifications: Vec<StoredClassification> = rows.iter().map(|(_, record)| record.into()).collect();
    match listing {
        Listing::Json => Reply(ClassificationPage { classifications, next_cursor: next }).render(res),
        Listing::Csv => {
            let table =
                table::in_memory(&CLASSIFICATION_COLUMNS, classifications.iter().map(StoredClassification::row))?;
            csv::answer(req, res, "classifications.csv", table, next.as_deref())?;
        }
    }
    Ok(Written)
}

/// One classification
///
/// What was answered under this `classification_id`, as long as it is kept.
#[endpoint(
    tags("vehicle"),
    parameters(("id" = String, Path, description = "`classification_id` of an answer")),
    security(["bearer" = []])
)]
pub async fn one(req: &mut Request, depot: &mut Depot) -> Answer<Reply<StoredClassification>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let id = req.param::<String>("id").unwrap_or_default();
    let found = api.store.classification(&id).await?;
    let outcome = if found.is_some() { Outcome::Success } else { Outcome::Failure };
    let resource = crate::imaging::display_name(Some(&id));
    audit(&api, req, depot, &resource, outcome, serde_json::Value::Null).await?;
    let missing =
        || Error::new(ErrorKind::NotFound, "There is no such classification: it never was, or is no longer kept.");
    Ok(Reply(found.as_ref().ok_or_else(missing)?.into()))
}

async fn audit(
    api: &AppState,
    req: &Request,
    depot: &Depot,
    resource: &str,
    outcome: Outcome,
    details: serde_json::Value,
) -> Result<()> {
    let name = Caller::of(depot)?.name();
    let event = api.audit(req, Some(name), "vehicle.classifications.read", resource, outcome, details);
    api.store.record_audit(event).await
}

fn origin(req: &Request) -> Result<Option<Origin>> {
    match query::text(req, "origin") {
        None => Ok(None),
        Some("upload") => Ok(Some(Origin::Upload)),
        Some("camera") => Ok(Some(Origin::Camera)),
        Some(_) => Err(Error::validation("`origin` must be upload or camera.").detail("parameter", "origin")),
    }
}
