//! Every metric series of the unit in one place, registered on one registry that is handed to whoever counts.
//!
//! Names carry the prefix `vehicle_classifier_` and base units; endpoint labels are route patterns, never raw paths.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::error::{Error, ErrorKind, Result};

mod limit;
mod method;
mod sync;

pub use limit::Limit;
pub use method::RequestMethod;
pub use sync::SyncMetrics;

const PREFIX: &str = "vehicle_classifier";

/// 10 ms … 5 s in eight buckets, as dashboards of the predecessor expect.
const REQUEST_BUCKETS: [f64; 8] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// 0.5 ms … 2 s: one stage of a classification on anything from a desktop to a Cortex-A53.
const STAGE_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0];

/// Endpoints with a threshold (`slow_requests_total`).
pub const SLOW_ENDPOINTS: [&str; 4] =
    ["/api/vehicle/classify", "/api/vehicle/classify-batch", "/api/vehicle/report", "/health"];
/// Tables whose rows go by age, by bytes or by number.
const TRIMMED_TABLES: [&str; 7] =
    ["audit_log", "classifications", "outbox", "passage_crops", "passages", "reports", "validations"];
/// What may be wrong with the central site (`sync_failures_total`).
pub const TROUBLES: [&str; 11] = [
    "down",
    "read_only",
    "out_of_memory",
    "loading",
    "failing_over",
    "credentials",
    "tls",
    "garbage",
    "refused",
    "twin",
    "store",
];

/// The series; fields are named after them.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    pub classification_duration: HistogramVec,
    pub errors: IntCounterVec,
    pub cache_hits: IntCounterVec,
    pub cache_misses: IntCounterVec,
    pub redis_connections: IntGauge,
    pub active_requests: IntGauge,
    pub connections: IntGauge,
    slow_requests: IntCounterVec,
    pub limit_hits: IntCounterVec,
    pub frames: IntCounterVec,
    pub frame_age: Gauge,
    pub camera_state: IntGaugeVec,
    pub camera_faults: IntCounterVec,
    pub pipeline_duration: HistogramVec,
    pub passages: IntCounterVec,
    pub queue_depth: IntGaugeVec,
    pub interval_coverage_ratio: Gauge,
    pub watch_seconds: CounterVec,
    pub store_commits: IntCounter,
    pub store_bytes: IntGauge,
    pub store: StoreSeries,
    pub sync: SyncMetrics,
    pub disk_free_bytes: IntGauge,
    pub temperature: Gauge,
    pub clock_synchronized: IntGauge,
    pub watchdog_pings: IntCounter,
    build_info: GaugeVec,
    unit_info: GaugeVec,
    model_info: GaugeVec,
}

/// How the store keeps itself.
pub struct StoreSeries {
    pub held: IntGauge,
    pub damaged: IntGauge,
    pub backups: IntGauge,
    pub backup_age: Gauge,
    pub backup_failures: IntCounter,
    pub rows_deleted: IntCounterVec,
    pub undelivered_deleted: IntCounter,
    pub kind_bytes: IntGaugeVec,
    pub restamped: IntCounter,
    pub written_bytes: IntGauge,
    pub written_day_bytes: IntGaugeVec,
}

impl StoreSeries {
    fn register(r: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            held: gauge(r, "store_held", "Records kept in memory until the disk takes them.")?,
            damaged: gauge(r, "store_damaged", "Damaged databases set aside and not acknowledged.")?,
            backups: gauge(r, "store_backups", "Automatic backups kept.")?,
            backup_age: float_gauge(
                r,
                "store_backup_age_seconds",
                "Since the newest automatic backup; NaN without one.",
            )?,
            backup_failures: counter(r, "store_backup_failures_total", "Automatic backups that failed.")?,
            rows_deleted: counters(r, "store_rows_deleted_total", "Rows that retention removed.", &["table"])?,
            undelivered_deleted: counter(
                r,
                "store_undelivered_deleted_total",
                "Events that retention removed before the central site had them.",
            )?,
            kind_bytes: gauges(r, "store_table_bytes", "What a table's rows take, an estimate.", &["table"])?,
            restamped: counter(
                r,
                "store_restamped_total",
                "Records that got their right time once the clock was right.",
            )?,
            written_bytes: gauge(r, "disk_written_bytes", "Given to the file system by the store since the start.")?,
            written_day_bytes: gauges(
                r,
                "disk_written_day_bytes",
                "Written to the disk by the unit today and yesterday (UTC).",
                &["day"],
            )?,
        })
    }
}

