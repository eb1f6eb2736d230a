//! SIGHUP: takes over what can change while the unit runs, and says what cannot.

use std::path::PathBuf;

use crate::api::Api;
use crate::config::{Loaded, Sources, load};
use crate::daemon::notify;
use crate::daemon::tls::{self, Renewal};
use crate::error::Result;
use crate::logging::LevelHandle;

/// Keys that are taken over.
const RELOADED: [&str; 6] = [
    "api.cors_origins",
    "api.requests_per_minute_max",
    "api.tls.certificate",
    "api.tls.key",
    "api.trusted_hosts",
    "log.level",
];

/// What a reload reaches.
pub struct Reload<'a> {
    pub sources: &'a Sources,
    pub level: &'a LevelHandle,
    pub api: Api,
    pub state_directory: PathBuf,
    pub renewal: Option<Renewal>,
    /// With which the unit was started, and which it read last.
    pub started: Loaded,
    pub last: Loaded,
}

impl Reload<'_> {
    /// All or nothing: a configuration or a certificate that cannot be used changes nothing.
    pub fn run(&mut self) {
        notify::reloading();
        if let Err(error) = self.apply() {
            tracing::error!("nothing was reloaded: {}", error.chain());
        }
        notify::reloaded();
    }

    fn apply(&mut self) -> Result<()> {
        let loaded = load(self.sources)?;
        let proof = match &self.renewal {
            Some(renewal) => {
                tls::existing(&loaded.config.api.tls, &self.state_directory)?.map(|proof| (renewal, proof))
            }
            None => None,
        };
        self.level.set(&loaded.config.log.level)?;
        self.api.reload(&loaded.config.api);
        if let Some((renewal, proof)) = proof {
            tracing::info!("TLS: the certificate has the fingerprint {} now", proof.fingerprint);
            renewal.show(proof)?;
        }
        let taken: Vec<_> = differing(&self.last, &loaded).into_iter().filter(|key| is_reloaded(key)).collect();
        let left: Vec<_> = differing(&self.started, &loaded).into_iter().filter(|key| !is_reloaded(key)).collect();
        let said = if taken.is_empty() { "nothing had changed".to_owned() } else { taken.join(", ") };
        tracing::info!("reloaded: {said}");
        if !left.is_empty() {
            tracing::warn!("these need a restart: {}", left.join(", "));
        }
        self.last = loaded;
        Ok(())
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
