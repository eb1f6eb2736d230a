//! The HTTP side: routes, gates, and one file a resource.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use salvo::prelude::*;
use serde_json::Value;

use crate::auth::{LoginThrottle, PasswordGate, PasswordRules, Permission, Signer};
use crate::capture::CameraWatch;
use crate::classifier::{ActiveModel, Manifest};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::frame::LiveView;
use crate::inference::Lane;
use crate::metrics::Metrics;
use crate::record::{AuditEvent, Gap, Outcome, UNCLASSIFIED};
use crate::store::Store;
use crate::sync::SyncWatch;

mod http;
mod page;
mod resources;

use http::access::Gate;
pub use http::connections::Connections;
use http::{docs, envelope, error, head, rates, shares, streams};
pub use resources::numbers::disk_free;
use resources::{
    audit, camera, classify, diagnostics, events, health, models, numbers, oip, report, report_cache, reports, tokens,
    traffic, users,
};

/// What the daemon hands to the HTTP side.
pub struct Parts {
    pub config: Config,
    pub state_directory: PathBuf,
    pub unit_id: String,
    pub store: Store,
    pub lane: Lane,
    /// None when no central site is configured.
    pub sync: Option<SyncWatch>,
    pub camera: CameraWatch,
    pub gap: Gaps,
    pub view: LiveView,
    pub model: ActiveModel,
    pub workers: usize,
    pub signer: Signer,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
}

/// Says why the unit is not watching the road at this moment; none: it is.
pub type Gaps = Arc<dyn Fn() -> Option<Gap> + Send + Sync>;

/// The state behind the routes; cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

pub struct Shared {
    parts: Parts,
    passwords: PasswordGate,
    rules: PasswordRules,
    logins: LoginThrottle,
    live: RwLock<Arc<Live>>,
    upload_memory: shares::Shares,
    /// Of the queue for uploads and the workers.
    upload_places: shares::Shares,
    reports: report_cache::ReportCache,
    streams: streams::Streams,
    overlays: camera::Overlays,
    started: Instant,
}

/// What SIGHUP changes.
pub struct Live {
    pub cors_origins: Vec<String>,
    pub trusted_hosts: Vec<String>,
    pub rates: rates::Rates,
}

impl Live {
    fn new(config: &config::Api) -> Self {
        Self {
            cors_origins: config.cors_origins.clone(),
            trusted_hosts: config.trusted_hosts.clone(),
            rates: rates::Rates::new(config.requests_per_minute_max),
        }
    }
}

impl Shared {
    /// The settings in force; a request takes them once.
    fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over origins, hosts and rate limits; whoever waits for a rate limit waits no longer.
    pub fn reload(&self, config: &config::Api) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Live::new(config));
    }
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Deref for Shared {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Api {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let (auth, limits) = (&parts.config.auth, &parts.config.api);
        let places = parts.config.classifier.queue_depth_max + parts.workers;
        Self(Arc::new(Shared {
            passwords: PasswordGate::new(auth.password_checks_max),
            rules: PasswordRules { length_min: auth.password_length_min },
            logins: LoginThrottle::new(auth.login_failures_max),
            live: RwLock::new(Arc::new(Live::new(limits))),
            upload_memory: shares::Shares::new(limits.upload_memory_bytes_max, limits.batch_bytes_max),
            upload_places: shares::Shares::new(places as u64, parts.workers as u64),
            reports: report_cache::ReportCache::new(&parts.metrics),
            streams: streams::Streams::new(limits.event_clients_max, limits.stream_clients_max),
            overlays: camera::Overlays::default(),
            started: Instant::now(),
            parts,
        }))
    }

    /// Ends the streams that would stay open: the unit stops.
    pub fn stop_streams(&self) {
        self.streams.stop();
    }

    /// An audit event of this request.
    fn audit(
        &self,
        req: &Request,
        user: Option<&str>,
        action: &str,
        resource: &str,
        outcome: Outcome,
        details: Value,
    ) -> AuditEvent {
        AuditEvent {
            user: user.map(str::to_owned),
            action: action.to_owned(),
            resource: resource.to_owned(),
            outcome,
            details,
            ip_address: envelope::peer(req).map(|peer| peer.to_string()),
            at: self.clock.now(),
        }
    }

    /// All routes with what surrounds them, ready for a server.
    ///
    /// # Errors
    /// Internal when the description of the routes cannot be written.
    pub fn service(&self) -> Result<Service> {
        let mut router = routes();
        if self.config.api.docs {
            router = docs::with_docs(router, &self.classes())?;
        }
        let router = head::with_heads(router);
        let catcher = salvo::catcher::Catcher::new(error::catch);
        Ok(Service::new(router).hoop(envelope::RequestFrame(self.clone())).catcher(catcher))
    }

    /// What a passage or a report may be called: the labels of the model in force, and `unclassified`.
    fn classes(&self) -> Vec<String> {
        let model = self.model.get();
        let attributes = model.manifest.attributes.iter();
        let labels = attributes.filter(|attribute| attribute.name == Manifest::TYPE).flat_map(|types| &types.labels);
        labels.cloned().chain([UNCLASSIFIED.to_owned()]).collect()
    }
}

/// The state of the request that `depot` belongs to.
fn api(depot: &Depot) -> Result<Api> {
    depot.get_typed::<Api>().cloned().map_err(|_| Error::internal("This route is outside the request frame."))
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
        .push(Router::with_path("reports").hoop(Gate(Permission::Read)).get(reports::list))
        .push(Router::with_path("report/{vehicle_id}").hoop(Gate(Permission::Read)).get(report::newest))
}

fn read_routes() -> Router {
    Router::new()
        .hoop(Gate(Permission::Read))
        .push(Router::with_path("models/metadata").get(models::metadata))
        .push(Router::with_path("diagnostics").get(diagnostics::diagnostics))
        .push(Router::with_path("events").get(events::events))
        .push(
            Router::with_path("camera")
                .push(Router::with_path("snapshot").get(camera::snapshot))
                .push(Router::with_path("stream").get(camera::stream)),
        )
}
