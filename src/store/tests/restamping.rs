//! A clock that is wrong at first, set later, and jumps: records get their right times, counts their right slots.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use super::ledger::passage;
use super::{Fixture, classification, event, report, until};
use crate::clock::{Clock, Stamp};
use crate::record::{CoverageSpan, SlotWidth};
use crate::store::{BackupPlan, Keep, PassageFilter, PassagePlace, Retention, UpkeepPlan};

/// A clock as a unit without a battery has it: 1970 at first, right once it is set.
struct Wrong(Mutex<Stamp>);

impl Wrong {
    fn new() -> Arc<Self> {
        let at = Timestamp::from_second(100).unwrap();
        Arc::new(Self(Mutex::new(Stamp {
            at,
            monotonic: Duration::from_secs(100),
            synced: false,
            boot_id: "this".into(),
        })))
    }

    /// Both clocks go on.
    fn pass(&self, seconds: u64) -> Stamp {
        let mut now = self.0.lock().unwrap();
        now.at += Duration::from_secs(seconds);
        now.monotonic += Duration::from_secs(seconds);
        now.clone()
    }

    fn set(&self, seconds: i64, synced: bool) {
        let mut now = self.0.lock().unwrap();
        (now.at, now.synced) = (super::at(seconds), synced);
    }
}

impl Clock for Wrong {
    /// A tenth of a second passes with each look.
    fn now(&self) -> Stamp {
        let mut now = self.0.lock().unwrap();
        now.at += Duration::from_millis(100);
        now.monotonic += Duration::from_millis(100);
        now.clone()
    }
}

pub(super) fn plan() -> UpkeepPlan {
    let all = Keep { age_max: None, bytes_max: u64::MAX };
    UpkeepPlan {
        backup: BackupPlan { every: None, bytes_max: 0 },
        retention: Retention { classifications: all, passages: all, reports: all, audit: all, crops: all, outbox: all },
    }
}

#[test]
fn records_of_this_boot_get_their_right_times_once_the_clock_is_set() {
    let (fixture, clock) = (Fixture::new(), Wrong::new());
    let store = &fixture.store;
    let watching_since = clock.pass(1);
    let seen_at = clock.pass(10);
    let watched_until = clock.pass(20);
    let mut seen = passage("a", 0);
    (seen.started, seen.counted, seen.ended) = (seen_at.clone(), seen_at.clone(), seen_at.clone());
    store.record_passage(seen).wait().unwrap();
    let mut earlier = passage("of another boot", 0);
    let other = Stamp { boot_id: "another".into(), ..seen_at.clone() };
    (earlier.started, earlier.counted, earlier.ended) = (other.clone(), other.clone(), other);
    store.record_passage(earlier).wait().unwrap();
    store.record_coverage(vec![CoverageSpan { from: watching_since, until: watched_until, gap: None }]).wait().unwrap();
    let (mut document, mut picture) = (report("r", "v", 0), classification("c"));
    (document.created, picture.created) = (seen_at.clone(), seen_at.clone());
    store.record_report(document, picture, event("vehicle.report", 0)).wait().unwrap();

    store.keep_up(plan(), clock.clone(), |_| {}).unwrap();
    // The wall clock is set: 1,000,000 s after the start of 2026 when the device has been up for about 131 s.
    let up = clock.pass(0).monotonic;
    clock.set(1_000_000, true);
    until("everything is re-stamped", || store.report("r").wait().unwrap().unwrap().created.synced);

    // A vehicle that was seen before and has left only now.
    let mut late = passage("late", 0);
    (late.started, late.counted, late.ended) = (seen_at.clone(), seen_at.clone(), seen_at.clone());
    store.record_passage(late).wait().unwrap();
    let page = || store.passages_page(PassageFilter::default(), None, 10).wait().unwrap();
    until("the late one too", || page().iter().any(|row| row.passage.id == "late" && row.passage.counted.synced));

    let right = super::at(1_000_000) - up + seen_at.monotonic;
    let near = |found: Timestamp| (found.as_millisecond() - right.as_millisecond()).abs() < 1_000;
    assert!(near(store.report("r").wait().unwrap().unwrap().created.at));
    let rows = page();
    let [_, moved, stayed] = [0, 1, 2].map(|at| &rows[at].passage);
    assert!(moved.id == "a" && moved.counted.synced && near(moved.counted.at) && near(moved.started.at), "{moved:?}");
    assert!(!stayed.counted.synced && stayed.counted.at.as_second() < 1_000, "{stayed:?}");
    // Its count and the time of watching are where they belong, and no longer in 1970.
    let day = super::at(1_000_000 - 86_400 * 2);
    let page = store.counts(SlotWidth::Day, day, super::at(1_000_000 + 86_400)).wait().unwrap();
    assert_eq!(page.counts.iter().map(|count| count.vehicles).sum::<u64>(), 2);
    assert_eq!(page.coverage.iter().map(|part| part.milliseconds).sum::<u64>(), 30_000);
    let wrong =
        store.counts(SlotWidth::Day, Timestamp::UNIX_EPOCH, Timestamp::from_second(86_400).unwrap()).wait().unwrap();
    assert_eq!(wrong.counts.iter().map(|count| count.vehicles).sum::<u64>(), 1, "the other boot's");
    assert!(wrong.coverage.is_empty(), "{:?}", wrong.coverage);
    until("the trail says so", || {
        let trail = store.audit_page(Default::default(), None, 10).wait().unwrap();
        trail.iter().any(|row| row.event.action == "clock.set")
    });
    assert_eq!(store.verify_audit().wait().unwrap().first_broken, None);
    assert!(fixture.metrics.store.restamped.get() >= 4);
    store.close();
}

#[test]
fn a_clock_that_jumps_back_breaks_no_order() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    for (id, seconds) in [("a", 5_000), ("b", 6_000), ("c", 100), ("d", 200)] {
        store.record_passage(passage(id, seconds)).wait().unwrap();
    }
    let uuids = |rows: Vec<crate::record::PassageRow>| rows.into_iter().map(|row| row.passage.id).collect::<Vec<_>>();
    // Streams follow the order of recording; pages go by time and lose nothing.
    assert_eq!(uuids(store.passages_recorded_after(0, 10).wait().unwrap()), ["a", "b", "c", "d"]);
    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let page = store.passages_page(PassageFilter::default(), before, 1).wait().unwrap();
        let Some(last) = page.last() else { break };
        before = Some(PassagePlace::of(last));
        paged.extend(uuids(page));
    }
    assert_eq!(paged, ["b", "a", "d", "c"]);
    for (n, seconds) in [100, 50, 10].into_iter().enumerate() {
        store.record_audit(event(&n.to_string(), seconds)).wait().unwrap();
    }
    assert_eq!(store.verify_audit().wait().unwrap().first_broken, None);
}
