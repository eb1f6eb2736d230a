//! SIGHUP: takes over what can change while the unit runs, and says what cannot.

use std::path::PathBuf;
use std::sync::Arc;

use crate::api::AppState;
use crate::classifier::{ActiveModel, LoadedModel, run_golden_test};
use crate::config::{Loaded, Sources, load};
use crate::daemon::effective;
use crate::daemon::tls::{self, Renewal};
use crate::daemon::{inference_settings, load_model, notify, show_model};
use crate::error::Result;
use crate::imaging::Limits;
use crate::logging::LevelHandle;
use crate::metrics::Metrics;

/// Keys that are taken over.
const RELOADED: [&str; 9] = [
    "api.cors_origins",
    "api.requests_per_minute_max",
    "api.tls.certificate",
    "api.tls.key",
    "api.trusted_hosts",
    "api.trusted_proxies",
    "classifier.model",
    "classifier.models_directory",
    "log.level",
];

/// What a reload reaches.
pub struct Reload<'a> {
    pub sources: &'a Sources,
    pub level: &'a LevelHandle,
    pub api: Arc<AppState>,
    pub state_directory: PathBuf,
    pub renewal: Option<Renewal>,
    pub model: ActiveModel,
    pub metrics: Arc<Metrics>,
    /// With which the unit was started, and which it read last.
    pub started: Loaded,
    pub last: Loaded,
}

impl Reload<'_> {
    /// All or nothing: a configuration, a certificate or a model that cannot be used changes nothing.
    pub fn run(&mut self) {
        notify::reloading();
        if let Err(error) = self.apply() {
            tracing::error!("nothing was reloaded: {}", error.chain());
        }
        notify::reloaded();
    }

    fn apply(&mut self) -> Result<()> {
        let loaded = load(self.sources)?;
        let identity = match &self.renewal {
            Some(renewal) => {
                tls::existing(&loaded.config.api.tls, &self.state_directory)?.map(|identity| (renewal, identity))
            }
            None => None,
        };
        let model = self.another_model(&loaded)?;
        self.level.set(&loaded.config.log.level)?;
        self.api.reload(&loaded.config.api);
        if let Some((renewal, identity)) = identity {
            let fingerprint = identity.fingerprint.clone();
            renewal.show(identity)?;
            tracing::info!("TLS: the certificate has the fingerprint {fingerprint} now");
        }
        if let Some(model) = model {
            let title = model.title();
            self.model.replace(model);
            show_model(&self.metrics, &self.model);
            tracing::info!("model: {title} answers now; it passed its golden test");
        }
        let taken: Vec<_> = differing(&self.last, &loaded).into_iter().filter(|key| is_reloaded(key)).collect();
        let left: Vec<_> = differing(&self.started, &loaded).into_iter().filter(|key| !is_reloaded(key)).collect();
        let said = if taken.is_empty() { "nothing had changed".to_owned() } else { taken.join(", ") };
        tracing::info!("reloaded: {said}");
        if !left.is_empty() {
            tracing::warn!("these need a restart: {}", left.join(", "));
        }
        effective::keep(&self.state_directory, self.in_force(&loaded));
        self.last = loaded;
        Ok(())
    }
}

impl Reload<'_> {
    /// Every key as the unit has it now: of those that need a restart the value of the start.
    fn in_force(&self, loaded: &Loaded) -> Vec<effective::EffectiveEntry> {
        let pairs = effective::entries(&self.started).into_iter().zip(effective::entries(loaded));
        pairs.map(|(started, now)| if is_reloaded(&now.key) { now } else { started }).collect()
    }

    /// The model that the configuration names or that was activated meanwhile, proven; none when it is the one that runs and
    /// no newer version became unusable or went.
    fn another_model(&self, loaded: &Loaded) -> Result<Option<LoadedModel>> {
        let (present, wanted) = (self.model.get(), load_model(loaded, &self.state_directory)?);
        let same = (wanted.title(), &wanted.manifest.sha256) == (present.title(), &present.manifest.sha256);
        if same && wanted.unusable == present.unusable {
            return Ok(None);
        }
        let settings = inference_settings(loaded);
        run_golden_test(&wanted, settings.threads, Limits { pixels_max: settings.picture_pixels_max })?;
        Ok(Some(wanted))
    }
}

fn is_reloaded(key: &str) -> bool {
    RELOADED.contains(&key)
}

/// The keys whose values differ; of a secret nothing but that is told.
fn differing(one: &Loaded, other: &Loaded) -> Vec<String> {
    let pairs = one.entries().into_iter().zip(other.entries());
    let mut keys: Vec<_> = pairs.filter(|(one, other)| one.1 != other.1).map(|(one, _)| one.0).collect();
    let secret = "auth.secret_key";
    if one.config.auth.secret_key != other.config.auth.secret_key && !keys.iter().any(|key| key == secret) {
        keys.push(secret.to_owned());
    }
    keys
}
