//! The metrics, in Prometheus' text format.

use std::path::Path;
use std::time::Duration;

use salvo::http::header::{CONTENT_TYPE, HeaderValue};
use salvo::prelude::*;

use crate::api::http::error::Answer;
use crate::api::state::AppState;
use crate::capture::CameraState;
use crate::clock::synchronised;
use crate::error::{Error, Result};

/// Prometheus text format, version 0.0.4.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const THERMAL_ZONES: &str = "/sys/class/thermal";

/// Metrics
///
/// Prometheus text format; for admins and service tokens with the scope `metrics`.
#[endpoint(
    tags("metrics"),
    responses((status_code = 200, description = "Prometheus text format", body = String, content_type = "text/plain")),
    security(["bearer" = []])
)]
pub async fn metrics(depot: &mut Depot, res: &mut Response) -> Answer<()> {
    let api = AppState::of(depot)?;
    let health = api.store.health().await;
    let text = tokio::task::spawn_blocking(move || {
        refresh(&api, health.map_or(0, |found| found.bytes));
        api.metrics.render()
    });
    let text = text.await.map_err(|cause| Error::internal("The metrics cannot be read.").because(cause))??;
    res.headers_mut().insert(CONTENT_TYPE, TEXT_FORMAT);
    res.write_body(text).map_err(|cause| Error::internal("The metrics cannot be sent.").because(cause))?;
    Ok(())
}

/// Series that are read when they are asked for.
fn refresh(api: &AppState, store_bytes: u64) {
    let series = &api.metrics;
    series.store_bytes.set(i64::try_from(store_bytes).unwrap_or(i64::MAX));
    series.clock_synchronized.set(i64::from(synchronised()));
    series.temperature.set(temperature().unwrap_or(f64::NAN));
    series.frame_age.set(frame_age(api).map_or(f64::NAN, |age| age.as_secs_f64()));
    if let Ok(free) = disk_free(&api.state_directory) {
        series.disk_free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
    }
}

/// Since the newest frame: it grows while the camera gives none. None without a camera.
fn frame_age(api: &AppState) -> Option<Duration> {
    if matches!(api.camera.status.state(), CameraState::Off) {
        return None;
    }
    Some(api.camera.status.since_frame().unwrap_or_else(|| api.started.elapsed()))
}

/// Bytes that an unprivileged process may still write to the file system of `path`.
///
/// # Errors
/// Internal when the file system gives no answer.
pub fn disk_free(path: &Path) -> Result<u64> {
    rustix::fs::statvfs(path).map(|facts| facts.f_bavail * facts.f_frsize).map_err(|cause| {
        Error::internal(format!("The free space of {} cannot be read.", path.display())).because(cause)
    })
}

/// The hottest thermal zone in °C; none where the device has no such zone.
#[must_use]
pub fn temperature() -> Option<f64> {
    hottest(Path::new(THERMAL_ZONES))
}

/// `thermal_zone*/temp`, in thousandths (Linux `Documentation/driver-api/thermal`).
fn hottest(zones: &Path) -> Option<f64> {
    let entries = std::fs::read_dir(zones).ok()?;
    let readings =
        entries.filter_map(|zone| std::fs::read_to_string(zone.ok()?.path().join("temp")).ok()?.trim().parse().ok());
    readings.map(|thousandths: f64| thousandths / 1_000.0).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_zone_counts_and_none_is_no_number() {
        let zones = tempfile::tempdir().unwrap();
        assert_eq!(hottest(zones.path()), None);
        for (zone, reading) in [("thermal_zone0", "41500\n"), ("thermal_zone1", "-2000\n"), ("cooling_device0", "x")] {
            std::fs::create_dir(zones.path().join(zone)).unwrap();
            std::fs::write(zones.path().join(zone).join("temp"), reading).unwrap();
        }
        assert_eq!(hottest(zones.path()), Some(41.5));
    }
}