impl Metrics {
    /// Registers every series and gives those whose labels are known a first value, so that a dashboard sees a zero
    /// instead of nothing.
    ///
    /// # Errors
    /// Only if two series carried the same name, which is a fault of this file.
    pub fn new() -> Result<Self> {
        let registry = Registry::new();
        let metrics = Self::register(&registry)
            .map_err(|cause| Error::internal("The metrics cannot be set up.").because(cause))?;
        for kind in ErrorKind::ALL {
            metrics.errors.with_label_values(&[kind.facts().label]);
        }
        for limit in Limit::ALL {
            metrics.limit_hits.with_label_values(&[limit.name()]);
        }
        for result in ["captured", "dropped", "stale", "invalid", "still", "analysed"] {
            metrics.frames.with_label_values(&[result]);
        }
        for fault in ["disconnected", "stalled", "frozen", "dark", "bright", "covered"] {
            metrics.camera_faults.with_label_values(&[fault]);
        }
        for endpoint in SLOW_ENDPOINTS {
            metrics.slow_requests.with_label_values(&[endpoint]);
        }
        for table in TRIMMED_TABLES {
            metrics.store.rows_deleted.with_label_values(&[table]);
        }
        for trouble in TROUBLES {
            metrics.sync.failures.with_label_values(&[trouble]);
        }
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), env!("VEHICLE_CLASSIFIER_COMMIT")]).set(1.0);
        Ok(metrics)
    }

    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let r = registry;
        #[cfg(target_os = "linux")]
        r.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            requests: counters(r, "requests_total", "HTTP requests answered.", &["method", "endpoint", "status"])?,
            request_duration: histograms(
                r,
                "request_duration_seconds",
                "From request head to response head.",
                &["endpoint"],
                &REQUEST_BUCKETS,
            )?,
            classification_duration: histograms(
                r,
                "classification_duration_seconds",
                "One stage of one classification.",
                &["model", "stage"],
                &STAGE_BUCKETS,
            )?,
            errors: counters(r, "errors_total", "Errors by kind, whoever caused them.", &["error_type"])?,
            cache_hits: counters(r, "cache_hits_total", "Reads answered from a cache.", &["cache"])?,
            cache_misses: counters(r, "cache_misses_total", "Reads a cache could not answer.", &["cache"])?,
            redis_connections: gauge(r, "redis_connections", "Open connections to Redis.")?,
            active_requests: gauge(r, "active_requests", "HTTP requests being worked on.")?,
            connections: gauge(r, "connections", "Open HTTP connections.")?,
            slow_requests: slow_requests(r)?,
            limit_hits: counters(
                r,
                "limit_hits_total",
                "Requests or frames refused or shed by a named limit.",
                &["limit"],
            )?,
            frames: counters(r, "frames_total", "Camera frames by what became of them.", &["result"])?,
            pipeline_duration: pipeline_stages(r)?,
            passages: counters(r, "passages_total", "Vehicles that passed.", &["class", "direction", "line"])?,
            frame_age: frame_age(r)?,
            camera_state: gauges(r, "camera_state", "1 for the state the camera is in, else 0.", &["state"])?,
            camera_faults: counters(r, "camera_faults_total", "Camera faults by kind, at their onset.", &["fault"])?,
            queue_depth: gauges(r, "queue_depth", "Entries waiting in a bounded queue.", &["queue"])?,
            interval_coverage_ratio: coverage_ratio(r)?,
            watch_seconds: watch_seconds(r)?,
            store_commits: counter(
                r,
                "store_commits_total",
                "Durable transactions of the store (each one synchronises the disk).",
            )?,
            store_bytes: gauge(r, "store_bytes", "Size of the database with its log on disk.")?,
            store: StoreSeries::register(r)?,
            sync: SyncMetrics::register(r)?,
            disk_free_bytes: gauge(r, "disk_free_bytes", "Free space of the state directory's file system.")?,
            temperature: float_gauge(r, "temperature_celsius", "Hottest thermal zone; NaN where the device has none.")?,
            clock_synchronized: gauge(r, "clock_synchronized", "1 once the wall clock is synchronised.")?,
            watchdog_pings: counter(r, "watchdog_pings_total", "Progress reports to the service manager.")?,
            build_info: float_gauges(r, "build_info", "Constant 1 with the build's facts.", &["version", "commit"])?,
            unit_info: float_gauges(r, "unit_info", "Constant 1 with the unit's names.", &["unit", "site"])?,
            model_info: float_gauges(
                r,
                "model_info",
                "Constant 1 with the active model's facts.",
                &["name", "version", "sha256"],
            )?,
            registry: registry.clone(),
        })
    }

    /// Names the unit.
    pub fn set_unit(&self, unit: &str, site: &str) {
        self.unit_info.with_label_values(&[unit, site]).set(1.0);
    }

    /// Shows a zero for every vehicle that may pass.
    pub fn expect_passages<'a>(&self, ways: &[(&str, &str)], classes: impl IntoIterator<Item = &'a str>) {
        for class in classes {
            for (line, direction) in ways {
                self.passages.with_label_values(&[class, direction, line]);
            }
        }
    }

    /// Names the active model; an earlier one's series goes.
    pub fn set_model(&self, name: &str, version: &str, sha256: &str) {
        self.model_info.reset();
        self.model_info.with_label_values(&[name, version, sha256]).set(1.0);
    }

    /// Counts one answered request. `endpoint` is a route's pattern: what a client sends is never a label.
    pub fn count_request(&self, method: RequestMethod, endpoint: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[method.name(), endpoint, &status.to_string()]).inc();
        self.request_duration.with_label_values(&[endpoint]).observe(took.as_secs_f64());
    }

    /// Counts one request over its endpoint's threshold.
    pub fn count_slow_request(&self, endpoint: &str) {
        self.slow_requests.with_label_values(&[endpoint]).inc();
    }

    /// Counts one error.
    pub fn count_error(&self, kind: ErrorKind) {
        self.errors.with_label_values(&[kind.facts().label]).inc();
    }

    /// Counts one hit of the named limit.
    pub fn count_limit(&self, limit: Limit) {
        self.limit_hits.with_label_values(&[limit.name()]).inc();
    }

    /// Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// When a series cannot be written as text, which is a fault of this file.
    pub fn render(&self) -> Result<Vec<u8>> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .map_err(|cause| Error::internal("The metrics cannot be written.").because(cause))?;
        Ok(text)
    }
}

