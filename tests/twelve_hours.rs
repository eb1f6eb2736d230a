//! Twelve hours of a road as fast as the store takes them: the ledger agrees with the counts to the last vehicle, no interval is
//! missing, and the memory stays what it was. `ROAD_HOURS` lets it last longer.

// A test that cannot go on says so by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use vehicle_classifierd::clock::Stamp;
use vehicle_classifierd::config::{Sources, load};
use vehicle_classifierd::coverage::CoverageLog;
use vehicle_classifierd::daemon::store_settings;
use vehicle_classifierd::ledger::interval::{Interval, Intervals, Kinds, Ledger, intervals};
use vehicle_classifierd::ledger::scheme::SchemeName;
use vehicle_classifierd::metrics::Metrics;
use vehicle_classifierd::record::{Gap, Passage, SlotWidth};
use vehicle_classifierd::store::{PassageFilter, PassagePlace, Store};

const CLASSES: [&str; 4] = ["car", "suv", "truck", "unclassified"];
const WAYS: [&str; 2] = ["north", "south"];
/// What may be added to the resident memory between an early moment and the end: page caches fill, nothing may grow.
const GROWTH_MAX_KB: u64 = 8 << 10;

/// 2026-05-04T05:00:00Z: the night's last hours and a working day.
fn start() -> Timestamp {
    Timestamp::from_second(1_777_870_800).unwrap()
}

fn hours() -> i64 {
    std::env::var("ROAD_HOURS").ok().and_then(|hours| hours.parse().ok()).unwrap_or(12)
}

/// The state of the camera at a second: an outage each three hours, a frozen picture now and then.
fn state(second: i64) -> Option<Gap> {
    match second % 10_800 {
        4_000..4_700 => Some(Gap::CameraDown),
        9_000..9_012 => Some(Gap::Frozen),
        _ => None,
    }
}

/// xorshift64 (Marsaglia 2003): the same road each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What happened, kept apart from the store.
#[derive(Default)]
struct Truth {
    vehicles: BTreeMap<(i64, &'static str, &'static str), u64>,
    watched: BTreeMap<i64, i64>,
    total: u64,
}

struct Road {
    store: Store,
    log: CoverageLog,
    now: Stamp,
    dice: Dice,
    truth: Truth,
}

impl Road {
    fn pass(&mut self, second: i64) {
        let class = CLASSES[usize::try_from(self.dice.throw(4)).unwrap()];
        let direction = WAYS[usize::try_from(self.dice.throw(2)).unwrap()];
        let passage = Passage {
            id: format!("vehicle-{}", self.truth.total),
            class: class.into(),
            confidence: 0.8,
            votes: Vec::new(),
            crops: 3,
            line: Some("gate".into()),
            direction: Some(direction.into()),
            lane: None,
            speed_kmh: None,
            started: self.now.clone(),
            ended: self.now.clone(),
            counted: self.now.clone(),
            model: "vehicle-type".into(),
            model_version: "1.0.0".into(),
            crop: None,
        };
        // Some are told twice, as after an answer that got lost.
        for _ in 0..=u64::from(self.dice.throw(50) == 0) {
            let recorded = self.store.record_passage(passage.clone());
            // A road of seconds does not outrun the store as this loop may: now and then one waits, so that the queue never
            // fills.
            if self.truth.total.is_multiple_of(64) {
                recorded.wait().unwrap();
            }
        }
        self.truth.total += 1;
        *self.truth.vehicles.entry((second / 900, direction, class)).or_default() += 1;
    }

    fn drive(&mut self, seconds: std::ops::Range<i64>) {
        for second in seconds {
            if state(second).is_none() && self.dice.throw(12) == 0 {
                self.pass(second);
            }
            self.now.at += SignedDuration::from_secs(1);
            self.now.monotonic += Duration::from_secs(1);
            self.log.tick(self.now.clone(), state(second));
            let good = state(second).is_none() && (second == 0 || state(second - 1).is_none());
            *self.truth.watched.entry(second / 900).or_default() += i64::from(good);
        }
        // What was sent before is taken first, then the rest; a write that is answered says that those before it are stored.
        for _ in 0..2 {
            self.log.flush();
            self.store.set_day_zone("UTC").wait().unwrap();
        }
    }

