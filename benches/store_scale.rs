//! Figures of a database of ten years: time to open it, of the questions that people ask, and of durable inserts into it.
//!
//! By hand: `VEHICLE_CLASSIFIER_BENCH_STATE=DIRECTORY cargo bench --bench store_scale` on a copy of a state directory; it
//! writes into it. Without the variable it does nothing.

#![expect(clippy::expect_used, reason = "a bench that cannot go on can only say so and stop")]

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rand::RngExt;
use vehicle_classifierd::clock::{Clock, SystemClock};
use vehicle_classifierd::error::Result;
use vehicle_classifierd::metrics::Metrics;
use vehicle_classifierd::record::{Passage, SlotWidth};
use vehicle_classifierd::store::{PassageFilter, PassagePlace, Pending, ReportFilter, Store, StoreSettings};

const QUESTIONS: usize = 300;
const WRITERS: usize = 32;
const INSERTS: usize = 20_000;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

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

/// What the kernel counts as written to the disk by this process.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0)
}

fn inserts(store: &Store, writers: usize, count: usize) {
    let (clock, before, started) = (SystemClock::new(), written(), Instant::now());
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
    let bytes = (written() - before) / count as u64;
    println!("{writers:3} writers: {rate:8.0} durable passages a second, {bytes} bytes written to the disk for each");
}

fn main() -> Result<()> {
    let Some(directory) = std::env::var_os("VEHICLE_CLASSIFIER_BENCH_STATE").map(PathBuf::from) else { return Ok(()) };
    let settings = StoreSettings {
        directory,
        queue_depth_max: 1_024,
        readers: 2,
        classifications_max: u64::MAX >> 1,
        crop_bytes_max: 64 << 20,
        events: None,
        held_bytes_max: 8 << 20,
    };
    let started = Instant::now();
    let store = Store::open_or_set_aside(settings, Arc::new(Metrics::new()?))?;
    store.health().wait()?;
    println!("opened and checked in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    // The generated year is 2025.
    let at = |second: i64| Timestamp::from_second(1_735_689_600 + second).expect("a time");
    let mut random = rand::rng();
    let mut day = move |last: i64| random.random_range(0..last) * DAY;
    if let Some((oldest, newest)) = store.passage_ids().wait()? {
        println!("{} passages", newest - oldest + 1);
        for (name, width, days) in [
            ("counts of a day in 5 minutes", SlotWidth::FiveMinutes, 1),
            ("counts of a day in hours", SlotWidth::Hour, 1),
            ("counts of a month in hours", SlotWidth::Hour, 30),
            ("counts of a month in days", SlotWidth::Day, 30),
            ("counts of a year in days", SlotWidth::Day, 365),
        ] {
            measure(name, || {
                let from = day(366 - days);
                store.counts(width, at(from), at(from + days * DAY))
            });
        }
        measure("newest page of 100 passages", || store.passages_page(PassageFilter::default(), None, 100));
        measure("a deep page of 100 passages", || {
            let place = PassagePlace { counted_us: at(day(365)).as_microsecond(), id: 0 };
            store.passages_page(PassageFilter::default(), Some(place), 100)
        });
        let filter = PassageFilter { class: Some("bus".into()), ..PassageFilter::default() };
        measure("newest 100 buses", || store.passages_page(filter.clone(), None, 100));
        inserts(&store, 1, INSERTS / 20);
        inserts(&store, WRITERS, INSERTS);
    }
    let mut random = rand::rng();
    let mut vehicle = move || format!("vehicle-{}", random.random_range(0..20_000));
    measure("newest report of a vehicle", || store.newest_report(&vehicle()));
    measure("newest page of reports", || store.report_page(ReportFilter::default(), None, 100));
    store.close();
    Ok(())
}
