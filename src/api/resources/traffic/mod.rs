//! What passed: passages, counts and the manual counts they are compared with.

use jiff::tz::TimeZone;
use salvo::prelude::*;

use crate::api::http::access::Gate;
use crate::api::http::query;
use crate::api::state::AppState;
use crate::auth::Permission;
use crate::classifier::Manifest;
use crate::error::{Error, Result};
use crate::ledger::Scheme;
use crate::ledger::interval::Way;
use crate::ledger::scheme::SchemeName;

mod counts;
mod passages;
mod validations;
mod wire;

/// Everything below `/api/traffic`.
pub fn routes() -> Router {
    let reading = Router::new()
        .hoop(Gate(Permission::Read))
        .push(Router::with_path("passages").get(passages::list))
        .push(Router::with_path("passages/{id}/crop").get(passages::crop))
        .push(Router::with_path("counts").get(counts::counts))
        .push(Router::with_path("validations").get(validations::list));
    let comparing =
        Router::new().hoop(Gate(Permission::User)).push(Router::with_path("validations").post(validations::compare));
    Router::with_path("traffic").push(reading).push(comparing)
}

/// The unit's own zone, where days begin.
fn zone(api: &AppState) -> Result<TimeZone> {
    TimeZone::get(&api.config.unit.timezone)
        .map_err(|cause| Error::internal("The unit's time zone cannot be used.").because(cause))
}

fn load(api: &AppState, name: SchemeName) -> Result<Scheme> {
    let model = api.model.get();
    let attributes = model.manifest.attributes.iter();
    let labels =
        attributes.filter(|attribute| attribute.name == Manifest::TYPE).flat_map(|attribute| &attribute.labels);
    name.load(labels.map(String::as_str))
}

/// The parameter `scheme`; native when absent.
fn scheme(req: &Request) -> Result<SchemeName> {
    query::text(req, "scheme").map_or(Ok(SchemeName::Native), str::parse)
}

/// Lines with their directions as they are configured: they are there even when nobody takes them.
fn configured_ways(api: &AppState) -> Vec<Way> {
    let lines = api.config.traffic.lines.iter();
    let way = |line: &str, direction: &str| Way { line: Some(line.into()), direction: Some(direction.into()) };
    lines.flat_map(|line| [way(&line.name, &line.forward), way(&line.name, &line.backward)]).collect()
}
