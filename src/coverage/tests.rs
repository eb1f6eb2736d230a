//! The coverage log on a clock that the tests set.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{CoverageLog, SPANS_MAX};
use crate::clock::Stamp;
use crate::config::{Sources, load};
use crate::daemon::store_settings;
use crate::metrics::Metrics;
use crate::record::{Gap, SlotWidth};
use crate::store::Store;

fn open(directory: &Path, metrics: &Arc<Metrics>) -> Store {
    let settings = store_settings(&load(&Sources::default()).unwrap(), directory.to_owned());
    Store::open(settings, metrics.clone()).unwrap()
}

struct Fixture {
    _directory: tempfile::TempDir,
    store: Store,
    metrics: Arc<Metrics>,
    now: Stamp,
    log: CoverageLog,
}

impl Fixture {
    /// At noon of 4 May 2026.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let store = open(directory.path(), &metrics);
        let now = Stamp { at: noon(0), monotonic: Duration::from_secs(5), synced: true, boot_id: "boot".into() };
        let log = CoverageLog::new(now.clone(), store.clone(), metrics.clone());
        Self { _directory: directory, store, metrics, now, log }
    }

    /// Lets time go by in seconds, with the state that is found at the end of each.
    fn run(&mut self, seconds: u64, gap: Option<Gap>) {
        for _ in 0..seconds {
            self.now.at += SignedDuration::from_secs(1);
            self.now.monotonic += Duration::from_secs(1);
            self.log.tick(self.now.clone(), gap);
        }
    }

    /// Waits for what is on its way into the store.
    fn settle(&mut self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(300);
        while self.log.sent.is_some() {
            assert!(std::time::Instant::now() < deadline, "the store does not answer");
            std::thread::yield_now();
            self.log.take_answer();
        }
    }

    /// (seconds after noon of the slot's start, state, seconds), flushed.
    fn coverage(&mut self) -> Vec<(i64, &'static str, u64)> {
        self.settle();
        self.log.flush();
        self.settle();
        let page = self.store.counts(SlotWidth::FiveMinutes, noon(-86_400), noon(86_400)).wait().unwrap();
        let name = |gap: Option<Gap>| gap.map_or("watching", Gap::name);
        let second = |at: Timestamp| at.as_second() - noon(0).as_second();
        page.coverage.iter().map(|part| (second(part.slot), name(part.gap), part.milliseconds / 1_000)).collect()
    }
}

fn noon(second: i64) -> Timestamp {
    Timestamp::from_second(1_777_896_000 + second).unwrap()
}

#[test]
fn each_second_is_watched_or_has_its_reason() {
    let mut fixture = Fixture::new();
    fixture.run(200, None);
    fixture.run(50, Some(Gap::CameraDown));
    fixture.run(100, None);
    // The first second of the recovery began without a camera.
    assert_eq!(fixture.coverage(), [(0, "watching", 249), (0, "camera_down", 51), (300, "watching", 50)]);
    let ratio = fixture.metrics.interval_coverage_ratio.get();
    assert!((ratio - 299.0 / 350.0).abs() < 1e-9, "{ratio}");
    let down = fixture.metrics.watch_seconds.with_label_values(&["camera_down"]).get();
    assert!((down - 51.0).abs() < 1e-9, "{down}");
}

#[test]
fn what_was_seen_is_stored_every_ten_seconds() {
    let mut fixture = Fixture::new();
    let stored = |fixture: &mut Fixture| {
        fixture.settle();
        let page = fixture.store.counts(SlotWidth::Hour, noon(0), noon(1)).wait().unwrap();
        (page.coverage.iter().map(|part| part.milliseconds).sum::<u64>(), page.watched_until)
    };
    fixture.run(9, None);
    assert_eq!(stored(&mut fixture).0, 0);
    fixture.run(1, None);
    assert_eq!(stored(&mut fixture), (10_000, noon(10)));
    fixture.run(9, None);
    assert_eq!(stored(&mut fixture), (10_000, noon(10)));
}

#[test]
fn a_clock_that_is_set_forward_leaves_a_stretch_that_says_so() {
    let mut fixture = Fixture::new();
    fixture.run(100, None);
    fixture.now.at += SignedDuration::from_secs(600);
    fixture.run(100, None);
    assert_eq!(
        fixture.coverage(),
        [(0, "watching", 101), (0, "clock", 199), (300, "clock", 300), (600, "watching", 99), (600, "clock", 101),]
    );
}

#[test]
fn the_first_synchronisation_of_a_unit_without_a_battery_leaves_no_years_of_it() {
    let mut fixture = Fixture::new();
    fixture.now.synced = false;
    fixture.now.at = noon(-3_600);
    fixture.log.last = fixture.now.clone();
    fixture.run(20, None);
    fixture.now.at = noon(0);
    fixture.now.synced = true;
    fixture.run(20, None);
    assert_eq!(fixture.coverage(), [(-3_600, "watching", 21), (0, "watching", 19)]);
}

#[test]
fn a_clock_that_is_set_back_tells_an_hour_twice() {
    let mut fixture = Fixture::new();
    fixture.run(10, None);
    fixture.now.at -= SignedDuration::from_secs(10);
    fixture.run(10, None);
    assert_eq!(fixture.coverage(), [(0, "watching", 20)]);
}

#[test]
fn time_in_which_nothing_ran_was_not_watched() {
    let mut fixture = Fixture::new();
    fixture.run(10, None);
    fixture.now.at += SignedDuration::from_secs(60);
    fixture.now.monotonic += Duration::from_secs(60);
    fixture.run(10, None);
    assert_eq!(fixture.coverage(), [(0, "watching", 19), (0, "overload", 61)]);
}

#[test]
fn what_the_store_does_not_take_is_kept_within_limits() {
    let mut fixture = Fixture::new();
    fixture.store.close();
    fixture.run(20, None);
    fixture.run(20, Some(Gap::Frozen));
    fixture.settle();
    assert_eq!(fixture.log.spans.len(), 2);
    fixture.log.store = open(fixture._directory.path(), &fixture.metrics);
    fixture.store = fixture.log.store.clone();
    assert_eq!(fixture.coverage(), [(0, "watching", 20), (0, "frozen", 20)]);
    fixture.store.close();
    for _ in 0..SPANS_MAX {
        fixture.run(2, None);
        fixture.run(2, Some(Gap::Frozen));
        fixture.settle();
    }
    assert_eq!(fixture.log.spans.len(), SPANS_MAX);
    assert!(fixture.metrics.limit_hits.with_label_values(&["watch_spans"]).get() > 0);
}
