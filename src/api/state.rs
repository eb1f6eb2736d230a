//! The state behind the routes, in named parts.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use salvo::prelude::*;
use serde_json::Value;

use crate::api::http::rates::Rates;
use crate::api::http::request;
use crate::api::http::shares::Shares;
use crate::api::http::streams::Streams;
use crate::api::http::tickets::Tickets;
use crate::api::resources::overlay::Overlays;
use crate::api::resources::report_cache::ReportCache;
use crate::auth::{LoginThrottle, PasswordGate, PasswordRules, Signer};
use crate::capture::CameraStatus;
use crate::classifier::ActiveModel;
use crate::clock::Clock;
use crate::config::{self, Config, Network};
use crate::error::{Error, Result};
use crate::frame::LiveView;
use crate::inference::UploadQueue;
use crate::metrics::Metrics;
use crate::record::{AuditEvent, Gap, Outcome};
use crate::store::Store;
use crate::sync::SyncStatusReader;

/// What the daemon hands to the HTTP side.
pub struct ApiParts {
    pub config: Config,
    pub state_directory: PathBuf,
    pub unit_id: String,
    /// Files and directories that no other account should be able to change.
    pub guarded: Vec<PathBuf>,
    pub store: Store,
    pub queue: UploadQueue,
    /// None when no central site is configured.
    pub sync: Option<SyncStatusReader>,
    pub camera: CameraStatus,
    pub gap: Gaps,
    pub view: LiveView,
    pub model: ActiveModel,
    pub detector_is_older: bool,
    pub workers: usize,
    pub signer: Signer,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
}

/// Says why the unit is not watching the road at this moment; none: it is.
pub type Gaps = Arc<dyn Fn() -> Option<Gap> + Send + Sync>;

/// Everything that routes share.
pub struct AppState {
    pub config: Config,
    pub state_directory: PathBuf,
    pub unit_id: String,
    /// Files and directories that no other account should be able to change.
    pub guarded: Vec<PathBuf>,
    pub store: Store,
    pub model: ActiveModel,
    /// A newer version of the detector in use cannot be used.
    pub detector_is_older: bool,
    /// None when no central site is configured.
    pub sync: Option<SyncStatusReader>,
    pub accounts: Accounts,
    pub uploads: Uploads,
    pub camera: Camera,
    pub reports: ReportCache,
    pub streams: Streams,
    pub tickets: Tickets,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub started: Instant,
    reloadable: RwLock<Arc<Reloadable>>,
}

/// How people and machines prove who they are.
pub struct Accounts {
    pub passwords: PasswordGate,
    pub rules: PasswordRules,
    pub logins: LoginThrottle,
    pub signer: Signer,
}

/// Where uploads go, and how many of them are taken.
pub struct Uploads {
    pub queue: UploadQueue,
    pub workers: usize,
    pub memory: Shares,
    /// Places in the queue and at the workers.
    pub places: Shares,
}

/// What is known of the camera.
pub struct Camera {
    pub status: CameraStatus,
    pub gap: Gaps,
    pub view: LiveView,
    pub overlays: Overlays,
}

/// The settings that SIGHUP changes.
pub struct Reloadable {
    pub cors_origins: Vec<String>,
    pub trusted_hosts: Vec<String>,
    pub trusted_proxies: Vec<Network>,
    pub rates: Rates,
}

impl Reloadable {
    #[must_use]
    pub fn new(config: &config::ApiConfig) -> Self {
        Self {
            cors_origins: config.cors_origins.clone(),
            trusted_hosts: config.trusted_hosts.clone(),
            trusted_proxies: config.proxies(),
            rates: Rates::new(config.requests_per_minute_max),
        }
    }
}

impl AppState {
    #[must_use]
    pub fn new(parts: ApiParts) -> Arc<Self> {
        let (auth, limits, workers) = (&parts.config.auth, &parts.config.api, parts.workers);
        let places = parts.config.classifier.queue_depth_max + workers;
        Arc::new(Self {
            accounts: Accounts {
                passwords: PasswordGate::new(auth.password_checks_max),
                rules: PasswordRules { length_min: auth.password_length_min },
                logins: LoginThrottle::new(auth.login_failures_max),
                signer: parts.signer,
            },
            uploads: Uploads {
                queue: parts.queue,
                workers,
                memory: Shares::new(limits.upload_memory_bytes_max, limits.batch_bytes_max),
                places: Shares::new(places as u64, workers as u64),
            },
            camera: Camera { status: parts.camera, gap: parts.gap, view: parts.view, overlays: Overlays::default() },
            reports: ReportCache::new(&parts.metrics),
            tickets: Tickets::default(),
            streams: Streams::new(limits.event_clients_max, limits.stream_clients_max),
            reloadable: RwLock::new(Arc::new(Reloadable::new(limits))),
            started: Instant::now(),
            config: parts.config,
            state_directory: parts.state_directory,
            unit_id: parts.unit_id,
            guarded: parts.guarded,
            store: parts.store,
            model: parts.model,
            detector_is_older: parts.detector_is_older,
            sync: parts.sync,
            metrics: parts.metrics,
            clock: parts.clock,
        })
    }

    /// The state of the request that `depot` belongs to.
    ///
    /// # Errors
    /// Internal when the route is outside the envelope, which is a fault of the router.
    pub fn of(depot: &Depot) -> Result<Arc<Self>> {
        let outside = || Error::internal("This route is outside the request envelope.");
        depot.get_typed::<Arc<Self>>().cloned().map_err(|_| outside())
    }

    /// The settings in force; a request takes them once.
    #[must_use]
    pub fn reloadable(&self) -> Arc<Reloadable> {
        self.reloadable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over origins, hosts and rate limits; whoever waits for a rate limit waits no longer.
    pub fn reload(&self, config: &config::ApiConfig) {
        *self.reloadable.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Reloadable::new(config));
    }

    /// Ends the streams that would stay open: the unit stops.
    pub fn stop_streams(&self) {
        self.streams.stop();
    }

    /// An audit event of this request.
    #[must_use]
    pub fn audit(
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
            ip_address: request::peer(req).map(|peer| peer.to_string()),
            at: self.clock.now(),
            // That somebody was refused is kept whoever they are by now.
            authority: request::authority(req).filter(|_| outcome != Outcome::Denied),
        }
    }
}
