//! The central site with real Redis servers, started for each test: what arrives there, and what is said when nothing does.
//!
//! The counts are small for every day; the environment asks for more: `SYNC_EVENTS=100000 SYNC_SEEDS=3` (faults),
//! `SYNC_KILLS=200`, `SYNC_UNITS=1000` (a fleet), `SYNC_BACKLOG=500000 SYNC_UPLOADS=1000`, each with
//! `cargo test --test it sync:: -- --nocapture`.

mod consumer;
mod faults;
mod figures;
mod groups;
mod keeping;
mod latency;
mod losses;
mod proxy;
mod server;
pub use server::free_port;
mod states;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vehicle_classifierd::clock::{Clock, Stamp, SystemClock};
use vehicle_classifierd::metrics::Metrics;
use vehicle_classifierd::record::{AuditEvent, Classification, Origin, Outcome, Passage, PictureFacts};
use vehicle_classifierd::store::{Store, StoreSettings};
use vehicle_classifierd::sync::{RedisSettings, Sync, SyncParts, SyncSettings, encoder};

use crate::waiting::{PATIENCE, until, within};

pub const UNIT: &str = "u1";

/// A number that the environment may raise.
pub fn asked(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// A unit's store with a delivery beside it, without the rest of the unit.
pub struct Outbox {
    pub directory: Arc<TempDir>,
    pub store: Store,
    pub metrics: Arc<Metrics>,
    clock: Arc<SystemClock>,
}

impl Outbox {
    pub fn new() -> Self {
        Self::on(Arc::new(TempDir::new().unwrap()), UNIT)
    }

    pub fn on(directory: Arc<TempDir>, unit: &str) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let settings = StoreSettings {
            directory: directory.path().to_owned(),
            queue_depth_max: 1_024,
            readers: 1,
            classifications_max: 1_000,
            crop_bytes_max: 0,
            held_bytes_max: 1 << 20,
            events: Some(encoder(unit)),
        };
        let store = Store::open(settings, metrics.clone()).unwrap();
        Self { directory, store, metrics, clock: Arc::new(SystemClock::new()) }
    }

    fn stamp(&self) -> Stamp {
        self.clock.now()
    }

    /// Small events, many in one transaction.
    pub fn record(&mut self, count: usize) {
        let created = self.stamp();
        let records = (0..count).map(|_| classification(created.clone())).collect();
        let event = AuditEvent {
            user: Some("test".into()),
            action: "test".into(),
            resource: "test".into(),
            outcome: Outcome::Success,
            details: serde_json::Value::Null,
            ip_address: None,
            at: created,
            authority: None,
        };
        self.store.record_classifications(records, event).wait().unwrap();
    }

    /// Passages as they are on a road.
    pub fn pass(&self, count: usize) {
        let pending: Vec<_> = (0..count).map(|_| self.store.record_passage(passage(self.stamp()))).collect();
        for answer in pending {
            assert!(answer.wait().unwrap());
        }
    }

    pub fn bodies(&self) -> Vec<String> {
        let rows = self.store.outbox_batch(0, usize::MAX, usize::MAX).wait().unwrap();
        rows.into_iter().map(|row| row.body).filter(|body| !server::is_own_watch(body)).collect()
    }

    pub fn waiting(&self) -> i64 {
        self.store.outbox_head().wait().unwrap().waiting()
    }

    pub fn settle(&self, patience: Duration) {
        within(patience, "everything delivered", || self.waiting() == 0);
    }

    /// Events that became complete so long ago.
    pub fn record_old(&mut self, count: usize, age: Duration) {
        for _ in 0..count {
            let now = self.stamp();
            self.store.record_passage(passage(Stamp { at: now.at - age, ..now })).wait().unwrap();
        }
    }

    /// Starts delivering, with short waits.
    pub fn deliver(&self, runtime: &tokio::runtime::Runtime, redis: RedisSettings) -> Sync {
        self.deliver_as(runtime, redis, settings())
    }

    pub fn deliver_as(&self, runtime: &tokio::runtime::Runtime, redis: RedisSettings, settings: SyncSettings) -> Sync {
        let _inside = runtime.enter();
        let parts = SyncParts {
            store: self.store.clone(),
            about: vec![("site", "test".into())],
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        };
        Sync::start(parts, settings, redis).unwrap()
    }
}

/// Short waits; everything is kept.
pub fn settings() -> SyncSettings {
    SyncSettings {
        batch_events_max: 100,
        linger: Duration::from_millis(5),
        health_interval: Duration::from_millis(300),
        backoff_max: Duration::from_millis(30),
        stream_events_max: 0,
        stream_age_max: None,
        resend_events_max: 10_000_000,
        resend_age_max: Duration::from_hours(24),
    }
}

fn uuid() -> String {
    let random: u128 = rand::random();
    format!("{random:032x}")
}

fn classification(created: Stamp) -> Classification {
    Classification {
        id: uuid(),
        origin: Origin::Upload,
        user: None,
        file_name: None,
        picture: PictureFacts { width: 1, height: 1, format: "jpeg".into(), sha256: String::new() },
        predictions: Vec::new(),
        confidence: 0.5,
        processing_time_ms: 1.0,
        model: "m".into(),
        model_version: "1".into(),
        created,
    }
}

pub fn passage(at: Stamp) -> Passage {
    Passage {
        id: uuid(),
        class: "car".into(),
        confidence: 0.91,
        votes: Vec::new(),
        crops: 4,
        line: Some("north".into()),
        direction: Some("in".into()),
        lane: None,
        speed_kmh: None,
        started: at.clone(),
        ended: at.clone(),
        counted: at,
        model: "vehicle-type".into(),
        model_version: "1.0.0".into(),
        crop: None,
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// How to reach Redis. An answer may take as long as a busy machine makes it wait.
pub fn redis_settings(url: &str) -> RedisSettings {
    let url: vehicle_classifierd::config::RedisUrl = serde_json::from_value(url.into()).unwrap();
    RedisSettings {
        address: url.parse().unwrap(),
        password: None,
        sentinel_master: None,
        sentinel_password: None,
        ca: None,
        connect_timeout: Duration::from_secs(20),
        response_timeout: Duration::from_secs(20),
        unit: UNIT.into(),
    }
}

/// The same with short waits, where an answer that never comes is a part of the test.
pub fn impatient(redis: RedisSettings) -> RedisSettings {
    let short = Duration::from_millis(500);
    RedisSettings { connect_timeout: short, response_timeout: short, ..redis }
}
