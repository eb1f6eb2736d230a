//! What passed: passages, counts and the manual counts they are compared with.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use salvo::prelude::*;

use crate::api::http::access::Gate;
use crate::api::http::query;
use crate::api::state::AppState;
use crate::auth::Permission;
use crate::error::{Error, Result};
use crate::ledger::Scheme;
use crate::ledger::names::Names;
use crate::ledger::scheme::SchemeName;
use crate::record::Count;

mod counts;
mod passages;
mod validations;
mod wire;

/// Everything below `/api/traffic`.
pub fn routes() -> Router {
    let reading = Router::new()
        .hoop(Gate(Permission::Read))
        .push(Router::with_path("passages").get(passages::list))
        .push(Router::with_path("passages/{id}").get(passages::one))
        .push(Router::with_path("passages/{id}/crop").get(passages::crop))
        .push(Router::with_path("counts").get(counts::counts))
        .push(Router::with_path("validations").get(validations::list));
    let comparing =
        Router::new().hoop(Gate(Permission::User)).push(Router::with_path("validations").post(validations::compare));
    Router::with_path("traffic").push(reading).push(comparing)
}

/// The unit's own zone, where days begin.
pub fn zone(api: &AppState) -> Result<TimeZone> {
    TimeZone::get(&api.config.unit.timezone)
        .map_err(|cause| Error::internal("The unit's time zone cannot be used.").because(cause))
}

fn load(api: &AppState, name: SchemeName) -> Result<Scheme> {
    let model = api.model.get();
    name.load(model.manifest.type_labels())
}

/// The parameter `scheme`; native when absent.
fn scheme(req: &Request) -> Result<SchemeName> {
    query::text(req, "scheme").map_or(Ok(SchemeName::Native), str::parse)
}

/// What filters name must exist, or have existed: in the configuration, in the active model, in the ledger.
pub async fn check_names(
    api: &AppState,
    line: Option<&str>,
    direction: Option<&str>,
    class: Option<&str>,
) -> Result<()> {
    let check = |names: &Names| -> Result<()> {
        line.map_or(Ok(()), |line| names.check_line(line))?;
        direction.map_or(Ok(()), |direction| names.check_direction(direction))?;
        class.map_or(Ok(()), |class| names.check_class(class))
    };
    let model = api.model.get();
    let configured = Names::configured(&api.config.traffic, model.manifest.type_labels());
    if check(&configured).is_ok() {
        return Ok(());
    }
    let mut history = api.store.kinds_ever_counted().await?;
    if class.is_some() {
        let kind = |class| Count { slot: Timestamp::UNIX_EPOCH, line: None, direction: None, class, vehicles: 0 };
        history.extend(api.store.recorded_classes().await?.into_iter().map(kind));
    }
    check(&configured.with_history(history))
}
