//! Durable writes a second: one writer alone, where each waits for its own synchronisation of the disk, and 32 at once,
//! which share it. The directory is made in `TMPDIR`: point it at the disk to be measured, not at memory.

#![expect(clippy::expect_used, reason = "a bench that cannot go on can only say so and stop")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use vehicle_classifierd::clock::{Clock, SystemClock};
use vehicle_classifierd::metrics::Metrics;
use vehicle_classifierd::record::{AuditEvent, Classification, Origin, Outcome, PictureFacts};
use vehicle_classifierd::store::{Store, StoreSettings};

const WRITERS: u64 = 32;

/// As an upload does it: a classification and its audit row.
fn insert(store: &Store, clock: &SystemClock) {
    let classification = Classification {
        id: uuid::Uuid::new_v4().to_string(),
        origin: Origin::Upload,
        user: Some("bench".into()),
        file_name: Some("bus.jpg".into()),
        picture: PictureFacts { width: 640, height: 480, format: "jpeg".into(), sha256: "0".repeat(64) },
        predictions: Vec::new(),
        confidence: 0.9,
        processing_time_ms: 10.0,
        model: "bench".into(),
        model_version: "1.0.0".into(),
        created: clock.now(),
    };
    let event = AuditEvent {
        user: Some("bench".into()),
        action: "vehicle.classify".into(),
        resource: "/api/vehicle/classify".into(),
        outcome: Outcome::Success,
        details: json!({}),
        ip_address: Some("192.0.2.1".into()),
        at: clock.now(),
        authority: None,
    };
    store.record_classifications(vec![classification], event).wait().expect("a write");
}

fn concurrent(store: &Store, clock: &SystemClock, inserts: u64) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let share = inserts / WRITERS + u64::from(writer < inserts % WRITERS);
            scope.spawn(move || (0..share).for_each(|_| insert(store, clock)));
        }
    });
    start.elapsed()
}

fn durable_inserts(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = StoreSettings {
        directory: directory.path().to_owned(),
        queue_depth_max: 1_024,
        readers: 1,
        classifications_max: 1_000_000,
        crop_bytes_max: 64 << 20,
        events: None,
        held_bytes_max: 1 << 20,
    };
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let store = Store::open(settings, metrics.clone()).expect("a store");
    let clock = SystemClock::new();

    let mut group = criterion.benchmark_group("durable inserts");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    group.bench_function("alone", |bencher| bencher.iter(|| insert(&store, &clock)));
    group.bench_function("32 writers", |bencher| bencher.iter_custom(|inserts| concurrent(&store, &clock, inserts)));
    group.finish();
    eprintln!("{} writes in {} commits", store.progress().jobs_done, metrics.store_commits.get());
    store.close();
}

criterion_group!(benches, durable_inserts);
criterion_main!(benches);
