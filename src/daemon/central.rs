//! The central site's share of the configuration.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::sync::{RedisSettings, Sync, SyncParts, SyncSettings};

const SECONDS_A_DAY: u64 = 24 * 3_600;
/// How long events wait for company; see [`SyncSettings::linger`].
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Starts the delivery, if a central site is configured.
pub(super) fn start(
    config: &Config,
    unit_id: &str,
    store: &Store,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Sync>> {
    if config.sync.redis_url.is_empty() {
        return Ok(None);
    }
    let about = vec![
        ("unit", unit_id.to_owned()),
        ("site", config.unit.site.clone()),
        ("location", config.unit.location.clone()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("started", clock.wall().to_string()),
    ];
    let parts = SyncParts { store: store.clone(), about, clock: clock.clone(), metrics: metrics.clone() };
    Sync::start(parts, settings(config), redis_settings(&config.sync, unit_id)?).map(Some)
}

fn settings(config: &Config) -> SyncSettings {
    let sync = &config.sync;
    let backoff_max = Duration::from_millis(sync.backoff_ms_max);
    SyncSettings {
        batch_events_max: sync.batch_events_max,
        linger: LINGER_MAX.min(backoff_max),
        health_interval: Duration::from_millis(sync.health_interval_ms),
        backoff_max,
        stream_events_max: sync.stream_events_max,
        stream_age_max: (sync.stream_hours_max > 0).then(|| Duration::from_secs(sync.stream_hours_max * 3_600)),
        resend_events_max: sync.resend_events_max,
        resend_age_max: Duration::from_secs(u64::from(sync.resend_days_max) * SECONDS_A_DAY),
    }
}

/// Where Redis is and how to talk to it.
///
/// # Errors
/// Config, for a file that cannot be read.
pub fn redis_settings(sync: &crate::config::SyncConfig, unit_id: &str) -> Result<RedisSettings> {
    let ca = if sync.ca_file.as_os_str().is_empty() {
        None
    } else {
        let named = sync.ca_file.display();
        Some(
            std::fs::read(&sync.ca_file)
                .map_err(|cause| Error::config(format!("Cannot read {named}: {cause}. Correct sync.ca_file.")))?,
        )
    };
    let given = |secret: &Secret| (!secret.is_empty()).then(|| secret.reveal().to_owned());
    Ok(RedisSettings {
        address: sync
            .redis_url
            .parse()
            .map_err(|why| Error::config(format!("Bad value for `sync.redis_url`: {why}.")))?,
        password: given(&sync.redis_password),
        sentinel_master: (!sync.sentinel_master.is_empty()).then(|| sync.sentinel_master.clone()),
        sentinel_password: given(&sync.sentinel_password),
        ca,
        connect_timeout: Duration::from_millis(sync.connect_timeout_ms),
        response_timeout: Duration::from_millis(sync.response_timeout_ms),
        unit: unit_id.to_owned(),
    })
}
