//! What the central site is told of watching: everything once, cut at full five minutes, whatever ends the unit.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Fixture, at, settings, stamp};
use crate::clock::Stamp;
use crate::record::{CoverageSpan, Event, Gap, SlotWidth};
use crate::store::{EventEncoder, Store};

/// (milliseconds after the start of 2026 from and until, state)
type Told = (i64, i64, String);

fn encoder() -> EventEncoder {
    let millisecond = |at: Timestamp| at.as_millisecond() - super::at(0).as_millisecond();
    EventEncoder::new(move |event| match event {
        Event::Coverage(CoverageSpan { from, until, gap }) => serde_json::to_string(&(
            millisecond(from.at),
            millisecond(until.at),
            gap.map_or("watching", Gap::name).to_owned(),
        )),
        _ => serde_json::to_string("other"),
    })
}

fn synced() -> Fixture {
    Fixture::with(|settings| settings.events = Some(encoder()))
}

fn told(store: &Store) -> Vec<Told> {
    let rows = store.outbox_batch(0, usize::MAX, usize::MAX).wait().unwrap();
    rows.iter().map(|row| serde_json::from_str(&row.body).unwrap()).collect()
}

fn moment(milliseconds: i64) -> Stamp {
    let at = at(0) + SignedDuration::from_millis(milliseconds);
    Stamp { at, monotonic: Duration::from_millis(milliseconds.unsigned_abs()), ..stamp(0) }
}

/// Stretches of ten seconds, as the watch keeper stores them.
fn watch(store: &Store, from: i64, until: i64, gap: Option<Gap>) {
    for second in (from..until).step_by(10) {
        let span = CoverageSpan { from: moment(second * 1_000), until: moment((second + 10).min(until) * 1_000), gap };
        store.record_coverage(vec![span]).wait().unwrap();
    }
}

fn stretch(from: i64, until: i64, state: &str) -> Told {
    (from * 1_000, until * 1_000, state.to_owned())
}

#[test]
fn a_state_is_told_when_it_changes_and_at_full_five_minutes() {
    let fixture = synced();
    let store = &fixture.store;
    watch(store, 20, 610, None);
    assert_eq!(told(store), [stretch(20, 300, "watching"), stretch(300, 600, "watching")]);
    watch(store, 610, 640, Some(Gap::Frozen));
    watch(store, 640, 650, None);
    let rest = [stretch(600, 610, "watching"), stretch(610, 640, "frozen")];
    assert_eq!(told(store)[2..], rest);
    store.end_coverage().wait().unwrap();
    assert_eq!(told(store)[4..], [stretch(640, 650, "watching")]);
    store.end_coverage().wait().unwrap();
    assert_eq!((told(store).len(), fixture.count("watch_head")), (5, 0));
}

#[test]
fn what_a_power_cut_left_open_is_told_after_the_next_start() {
    let fixture = synced();
    watch(&fixture.store, 0, 30, None);
    assert!(told(&fixture.store).is_empty());
    // Not closed, as after a kill: another process opens what is there.
    let settings = crate::store::StoreSettings { events: Some(encoder()), ..settings(&fixture.directory) };
    let next = Store::open(settings, fixture.metrics.clone()).unwrap();
    let boot = |milliseconds| Stamp { boot_id: "next".into(), ..moment(milliseconds) };
    // Even if the clock says that no time has passed.
    next.record_coverage(vec![CoverageSpan { from: boot(30_000), until: boot(40_000), gap: None }]).wait().unwrap();
    assert_eq!(told(&next), [stretch(0, 30, "watching")]);
    next.end_coverage().wait().unwrap();
    assert_eq!(told(&next)[1..], [stretch(30, 40, "watching")]);
}

#[test]
fn a_long_stretch_is_told_in_pieces_and_without_a_central_site_nothing_is_kept() {
    let fixture = synced();
    let spans = vec![CoverageSpan { from: moment(1), until: moment(900_001), gap: Some(Gap::Overload) }];
    fixture.store.record_coverage(spans.clone()).wait().unwrap();
    let pieces = [(1, 300_000), (300_000, 600_000), (600_000, 900_000)];
    assert_eq!(told(&fixture.store), pieces.map(|(from, until)| (from, until, "overload".to_owned())));
    let alone = Fixture::new();
    alone.store.record_coverage(spans).wait().unwrap();
    assert_eq!((alone.count("outbox"), alone.count("watch_head")), (0, 0));
}

proptest! {
    #![proptest_config(super::cases(24))]

    /// Whatever follows on whatever, in whatever portions: the central site can add up the same coverage as the unit has.
    #[test]
    fn what_is_told_is_what_the_unit_has_itself(
        stretches in prop::collection::vec((1_i64..400_000, 0_usize..4, any::<bool>()), 1..40),
    ) {
        let fixture = synced();
        let (mut from, mut portion) = (123_456, Vec::new());
        for (milliseconds, state, stored_at_once) in stretches {
            let gap = [None, Some(Gap::Frozen), Some(Gap::Off), None][state];
            portion.push(CoverageSpan { from: moment(from), until: moment(from + milliseconds), gap });
            from += milliseconds;
            if stored_at_once {
                fixture.store.record_coverage(std::mem::take(&mut portion)).wait().unwrap();
            }
        }
        fixture.store.record_coverage(portion).wait().unwrap();
        fixture.store.end_coverage().wait().unwrap();
        let mut sums = BTreeMap::new();
        let (mut end, mut before) = (123_456, String::new());
        for (from, until, state) in told(&fixture.store) {
            prop_assert_eq!(from, end, "without holes and overlaps");
            prop_assert_eq!(from.div_euclid(300_000), (until - 1).div_euclid(300_000), "within one slot");
            prop_assert!(state != before || from % 300_000 == 0, "no more of them than there must be");
            *sums.entry((from.div_euclid(300_000), state.clone())).or_insert(0) += until - from;
            (end, before) = (until, state);
        }
        prop_assert_eq!(end, from);
        let page = fixture.store.counts(SlotWidth::FiveMinutes, at(0), at(86_400)).wait().unwrap();
        let own: BTreeMap<_, _> = page
            .coverage
            .iter()
            .map(|part| {
                let slot = (part.slot.as_second() - at(0).as_second()) / 300;
                ((slot, part.gap.map_or("watching", Gap::name).to_owned()), part.milliseconds as i64)
            })
            .collect();
        prop_assert_eq!(sums, own);
    }
}
