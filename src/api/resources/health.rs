//! Whether the unit works: in words for people, as probes for machines.

use jiff::Timestamp;
use salvo::prelude::*;

use crate::api::http::error::Answer;
use crate::api::resources::wire::{Health, Probe};
use crate::api::state::AppState;
use crate::capture::{CameraState, Obscurity};
use crate::clock::synchronised;
use crate::files::writable_by_all;
use crate::record::Gap;
use crate::store::StoreHealth;
use crate::sync::{SyncStatus, SyncStatusReader};

/// State of the unit
///
/// Public. `degraded` names its reasons; a degraded unit still answers.
#[endpoint(tags("health"), responses((status_code = 200, description = "The state", body = Health)), security(()))]
pub async fn health(depot: &mut Depot) -> Answer<Json<Health>> {
    let api = AppState::of(depot)?;
    Ok(Json(look(&api).await))
}

/// The unit's state now.
pub(super) async fn look(api: &AppState) -> Health {
    let store = api.store.health().await;
    let database_healthy = store.as_ref().is_ok_and(|found| found.ok);
    let camera = api.camera.status.state();
    let clock_synchronized = synchronised();
    let mut reasons = reasons(api, database_healthy, &camera, clock_synchronized);
    reasons.extend(store.as_ref().into_iter().flat_map(store_reasons));
    Health {
        status: if reasons.is_empty() { "healthy" } else { "degraded" },
        redis_connected: api.sync.as_ref().map(|sync| sync.status() == SyncStatus::Connected),
        database_healthy,
        models_loaded: true,
        camera_connected: match camera {
            CameraState::Off => None,
            CameraState::Connected | CameraState::Frozen | CameraState::Obscured(_) => Some(true),
            CameraState::Disconnected(_) | CameraState::Ended => Some(false),
        },
        clock_synchronized,
        reasons,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: api.started.elapsed().as_secs(),
        timestamp: Timestamp::now(),
    }
}

/// The reasons name no path, address or account: this page is public. The log and `doctor` say more.
fn reasons(api: &AppState, database_healthy: bool, camera: &CameraState, clock_synchronized: bool) -> Vec<String> {
    let mut reasons = Vec::new();
    if !database_healthy {
        reasons.push("The database does not answer; nothing can be stored.".to_owned());
    }
    match camera {
        CameraState::Disconnected(_) => reasons.push("The camera gives no frames.".to_owned()),
        CameraState::Frozen => reasons.push("The camera's picture stands still.".to_owned()),
        CameraState::Obscured(why) => reasons.push(
            match why {
                Obscurity::Dark => "The camera's picture is black.",
                Obscurity::Bright => "The camera's picture is overexposed.",
                Obscurity::Covered => "Something covers the camera's lens.",
            }
            .to_owned(),
        ),
        CameraState::Ended => reasons.push("The replay has ended.".to_owned()),
        CameraState::Off | CameraState::Connected => {}
    }
    if (api.camera.gap)() == Some(Gap::Overload) {
        reasons.push("The unit cannot keep up with the camera; vehicles are missed.".to_owned());
    }
    if let Some(SyncStatus::Trouble(trouble)) = api.sync.as_ref().map(SyncStatusReader::status) {
        reasons.push(format!("No events reach the central site: {}.", trouble.sentence()));
    }
    if api.detector_is_older || !api.model.get().unusable.is_empty() {
        reasons.push("A newer model version is damaged or incomplete; an older one is in use.".to_owned());
    }
    if !clock_synchronized {
        reasons.push("The clock is not synchronised; times are uncertain.".to_owned());
    }
    if !writable_by_all(&api.guarded).is_empty() {
        let text =
            "Every account of this machine can change the unit's configuration or state; `doctor` names the files.";
        reasons.push(text.to_owned());
    }
    let listen = api.config.api.listen.ip();
    if !listen.is_loopback() && !api.config.api.behind_tls_proxy && !api.config.api.tls.is_on() {
        reasons.push("The API is served without TLS on a public address; passwords can be read on the way.".to_owned());
    }
    reasons
}

/// What the store has to say although it works.
fn store_reasons(store: &StoreHealth) -> Vec<String> {
    let mut reasons = Vec::new();
    if store.damaged > 0 {
        reasons
            .push("A damaged database was set aside; what it held is missing until a backup is restored.".to_owned());
    }
    if store.held > 0 {
        reasons.push(format!("The disk takes no writes; {} records are kept in memory.", store.held));
    }
    reasons
}

/// Liveness probe
///
/// 200 while the process answers at all.
#[endpoint(tags("health"), responses((status_code = 200, description = "NewestAnalysed", body = Probe)), security(()))]
pub async fn live() -> Json<Probe> {
    Json(Probe { status: "live" })
}

/// Readiness probe
///
/// 200 when uploads can be classified and stored, else 503.
#[endpoint(tags("health"), responses((status_code = 200, description = "Ready", body = Probe)), security(()))]
pub async fn ready(depot: &mut Depot) -> Answer<Json<Probe>> {
    let api = AppState::of(depot)?;
    let store = api.store.health().await?;
    if !store.ok {
        let message = "The database does not answer; nothing can be stored.";
        return Err(crate::error::Error::unavailable(message, std::time::Duration::from_secs(5)).into());
    }
    Ok(Json(Probe { status: "ready" }))
}