    fn read(&self, interval: Interval) -> Intervals {
        let end = start() + SignedDuration::from_hours(hours());
        let page = self.store.counts(interval.width(), start() - SignedDuration::from_hours(24), end).wait().unwrap();
        let ledger = Ledger {
            counts: &page.counts,
            coverage: &page.coverage,
            zone: &page.zone,
            first_watch: page.first_watch,
            watched_until: page.watched_until,
            now: self.now.at,
        };
        let scheme = SchemeName::Native.load(CLASSES).unwrap();
        intervals(interval, start(), end, ledger, &scheme, Kinds::of(Vec::new(), ledger.counts, &scheme))
    }
}

fn total(found: &Intervals) -> u64 {
    found.intervals.iter().filter_map(|one| one.vehicles.as_ref()).flat_map(|ways| ways.values().flatten()).sum()
}

#[test]
fn the_ledger_agrees_with_the_counts_and_the_memory_stays() {
    // Not about the disk: in memory where there is such a file system.
    let shared_memory = std::path::Path::new("/dev/shm");
    let directory =
        if shared_memory.is_dir() { tempfile::tempdir_in(shared_memory) } else { tempfile::tempdir() }.unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let settings = store_settings(&load(&Sources::default()).unwrap(), directory.path().to_owned());
    let store = Store::open(settings, metrics.clone()).unwrap();
    let now = Stamp { at: start(), monotonic: Duration::from_secs(1), synced: true, boot_id: "boot".into() };
    let log = CoverageLog::new(now.clone(), store.clone(), metrics);
    let mut road = Road { store, log, now, dice: Dice(0x9E37_79B9_7F4A_7C15), truth: Truth::default() };

    let end = hours() * 3_600;
    road.drive(0..end / 4);
    let early = resident_kb();
    road.drive(end / 4..end);
    let late = resident_kb();
    assert!(late < early + GROWTH_MAX_KB, "{early} kB at first, {late} kB in the end");

    let found = road.read(Interval::QuarterHour);
    assert_eq!(found.intervals.len() as i64, hours() * 4, "every interval");
    for (n, one) in (0..).zip(&found.intervals) {
        assert_eq!(one.from, start() + SignedDuration::from_secs(n * 900));
        let ratio = one.coverage_ratio.unwrap();
        let expected = *road.truth.watched.get(&n).unwrap() as f64 / 900.0;
        assert!((ratio - expected).abs() < 1e-9, "{}: watched {ratio}, in truth {expected}", one.from);
        assert_eq!(one.vehicles.is_none(), expected == 0.0);
        for (way, row) in one.vehicles.iter().flatten() {
            for (class, count) in found.classes.iter().zip(row) {
                let direction = WAYS.into_iter().find(|name| way.direction.as_deref() == Some(name)).unwrap();
                let class = CLASSES.into_iter().find(|name| class == name).unwrap();
                let expected = road.truth.vehicles.get(&(n, direction, class)).copied().unwrap_or_default();
                assert_eq!(*count, expected, "{} {direction} {class}", one.from);
            }
        }
    }
    let rows = ledger_rows(&road.store);
    let widths = [Interval::FiveMinutes, Interval::QuarterHour, Interval::Hour, Interval::Day];
    for interval in widths {
        assert_eq!(total(&road.read(interval)), road.truth.total, "{}", interval.name());
    }
    assert_eq!(rows, road.truth.total, "one row for each vehicle");
    assert!(SlotWidth::Day.slot(start(), &TimeZone::UTC).0 < start());
    println!("{} vehicles in {} hours; {early} kB at first, {late} kB in the end", rows, hours());
}

/// Counts the passages page by page, each of which must go on where the last one ended.
fn ledger_rows(store: &Store) -> u64 {
    let (mut rows, mut place) = (0, None);
    loop {
        let page = store.passages_following(PassageFilter::default(), place, 500).wait().unwrap();
        let Some(last) = page.last() else { return rows };
        place = Some(PassagePlace::of(last));
        rows += page.len() as u64;
    }
}