fn coverage_ratio(r: &Registry) -> prometheus::Result<Gauge> {
    float_gauge(
        r,
        "interval_coverage_ratio",
        "Share of the last 15 minutes (since the start, if that is shorter) in which the unit was watching.",
    )
}

fn slow_requests(r: &Registry) -> prometheus::Result<IntCounterVec> {
    counters(r, "slow_requests_total", "Requests over their endpoint's threshold.", &["endpoint"])
}

fn frame_age(r: &Registry) -> prometheus::Result<Gauge> {
    let help = "Since the camera's newest frame, or since the start without one; NaN without a camera.";
    float_gauge(r, "frame_age_seconds", help)
}

fn watch_seconds(r: &Registry) -> prometheus::Result<CounterVec> {
    float_counters(
        r,
        "watch_seconds_total",
        "Time by what the unit was doing: watching, or the reason why not.",
        &["state"],
    )
}

fn pipeline_stages(r: &Registry) -> prometheus::Result<HistogramVec> {
    let help = "One stage of looking at one camera frame.";
    histograms(r, "pipeline_duration_seconds", help, &["stage"], &STAGE_BUCKETS)
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(PREFIX)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, series: C) -> prometheus::Result<C> {
    registry.register(Box::new(series.clone()))?;
    Ok(series)
}

fn counter(r: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    registered(r, IntCounter::with_opts(opts(name, help))?)
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    registered(r, IntCounterVec::new(opts(name, help), labels)?)
}

fn float_counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<CounterVec> {
    registered(r, CounterVec::new(opts(name, help), labels)?)
}

fn gauge(r: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    registered(r, IntGauge::with_opts(opts(name, help))?)
}

fn gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    registered(r, IntGaugeVec::new(opts(name, help), labels)?)
}

fn float_gauge(r: &Registry, name: &str, help: &str) -> prometheus::Result<Gauge> {
    registered(r, Gauge::with_opts(opts(name, help))?)
}

fn float_gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
    registered(r, GaugeVec::new(opts(name, help), labels)?)
}

fn histograms(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> prometheus::Result<HistogramVec> {
    registered(
        r,
        HistogramVec::new(HistogramOpts::new(name, help).namespace(PREFIX).buckets(buckets.to_vec()), labels)?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_unit_shows_its_error_kinds_as_zero() {
        let text = String::from_utf8(Metrics::new().unwrap().render().unwrap()).unwrap();
        assert!(text.contains("vehicle_classifier_errors_total{error_type=\"unavailable\"} 0"), "{text}");
        assert!(text.contains("vehicle_classifier_build_info{"), "{text}");
    }

    #[test]
    fn every_limit_is_on_a_dashboard_from_the_start() {
        let text = String::from_utf8(Metrics::new().unwrap().render().unwrap()).unwrap();
        for limit in ["count_intervals", "event_clients", "stream_clients", "store_held", "picture_pixels"] {
            let line = format!("vehicle_classifier_limit_hits_total{{limit=\"{limit}\"}} 0");
            assert!(text.contains(&line), "{line}");
        }
        let named = include_str!("metrics/limit.rs").matches(" => \"").count();
        assert_eq!(Limit::ALL.len(), named, "a limit has a name and does not stand in ALL");
    }

    #[test]
    fn counters_are_there_at_zero_from_the_start() {
        let metrics = Metrics::new().unwrap();
        metrics.set_unit("unit-1", "Depot 7");
        metrics.expect_passages(&[("gate", "north")], ["car"]);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            "slow_requests_total{endpoint=\"/health\"} 0",
            "sync_failures_total{trouble=\"down\"} 0",
            "store_rows_deleted_total{table=\"classifications\"} 0",
            "passages_total{class=\"car\",direction=\"north\",line=\"gate\"} 0",
            "unit_info{site=\"Depot 7\",unit=\"unit-1\"} 1",
        ] {
            assert!(text.contains(&format!("vehicle_classifier_{line}\n")), "{line}");
        }
    }

    #[test]
    fn a_new_model_replaces_the_old_ones_series() {
        let metrics = Metrics::new().unwrap();
        metrics.set_model("a", "1.0.0", "00");
        metrics.set_model("b", "1.0.0", "11");
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(!text.contains("name=\"a\"") && text.contains("name=\"b\""), "{text}");
    }
}
