//! One page of facts for the technician in front of the unit, and for whoever is asked for help.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use prometheus::core::Collector;
use prometheus::proto::MetricType;
use salvo::prelude::*;

use crate::api::http::access::Caller;
use crate::api::http::error::Answer;
use crate::api::http::query;
use crate::api::resources::health::look;
use crate::api::resources::numbers::{disk_free, temperature};
use crate::api::resources::wire::{Health, Reply};
use crate::api::state::AppState;
use crate::capture::CameraState;
use crate::classifier::RUNTIME;
use crate::error::Result;
use crate::logging::mask;
use crate::record::Outcome;
use crate::store::SQLITE_VERSION;

mod wire;
use wire::{
    CameraFacts, ClockFacts, Diagnostics, DiskFacts, ModelFacts, NetworkFacts, PipelineFacts, StoreFacts, SyncFacts,
    UnitFacts, Versions, WrittenDay,
};

/// Days of which the write volume is shown.
const WRITTEN_DAYS: u32 = 7;

/// Facts for a technician
///
/// Camera, pipeline, model, store, sync, disk, temperature, clock, network and versions on one page. No secrets.
#[endpoint(tags("health"), security(["bearer" = []]))]
pub async fn diagnostics(req: &mut Request, depot: &mut Depot) -> Answer<Reply<Diagnostics>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let caller = Caller::of(depot)?.name().to_owned();
    let event = api.audit(
        req,
        Some(&caller),
        "diagnostics.read",
        "/api/diagnostics",
        Outcome::Success,
        serde_json::Value::Null,
    );
    api.store.record_audit(event).await?;
    let health = look(&api).await;
    let store = store(&api, &health).await?;
    let (config, settings) = (&api.config, api.reloadable());
    let now = api.clock.now();
    let model = api.model.get();
    Ok(Reply(Diagnostics {
        unit: UnitFacts {
            id: api.unit_id.clone(),
            site: config.unit.site.clone(),
            location: config.unit.location.clone(),
            timezone: config.unit.timezone.clone(),
            uptime_seconds: health.uptime_seconds,
        },
        camera: camera(&api),
        pipeline: pipeline(&api),
        model: ModelFacts {
            name: model.manifest.name.clone(),
            version: model.manifest.version.clone(),
            sha256: model.manifest.sha256.clone(),
            runtime: RUNTIME,
            threads: config.classifier.threads,
        },
        store,
        sync: SyncFacts { redis_connected: health.redis_connected },
        disk: disk(&api).await?,
        temperature_celsius: temperature(),
        clock: ClockFacts { now: now.at, synchronized: now.synced, boot_id: now.boot_id.to_string() },
        network: NetworkFacts {
            listen: config.api.listen.to_string(),
            tls: config.api.tls.is_on(),
            connections_open: api.metrics.connections.get(),
            behind_tls_proxy: config.api.behind_tls_proxy,
            trusted_hosts: settings.trusted_hosts.clone(),
            cors_origins: settings.cors_origins.clone(),
        },
        versions: Versions {
            daemon: env!("CARGO_PKG_VERSION"),
            commit: env!("VEHICLE_CLASSIFIER_COMMIT"),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            sqlite: SQLITE_VERSION,
        },
        health,
    }))
}

fn camera(api: &AppState) -> CameraFacts {
    let (state, last_error) = match api.camera.status.state() {
        CameraState::Off => ("off", None),
        CameraState::Connected => ("connected", None),
        CameraState::Disconnected(why) => ("disconnected", why),
        CameraState::Frozen => ("frozen", None),
        CameraState::Obscured(_) => ("obscured", None),
        CameraState::Ended => ("ended", None),
    };
    CameraFacts {
        source: mask(&api.config.capture.source).into_owned(),
        state,
        last_error: last_error.map(|why| mask(&why).into_owned()),
        last_frame_seconds: api.camera.status.since_frame().map(|since| since.as_secs_f64()),
        frames: counts(&api.metrics.frames),
    }
}

fn pipeline(api: &AppState) -> PipelineFacts {
    PipelineFacts {
        workers: api.uploads.workers,
        queues: values(&api.metrics.queue_depth).into_iter().map(|(queue, depth)| (queue, depth as i64)).collect(),
        busy_seconds: api.uploads.queue.busiest().map(|busy| busy.as_secs_f64()),
        requests_active: api.metrics.active_requests.get(),
        limit_hits: counts(&api.metrics.limit_hits),
    }
}

async fn store(api: &AppState, health: &Health) -> Result<StoreFacts> {
    let head = api.store.audit_head().await?;
    Ok(StoreFacts {
        healthy: health.database_healthy,
        bytes: api.store.health().await.map_or(0, |found| found.bytes),
        audit_rows: head.rows,
        audit_head: head.hash,
        commits: api.metrics.store_commits.get(),
    })
}

async fn disk(api: &AppState) -> Result<DiskFacts> {
    let noted = api.store.write_volume(WRITTEN_DAYS).await?;
    let written = noted.iter().rev().filter_map(|volume| {
        let midnight = Timestamp::from_second(volume.day.checked_mul(86_400)?).ok()?;
        let day = midnight.to_zoned_datetime(TimeZone::UTC).date();
        Some(WrittenDay { day, bytes: volume.bytes, commits: volume.commits })
    });
    Ok(DiskFacts { free_bytes: disk_free(&api.state_directory).ok(), written: written.collect() })
}

fn counts(series: &impl Collector) -> BTreeMap<String, u64> {
    values(series).into_iter().map(|(label, value)| (label, value as u64)).collect()
}

/// The values of a series of counters or gauges by its first label.
fn values(series: &impl Collector) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for family in series.collect() {
        let gauge = family.get_field_type() == MetricType::GAUGE;
        for metric in family.get_metric() {
            let Some(label) = metric.get_label().first() else { continue };
            let value = if gauge { metric.get_gauge().get_value() } else { metric.get_counter().get_value() };
            values.insert(label.value().to_owned(), value);
        }
    }
    values
}
