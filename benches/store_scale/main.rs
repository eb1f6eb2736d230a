//! Figures of a large database: time to open it, of the questions that people ask, and of durable inserts into it.
//!
//! By hand: `VEHICLE_CLASSIFIER_BENCH_STATE=DIRECTORY cargo bench --bench store_scale`. A directory without a database is
//! filled first, with `VEHICLE_CLASSIFIER_BENCH_PASSAGES` (10,000,000) over three years and half as many classifications: some
//! 8 GB. Without the first variable it does nothing.

#![expect(clippy::expect_used, reason = "a bench that cannot go on can only say so and stop")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rand::RngExt;
use vehicle_classifierd::clock::{Clock, SystemClock};
use vehicle_classifierd::error::Result;
use vehicle_classifierd::metrics::Metrics;
use vehicle_classifierd::record::{Passage, SlotWidth};
use vehicle_classifierd::store::{
    PassageFilter, PassagePlace, Pending, ReportFilter, Store, StoreSettings, bytes_written,
};

mod fill;

const QUESTIONS: usize = 300;
const WRITERS: usize = 32;
const INSERTS: usize = 20_000;
const DAY: i64 = 24 * 3_600;
/// The generated years begin with 2023.
const START: i64 = 1_672_531_200;
const DAYS: i64 = 3 * 365;

fn measure<T>(name: &str, mut ask: impl FnMut() -> Pending<T>) {
    let mut times: Vec<Duration> = (0..QUESTIONS)
        .map(|_| {
            let started = Instant::now();
            ask().wait().expect("an answer");
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e3;
    println!("{name:40} p50 {:8.2} ms   p99 {:8.2} ms", at(50), at(99));
}

fn passage(clock: &SystemClock) -> Passage {
    let now = clock.now();
    Passage {
        id: uuid::Uuid::new_v4().to_string(),
        class: "car".into(),
        confidence: 0.8,
        votes: Vec::new(),
        crops: 5,
        line: Some("gate".into()),
        direction: Some("north".into()),
        lane: None,
        speed_kmh: Some(52.5),
        started: now.clone(),
        ended: now.clone(),
        counted: now,
        model: "vehicle-type".into(),
        model_version: "1.0.0".into(),
        crop: None,
    }
}

fn inserts(store: &Store, writers: usize, count: usize) {
    let (clock, before, started) = (SystemClock::new(), bytes_written(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                for _ in 0..count / writers {
                    store.record_passage(passage(&clock)).wait().expect("a write");
                }
            });
        }
    });
    let rate = count as f64 / started.elapsed().as_secs_f64();
    let bytes = (bytes_written() - before) / count as u64;
    println!("{writers:3} writers: {rate:8.0} durable passages a second, {bytes} bytes written for each");
}

fn settings(directory: PathBuf) -> StoreSettings {
    StoreSettings {
        directory,
        queue_depth_max: 1_024,
        readers: 2,
        classifications_max: u64::MAX >> 1,
        crop_bytes_max: 64 << 20,
        events: None,
        held_bytes_max: 8 << 20,
    }
}

/// As many as the environment says, where there is nothing yet.
fn fill_once(directory: &Path) -> Result<()> {
    let database = directory.join("unit.db");
    if database.exists() {
        return Ok(());
    }
    let asked = std::env::var("VEHICLE_CLASSIFIER_BENCH_PASSAGES").ok().and_then(|count| count.parse().ok());
    let passages = asked.unwrap_or(10_000_000);
    Store::open(settings(directory.to_owned()), Arc::new(Metrics::new()?))?.close();
    fill::fill(&database, &fill::Amount { passages, classifications: passages / 2, days: DAYS })
        .expect("a database is filled");
    Ok(())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).expect("a time")
}

fn counts(store: &Store) {
    let mut random = rand::rng();
    for (name, width, days) in [
        ("counts of a day in 5 minutes", SlotWidth::FiveMinutes, 1),
        ("counts of a day in hours", SlotWidth::Hour, 1),
        ("counts of a month in hours", SlotWidth::Hour, 30),
        ("counts of a month in days", SlotWidth::Day, 30),
        ("counts of a year in days", SlotWidth::Day, 365),
    ] {
        measure(name, || {
            let from = random.random_range(0..=DAYS - days) * DAY;
            store.counts(width, at(from), at(from + days * DAY))
        });
    }
}

fn pages(store: &Store) {
    let mut random = rand::rng();
    measure("newest page of 100 passages", || store.passages_page(PassageFilter::default(), None, 100));
    let mut anywhere = move || random.random_range(DAY..DAYS * DAY);
    measure("a page of 100 anywhere in three years", || {
        let place = PassagePlace { counted_us: at(anywhere()).as_microsecond(), id: 0 };
        store.passages_page(PassageFilter::default(), Some(place), 100)
    });
    let text = |text: &str| Some(text.to_owned());
    for (name, filter) in [
        ("newest 100 buses", PassageFilter { class: text("bus"), ..PassageFilter::default() }),
        ("newest 100 northwards", PassageFilter { direction: text("north"), ..PassageFilter::default() }),
    ] {
        measure(name, || store.passages_page(filter.clone(), None, 100));
    }
    for (name, filter) in [
        ("a line that there is not", PassageFilter { line: text("elsewhere"), ..PassageFilter::default() }),
        ("a direction that there is not", PassageFilter { direction: text("up"), ..PassageFilter::default() }),
        ("a confidence that there is not", PassageFilter { confidence_min: Some(0.99), ..PassageFilter::default() }),
    ] {
        let started = Instant::now();
        let found = store.passages_page(filter, None, 100).wait().map(|rows| rows.len());
        println!("{name:40} {:8.0} ms: {found:?}", started.elapsed().as_secs_f64() * 1e3);
    }
    let mut random = rand::rng();
    let mut vehicle = move || format!("vehicle-{}", random.random_range(0..20_000));
    measure("newest report of a vehicle", || store.newest_report(&vehicle()));
    measure("newest page of 50 reports", || store.report_page(ReportFilter::default(), None, 50));
    measure("reports of a vehicle", || {
        store.report_page(ReportFilter { vehicle_id: Some(vehicle()), ..ReportFilter::default() }, None, 50)
    });
}

fn main() -> Result<()> {
    let Some(directory) = std::env::var_os("VEHICLE_CLASSIFIER_BENCH_STATE").map(PathBuf::from) else { return Ok(()) };
    fill_once(&directory)?;
    let started = Instant::now();
    let store = Store::open_or_set_aside(settings(directory), Arc::new(Metrics::new()?))?;
    let health = store.health().wait()?;
    println!("opened and checked in {:.1} ms: {} MB", started.elapsed().as_secs_f64() * 1e3, health.bytes / 1_000_000);
    counts(&store);
    pages(&store);
    inserts(&store, 1, INSERTS / 20);
    inserts(&store, WRITERS, INSERTS);
    store.close();
    Ok(())
}
