//! What a well-typed configuration can still get wrong.

use super::network::Network;
use super::sections::Config;
use crate::error::nearest;

/// Shortest signing key for HS256 (RFC 7518, 3.2: as long as the hash).
const SECRET_KEY_BYTES_MIN: usize = 32;

impl Config {
    /// The first senseless value as its key and the reason with the remedy.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, String)> {
        self.api_problem()
            .or_else(|| self.auth_problem())
            .or_else(|| self.capture_problem())
            .or_else(|| self.sync_problem())
            .or_else(|| self.traffic.problem())
            .or_else(|| self.rest_problem())
    }

    fn api_problem(&self) -> Option<(&'static str, String)> {
        let api = &self.api;
        if let Some(origin) = api.cors_origins.iter().find(|origin| !is_origin(origin)) {
            return Some((
                "api.cors_origins",
                format!(
                    "{origin:?} is no origin; write scheme, host and port, such as https://dashboard.example.org, and no wildcard"
                ),
            ));
        }
        if let Some(host) = api.trusted_hosts.iter().find(|host| host.is_empty() || host.contains(['/', '*', ' '])) {
            return Some((
                "api.trusted_hosts",
                format!("{host:?} is no host name; write it without scheme, path or wildcard"),
            ));
        }
        if let Some(reason) = api.trusted_proxies.iter().find_map(|network| network.parse::<Network>().err()) {
            return Some(("api.trusted_proxies", reason));
        }
        if !is_base_path(&api.base_path) {
            let reason =
                "write it as /unit-7: one or more names of letters, digits, -, . and _, each behind a /".into();
            return Some(("api.base_path", reason));
        }
        let tls = &api.tls;
        let (certificate, key) = (tls.certificate.as_os_str(), tls.key.as_os_str());
        if certificate.is_empty() != key.is_empty() {
            return Some(("api.tls.key", "api.tls.certificate and api.tls.key go together".into()));
        }
        if tls.self_signed && !certificate.is_empty() {
            let reason = "it goes without api.tls.certificate: use one or the other".into();
            return Some(("api.tls.self_signed", reason));
        }
        at_least("api.upload_bytes_max", api.upload_bytes_max, 1_024)
            .or_else(|| at_least("api.batch_files_max", api.batch_files_max as u64, 1))
            .or_else(|| at_least("api.batch_bytes_max", api.batch_bytes_max, api.upload_bytes_max))
            .or_else(|| at_least("api.upload_memory_bytes_max", api.upload_memory_bytes_max, api.batch_bytes_max))
            .or_else(|| at_least("api.request_timeout_ms", api.request_timeout_ms, 100))
            .or_else(|| at_least("api.idle_timeout_ms", api.idle_timeout_ms, 100))
            .or_else(|| at_least("api.connections_max", api.connections_max as u64, 1))
            .or_else(|| at_least("api.connections_per_address_max", api.connections_per_address_max as u64, 1))
            .or_else(|| at_least("api.header_bytes_max", api.header_bytes_max as u64, 4_096))
    }

    fn auth_problem(&self) -> Option<(&'static str, String)> {
        let auth = &self.auth;
        let key = auth.secret_key.reveal().len();
        if key > 0 && key < SECRET_KEY_BYTES_MIN {
            return Some((
                "auth.secret_key",
                format!(
                    "it has {key} bytes and needs at least {SECRET_KEY_BYTES_MIN}; leave it empty for a generated one"
                ),
            ));
        }
        if !(12..=128).contains(&auth.password_length_min) {
            return Some(("auth.password_length_min", "it must be from 12 to 128".into()));
        }
        if !(1..=1_440).contains(&auth.token_minutes) {
            return Some((
                "auth.token_minutes",
                "it must be from 1 to 1440 (a day); machines use `token issue`".into(),
            ));
        }
        at_least("auth.login_failures_max", auth.login_failures_max.into(), 1)
            .or_else(|| at_least("auth.password_checks_max", auth.password_checks_max as u64, 1))
    }

    fn capture_problem(&self) -> Option<(&'static str, String)> {
        let capture = &self.capture;
        if let Some(problem) = rate("capture.fps", capture.fps) {
            return Some(problem);
        }
        let named = |kind: &str| capture.source.strip_prefix(kind).is_some_and(|rest| !rest.is_empty());
        if capture.source != "none" && !named("replay:") && !named("v4l2:/") {
            let reason = format!("{:?} is no source; use none, v4l2:/dev/video0 or replay:PATH", capture.source);
            return Some(("capture.source", reason));
        }
        if (capture.width == 0) != (capture.height == 0) {
            return Some(("capture.width", "name width and height, or neither".into()));
        }
        at_least("capture.frame_age_max_ms", capture.frame_age_max_ms, 1)
            .or_else(|| at_least("capture.frame_deadline_ms", capture.frame_deadline_ms, 500))
            .or_else(|| at_least("capture.frozen_after_ms", capture.frozen_after_ms, 1_000))
    }

    fn sync_problem(&self) -> Option<(&'static str, String)> {
        let sync = &self.sync;
        if !sync.redis_url.is_empty() {
            match sync.redis_url.parse() {
                Err(reason) => return Some(("sync.redis_url", reason)),
                Ok(address) if !sync.ca_file.as_os_str().is_empty() && !address.tls => {
                    return Some((
                        "sync.ca_file",
                        "it is of use only with TLS; write rediss:// in sync.redis_url".into(),
                    ));
                }
                Ok(_) => {}
            }
        }
        at_least("sync.connect_timeout_ms", sync.connect_timeout_ms, 10)
            .or_else(|| at_least("sync.response_timeout_ms", sync.response_timeout_ms, 10))
            .or_else(|| at_least("sync.health_interval_ms", sync.health_interval_ms, 100))
            .or_else(|| at_least("sync.backoff_ms_max", sync.backoff_ms_max, 10))
            .or_else(|| at_least("sync.batch_events_max", sync.batch_events_max as u64, 1))
            .or_else(|| {
                (sync.batch_events_max > 10_000).then(|| ("sync.batch_events_max", "it must be at most 10000".into()))
            })
    }

    fn rest_problem(&self) -> Option<(&'static str, String)> {
        if !self.unit.id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') || self.unit.id.len() > 64 {
            return Some(("unit.id", "use at most 64 letters, digits, - and _".into()));
        }
        if jiff::tz::TimeZone::get(&self.unit.timezone).is_err() {
            return Some((
                "unit.timezone",
                format!("{:?} is no known time zone; write an IANA name such as Europe/Berlin", self.unit.timezone),
            ));
        }
        if let Some(reason) = level_problem(&self.log.level) {
            return Some(("log.level", reason));
        }
        if self.classifier.workers > 64 {
            return Some(("classifier.workers", "it must be at most 64".into()));
        }
        at_least("api.count_intervals_max", self.api.count_intervals_max.into(), 1)
            .or_else(|| rate("api.stream_fps_max", self.api.stream_fps_max))
            .or_else(|| rate("api.overlay_fps_max", self.api.overlay_fps_max))
            .or_else(|| at_least("api.snapshot_age_max_ms", self.api.snapshot_age_max_ms, 1))
            .or_else(|| self.size_problem())
    }

    fn size_problem(&self) -> Option<(&'static str, String)> {
        at_least("classifier.threads", self.classifier.threads as u64, 1)
            .or_else(|| at_least("classifier.queue_depth_max", self.classifier.queue_depth_max as u64, 1))
            .or_else(|| at_least("classifier.picture_pixels_max", self.classifier.picture_pixels_max, 1_024))
            .or_else(|| at_least("store.queue_depth_max", self.store.queue_depth_max as u64, 1))
            .or_else(|| at_least("store.readers", self.store.readers as u64, 1))
            .or_else(|| at_least("store.classifications_max", self.store.classifications_max, 1))
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter takes a word that is no level for the name of a module, and then shows nothing of any other.
fn level_problem(text: &str) -> Option<String> {
    let unknown = text.split(',').map(str::trim).find_map(|directive| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        (!LEVELS.contains(&level.to_ascii_lowercase().as_str())).then_some(level)
    });
    let Some(unknown) = unknown else {
        let refused = tracing_subscriber::EnvFilter::try_new(text).err();
        return refused.map(|cause| format!("{text:?} is no list of directives ({cause})"));
    };
    let hint = nearest(unknown, LEVELS).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    let levels = LEVELS.join(", ");
    Some(format!(
        "{unknown:?} is no level{hint}; write one of {levels}, or directives such as info,vehicle_classifierd::api=debug"
    ))
}

fn at_least(key: &'static str, value: u64, least: u64) -> Option<(&'static str, String)> {
    (value < least).then(|| (key, format!("{value} is too small; it must be at least {least}")))
}

/// Frames a second. What is almost 0 has no period that a duration could hold.
pub(super) fn rate(key: &'static str, rate: f64) -> Option<(&'static str, String)> {
    let fits = (0.001..=240.0).contains(&rate);
    (!fits).then(|| (key, format!("{rate} does not fit; it must be from 0.001 to 240")))
}

/// scheme "://" host [":" port], nothing behind it (RFC 6454).
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' '])
}

/// Nothing, or names behind slashes.
fn is_base_path(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let name = |name: &str| !name.is_empty() && name.bytes().all(plain) && name.bytes().any(|byte| byte != b'.');
    text.is_empty() || text.strip_prefix('/').is_some_and(|names| names.split('/').all(name))
}
