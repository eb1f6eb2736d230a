//! The store on real SQLite in temporary directories.

mod accounts;
mod backups;
mod coverage;
mod damage;
mod foreign;
mod group_commit;
mod ledger;
mod opening;
mod outbox;
mod plans;
mod records;
mod restamping;
mod retained;
mod trail;
mod trail_faults;
mod upgrade;

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::test_runner::{Config as ProptestConfig, RngSeed};
use serde_json::json;
use tempfile::TempDir;

use crate::clock::Stamp;
use crate::metrics::Metrics;
use crate::record::{
    AuditEvent, Classification, ConfidenceLevel, LabelProbability, Origin, Outcome, PictureFacts, Prediction, Report,
};
use crate::store::{Pending, Store, StoreSettings, database};

/// A busy machine may take long for everything. Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A store in a directory of its own.
struct Fixture {
    directory: TempDir,
    metrics: Arc<Metrics>,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut StoreSettings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut settings = settings(&directory);
        change(&mut settings);
        let store = Store::open(settings, metrics.clone()).unwrap();
        Self { directory, metrics, store }
    }

    /// A connection past the store, as somebody with an editor would have.
    fn outside(&self) -> rusqlite::Connection {
        outside(&self.directory)
    }

    /// Keeps the writer busy until the returned gate is sent to or dropped.
    fn hold_writer(&self) -> (Sender<()>, Pending<()>) {
        let (entered, is_in) = mpsc::channel();
        let (gate, opened) = mpsc::channel();
        let held = self.store.write(move |_| {
            entered.send(()).unwrap();
            let _ = opened.recv();
            Ok(())
        });
        is_in.recv().unwrap();
        (gate, held)
    }

    fn count(&self, table: &str) -> i64 {
        self.outside().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

fn settings(directory: &TempDir) -> StoreSettings {
    StoreSettings {
        directory: directory.path().to_owned(),
        queue_depth_max: 1_024,
        readers: 2,
        classifications_max: 1_000,
        crop_bytes_max: 10_000,
        events: None,
        held_bytes_max: 1 << 20,
    }
}

fn outside(directory: &TempDir) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(directory.path().join(database::FILE_NAME)).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection
}

fn reopen(directory: &TempDir) -> Store {
    Store::open(settings(directory), Arc::new(Metrics::new().unwrap())).unwrap()
}

/// As a daemon opens it: damage is set aside.
fn daemon(directory: &TempDir) -> Store {
    Store::open_or_set_aside(settings(directory), Arc::new(Metrics::new().unwrap())).unwrap()
}

/// Waits until the condition holds.
fn until(what: &str, condition: impl FnMut() -> bool) {
    within(PATIENCE, what, condition);
}

fn within(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let (_keep, never) = mpsc::channel::<()>();
    let deadline = Instant::now() + time;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        let _ = never.recv_timeout(Duration::from_millis(5));
    }
}

/// The same cases each time, so that what fails does so again; `PROPTEST_RNG_SEED` tries others.
fn cases(count: u32) -> ProptestConfig {
    let config = ProptestConfig::with_cases(count);
    let rng_seed = if config.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { config.rng_seed };
    ProptestConfig { rng_seed, ..config }
}

/// `seconds` after the start of 2026.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

fn stamp(seconds: i64) -> Stamp {
    Stamp { at: at(seconds), monotonic: Duration::from_micros(7), synced: true, boot_id: "boot".into() }
}

fn event(action: &str, seconds: i64) -> AuditEvent {
    AuditEvent {
        user: Some("alice".into()),
        action: action.into(),
        resource: "/somewhere".into(),
        outcome: Outcome::Success,
        details: json!({"why": "test"}),
        ip_address: Some("192.0.2.1".into()),
        at: stamp(seconds),
        authority: None,
    }
}

fn classification(id: &str) -> Classification {
    Classification {
        id: id.into(),
        origin: Origin::Upload,
        user: Some("alice".into()),
        file_name: Some("bus.jpg".into()),
        picture: PictureFacts { width: 640, height: 480, format: "jpeg".into(), sha256: "00".repeat(32) },
        predictions: vec![Prediction {
            attribute: "type".into(),
            value: "bus".into(),
            confidence: 0.93,
            top: vec![LabelProbability { label: "bus".into(), probability: 0.93 }],
            uncertainty: 0.1,
            is_confident: true,
            level: ConfidenceLevel::High,
        }],
        confidence: 0.93,
        processing_time_ms: 12.5,
        model: "vehicle-type".into(),
        model_version: "1.0.0".into(),
        created: stamp(0),
    }
}

fn report(id: &str, vehicle: &str, seconds: i64) -> Report {
    Report {
        id: id.into(),
        vehicle_id: vehicle.into(),
        user: "alice".into(),
        class: "bus".into(),
        confidence: 0.93,
        body: json!({"report_id": id, "summary": "A bus."}),
        created: stamp(seconds),
    }
}

/// How SQLite would run a query, a line each step.
fn plan(connection: &rusqlite::Connection, sql: &str) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // Values do not matter for the plan: unbound parameters are null.
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>("detail").unwrap());
    }
    steps.join("\n")
}
