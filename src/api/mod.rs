//! The HTTP side: the routes and what surrounds them.

use std::sync::Arc;

use salvo::prelude::*;

use crate::auth::Permission;
use crate::classifier::Manifest;
use crate::error::Result;
use crate::record::UNCLASSIFIED;

mod http;
mod page;
mod resources;
mod state;

use http::access::{Gate, StreamGate};
pub use http::connections::Connections;
use http::{docs, envelope, error, head};
pub use resources::classifications::wire::{CLASSIFICATION_COLUMNS, StoredClassification};
pub use resources::numbers::disk_free;
pub use resources::reports::{REPORT_COLUMNS, report_row};
pub use resources::wire::UserWire;
use resources::{
    audit, camera, classifications, classify, diagnostics, events, health, models, numbers, oip, report, reports,
    statistics, tokens, traffic, users,
};
pub use state::{ApiParts, AppState, Gaps};

/// All routes with what surrounds them, ready for a server.
///
/// # Errors
/// Internal when the description of the routes cannot be written.
pub fn service(state: Arc<AppState>) -> Result<Service> {
    let mut router = everything(&state)?;
    let base = state.config.api.base_path.trim_start_matches('/');
    if !base.is_empty() {
        router = Router::new().push(Router::with_path(base).push(everything(&state)?)).push(router);
    }
    let router = head::with_heads(router);
    let catcher = salvo::catcher::Catcher::new(error::catch);
    Ok(Service::new(router).hoop(envelope::Envelope(state)).catcher(catcher))
}

fn everything(state: &AppState) -> Result<Router> {
    if state.config.api.docs { docs::with_docs(routes(), &classes(state)) } else { Ok(routes()) }
}

/// What a passage or a report may be called: the labels of the model in force, and `unclassified`.
fn classes(state: &AppState) -> Vec<String> {
    let model = state.model.get();
    let attributes = model.manifest.attributes.iter();
    let labels = attributes.filter(|attribute| attribute.name == Manifest::TYPE).flat_map(|types| &types.labels);
    labels.cloned().chain([UNCLASSIFIED.to_owned()]).collect()
}

fn routes() -> Router {
    Router::new()
        .get(page::index)
        .push(Router::with_path("page/{file}").get(page::file))
        .push(Router::with_path("favicon.ico").get(page::icon))
        .push(health_routes())
        .push(Router::with_path("auth/token").post(tokens::log_in))
        .push(
            Router::new()
                .hoop(Gate(Permission::Account))
                .push(Router::with_path("auth/logout").post(tokens::log_out))
                .push(Router::with_path("auth/password").post(tokens::change_password)),
        )
        .push(Router::with_path("metrics").hoop(Gate(Permission::Metrics)).get(numbers::metrics))
        .push(oip::routes())
        .push(
            Router::with_path("api")
                .push(vehicle_routes())
                .push(read_routes())
                .push(stream_routes())
                .push(user_routes())
                .push(traffic::routes())
                .push(Router::with_path("audit").hoop(Gate(Permission::Admin)).get(audit::list)),
        )
}

fn user_routes() -> Router {
    Router::with_path("users").push(Router::with_path("me").hoop(Gate(Permission::Account)).get(users::me)).push(
        Router::new().hoop(Gate(Permission::Admin)).get(users::list).post(users::create).push(
            Router::with_path("{name}")
                .filter_fn(|req, _| !req.uri().path().ends_with("/me"))
                .get(users::one)
                .patch(users::update)
                .delete(users::delete),
        ),
    )
}

fn health_routes() -> Router {
    Router::with_path("health")
        .get(health::health)
        .push(Router::with_path("live").get(health::live))
        .push(Router::with_path("ready").get(health::ready))
}

fn vehicle_routes() -> Router {
    Router::with_path("vehicle")
        .push(
            Router::new()
                .hoop(Gate(Permission::Classify))
                .push(Router::with_path("classify").post(classify::classify))
                .push(Router::with_path("classify-batch").post(classify::classify_batch))
                .push(Router::with_path("report").post(report::create)),
        )
        .push(
            Router::with_path("classifications")
                .hoop(Gate(Permission::Read))
                .get(classifications::list)
                .push(Router::with_path("{id}").get(classifications::one)),
        )
        .push(Router::with_path("reports").hoop(Gate(Permission::Read)).get(reports::list))
        .push(Router::with_path("report/{vehicle_id}").hoop(Gate(Permission::Read)).get(report::newest))
}

fn read_routes() -> Router {
    Router::new()
        .hoop(Gate(Permission::Read))
        .push(Router::with_path("models/metadata").get(models::metadata))
        .push(Router::with_path("statistics").get(statistics::statistics))
        .push(Router::with_path("diagnostics").get(diagnostics::diagnostics))
        .push(Router::with_path("events/ticket").post(events::ticket))
}

fn stream_routes() -> Router {
    Router::new().hoop(StreamGate).push(Router::with_path("events").get(events::events)).push(
        Router::with_path("camera")
            .push(Router::with_path("snapshot").get(camera::snapshot))
            .push(Router::with_path("stream").get(camera::stream)),
    )
}
