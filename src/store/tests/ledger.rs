//! Passages, counts and coverage.

use std::collections::BTreeMap;

use super::{Fixture, at, plan, stamp};
use crate::record::{CoverageSpan, Gap, LabelProbability, Passage, SlotWidth};
use crate::store::passages::{BETWEEN, Page, RECORDED_AFTER, page_query};
use crate::store::{CountsPage, PassageFilter, PassagePlace, counts};

/// A car northwards that was counted `seconds` after the start of 2026.
pub(super) fn passage(id: &str, seconds: i64) -> Passage {
    Passage {
        id: id.into(),
        class: "car".into(),
        confidence: 0.75,
        votes: vec![LabelProbability { label: "car".into(), probability: 0.75 }],
        crops: 3,
        line: Some("gate".into()),
        direction: Some("north".into()),
        lane: None,
        speed_kmh: Some(48.5),
        started: stamp(seconds - 2),
        ended: stamp(seconds + 1),
        counted: stamp(seconds),
        model: "vehicle-type".into(),
        model_version: "1.0.0".into(),
        crop: None,
    }
}

fn span(from: i64, until: i64, gap: Option<Gap>) -> CoverageSpan {
    CoverageSpan { from: stamp(from), until: stamp(until), gap }
}

fn read(fixture: &Fixture, width: SlotWidth, from: i64, until: i64) -> CountsPage {
    fixture.store.counts(width, at(from), at(until)).wait().unwrap()
}

/// (seconds of the slot's start, vehicles) of the whole first week of 2026 and a day before.
fn vehicles(fixture: &Fixture, width: SlotWidth) -> Vec<(i64, u64)> {
    let page = read(fixture, width, -86_400, 7 * 86_400);
    page.counts.iter().map(|count| (count.slot.as_second() - at(0).as_second(), count.vehicles)).collect()
}

/// Milliseconds by slot (seconds) and gap.
fn covered(fixture: &Fixture, width: SlotWidth) -> BTreeMap<(i64, Option<Gap>), u64> {
    let page = read(fixture, width, -86_400, 7 * 86_400);
    let key = |slot: jiff::Timestamp| slot.as_second() - at(0).as_second();
    page.coverage.iter().map(|part| ((key(part.slot), part.gap), part.milliseconds)).collect()
}

#[test]
fn a_passage_is_one_row_and_counts_once_however_often_it_is_recorded() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    assert!(store.record_passage(passage("a", 10)).wait().unwrap());
    let mut again = passage("a", 4_000);
    again.class = "bus".into();
    assert!(!store.record_passage(again).wait().unwrap());
    let rows = store.passages_page(PassageFilter::default(), None, 10).wait().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].passage, passage("a", 10));
    for width in SlotWidth::ALL {
        assert_eq!(vehicles(&fixture, width), [(0, 1)], "{width:?}");
    }
}

#[test]
fn passage_and_count_are_written_together_or_not_at_all() {
    let fixture = Fixture::new();
    fixture.outside().execute_batch("ALTER TABLE counts RENAME TO gone").unwrap();
    fixture.store.record_passage(passage("a", 10)).wait().unwrap_err();
    assert_eq!(fixture.count("passages"), 0);
    fixture.outside().execute_batch("ALTER TABLE gone RENAME TO counts").unwrap();
    assert!(fixture.store.record_passage(passage("a", 10)).wait().unwrap());
    assert_eq!((fixture.count("passages"), fixture.count("counts")), (1, 3));
}

#[test]
fn every_width_counts_every_passage() {
    let fixture = Fixture::new();
    for (n, seconds) in [0, 299, 300, 3_599, 3_600, 86_399, 86_400].into_iter().enumerate() {
        fixture.store.record_passage(passage(&n.to_string(), seconds)).wait().unwrap();
    }
    assert_eq!(
        vehicles(&fixture, SlotWidth::FiveMinutes),
        [(0, 2), (300, 1), (3_300, 1), (3_600, 1), (86_100, 1), (86_400, 1)]
    );
    assert_eq!(vehicles(&fixture, SlotWidth::Hour), [(0, 4), (3_600, 1), (82_800, 1), (86_400, 1)]);
    assert_eq!(vehicles(&fixture, SlotWidth::Day), [(0, 6), (86_400, 1)]);
}

#[test]
fn lines_directions_and_classes_are_counted_apart() {
    let fixture = Fixture::new();
    for (n, (line, direction, class)) in
        [(Some("gate"), Some("north"), "car"), (Some("gate"), None, "car"), (None, None, "bus"), (None, None, "bus")]
            .into_iter()
            .enumerate()
    {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let kind =
            Passage { line: text(line), direction: text(direction), class: class.into(), ..passage(&n.to_string(), 5) };
        fixture.store.record_passage(kind).wait().unwrap();
    }
    let page = read(&fixture, SlotWidth::Hour, 0, 3_600);
    let kinds: Vec<_> = page
        .counts
        .iter()
        .map(|count| (count.line.as_deref(), count.direction.as_deref(), count.class.as_str(), count.vehicles))
        .collect();
    let expected = [(None, None, "bus", 2), (Some("gate"), None, "car", 1), (Some("gate"), Some("north"), "car", 1)];
    assert_eq!(kinds, expected);
    let exactly = fixture.store.passages_between(at(5), at(6)).wait().unwrap();
    assert_eq!(exactly.iter().map(|count| count.vehicles).collect::<Vec<_>>(), [2, 1, 1]);
    assert!(fixture.store.passages_between(at(6), at(60)).wait().unwrap().is_empty());
}

#[test]
fn watching_is_split_at_slot_edges_and_loses_no_millisecond() {
    let fixture = Fixture::new();
    // Ten seconds at a time, each at an odd fraction of a second, over two hours.
    let moment = |n: i64| {
        let mut stamp = stamp(0);
        stamp.at = jiff::Timestamp::from_microsecond(at(0).as_microsecond() + n * 10_000_333).unwrap();
        stamp
    };
    let spans = (0..720)
        .map(|n| CoverageSpan { from: moment(n), until: moment(n + 1), gap: (n == 100).then_some(Gap::Frozen) })
        .collect();
    fixture.store.record_coverage(spans).wait().unwrap();
    let slots = covered(&fixture, SlotWidth::FiveMinutes);
    let watched = |slot| slots.get(&(slot, None)).copied();
    assert_eq!((watched(0), watched(600), watched(6_900)), (Some(300_000), Some(300_000), Some(300_000)));
    let frozen: u64 = slots.iter().filter(|((_, gap), _)| gap.is_some()).map(|(_, milliseconds)| milliseconds).sum();
    assert!((10_000..=10_001).contains(&frozen), "{frozen}");
    for width in SlotWidth::ALL {
        assert_eq!(covered(&fixture, width).values().sum::<u64>(), 7_200_239, "{width:?}");
    }
    let page = read(&fixture, SlotWidth::Hour, 0, 3_600);
    assert_eq!((page.first_watch, page.watched_until), (Some(at(0)), moment(720).at));
}

#[test]
fn a_stretch_that_cannot_be_true_is_refused_and_an_empty_one_is_nothing() {
    let fixture = Fixture::new();
    fixture.store.record_coverage(vec![span(0, 10, None), span(0, 86_400 * 365, None)]).wait().unwrap_err();
    assert_eq!(fixture.count("coverage"), 0, "all or nothing");
    fixture.store.record_coverage(vec![span(10, 10, None), span(10, 5, None)]).wait().unwrap();
    assert_eq!(fixture.count("coverage"), 0);
}

#[test]
fn what_was_seen_before_the_clock_was_right_can_be_moved() {
    let fixture = Fixture::new();
    let unsynced = |from: i64, until: i64, gap| {
        let mut span = span(from, until, gap);
        for (stamp, seconds) in [(&mut span.from, from), (&mut span.until, until)] {
            (stamp.synced, stamp.monotonic) = (false, std::time::Duration::from_secs(seconds.unsigned_abs()));
        }
        span
    };
    let spans = vec![unsynced(0, 10, None), unsynced(10, 20, None), unsynced(20, 30, Some(Gap::Frozen))];
    fixture.store.record_coverage(spans).wait().unwrap();
    assert_eq!(fixture.count("watch_unsynced"), 2, "a stretch that goes on makes its row longer");
    fixture.store.record_coverage(vec![span(3_600, 3_610, None)]).wait().unwrap();
    assert_eq!(fixture.count("watch_unsynced"), 2);
    // Taken away again, nothing is left of it.
    let moved = fixture.store.write(|connection| {
        super::super::coverage::cover(connection, at(0), at(20), None, -1)?;
        super::super::coverage::cover(connection, at(20), at(30), Some(Gap::Frozen), -1)
    });
    moved.wait().unwrap();
    assert_eq!(covered(&fixture, SlotWidth::Hour), BTreeMap::from([((3_600, None), 10_000)]));
}

#[test]
fn hours_of_an_earlier_version_become_those_of_the_site() {
    let fixture = Fixture::new();
    fixture.store.record_passage(passage("a", 2_000)).wait().unwrap();
    fixture.store.record_coverage(vec![span(0, 7_200, None)]).wait().unwrap();
    // An earlier version kept the hours of UTC, whatever the zone.
    let earlier = fixture.store.write(|connection| {
        connection.execute("UPDATE ledger_head SET day_zone = 'Asia/Kolkata'", [])?;
        Ok(())
    });
    earlier.wait().unwrap();
    assert_eq!(vehicles(&fixture, SlotWidth::Hour), [(0, 1)]);
    fixture.store.set_day_zone("Asia/Kolkata").wait().unwrap();
    assert_eq!(vehicles(&fixture, SlotWidth::Hour), [(1_800, 1)]);
    let hours = covered(&fixture, SlotWidth::Hour);
    let expected = [((-1_800, None), 1_800_000), ((1_800, None), 3_600_000), ((5_400, None), 1_800_000)];
    assert_eq!(hours, BTreeMap::from(expected));
}

#[test]
fn days_begin_where_the_unit_is_also_when_it_is_moved() {
    let fixture = Fixture::new();
    // 2025-12-31T23:30Z is 2026 in Berlin already.
    fixture.store.record_passage(passage("a", -1_800)).wait().unwrap();
    fixture.store.record_coverage(vec![span(-1_800, 1_800, None)]).wait().unwrap();
    assert_eq!(vehicles(&fixture, SlotWidth::Day), [(-86_400, 1)]);
    fixture.store.set_day_zone("Europe/Berlin").wait().unwrap();
    assert_eq!(vehicles(&fixture, SlotWidth::Day), [(-3_600, 1)]);
    assert_eq!(covered(&fixture, SlotWidth::Day), BTreeMap::from([((-3_600, None), 3_600_000)]));
    fixture.store.record_passage(passage("b", 1_800)).wait().unwrap();
    assert_eq!(vehicles(&fixture, SlotWidth::Day), [(-3_600, 2)]);
    assert_eq!(vehicles(&fixture, SlotWidth::FiveMinutes), [(-1_800, 1), (1_800, 1)]);
    let unknown = fixture.store.set_day_zone("Mars/Olympus").wait().unwrap_err();
    assert!(unknown.message().contains("unit.timezone"), "{unknown}");
}

#[test]
fn pages_go_both_ways_through_time_and_once_in_the_order_of_recording() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    assert_eq!(store.passage_ids().wait().unwrap(), None);
    // Recorded in another order than counted; two at the same moment.
    for (id, seconds) in [("c", 30), ("a", 10), ("b", 20), ("b2", 20), ("d", 40)] {
        store.record_passage(passage(id, seconds)).wait().unwrap();
    }
    let names = |rows: &[crate::record::PassageRow]| {
        rows.iter().map(|row| row.passage.id.clone()).collect::<Vec<_>>().join(" ")
    };
    let all = PassageFilter::default;
    let first = store.passages_page(all(), None, 2).wait().unwrap();
    let second = store.passages_page(all(), Some(PassagePlace::of(&first[1])), 2).wait().unwrap();
    let third = store.passages_page(all(), Some(PassagePlace::of(&second[1])), 2).wait().unwrap();
    assert_eq!([names(&first), names(&second), names(&third)], ["d c", "b2 b", "a"]);
    let first = store.passages_following(all(), None, 3).wait().unwrap();
    let second = store.passages_following(all(), Some(PassagePlace::of(&first[2])), 3).wait().unwrap();
    assert_eq!([names(&first), names(&second)], ["a b b2", "c d"]);
    let recorded = store.passages_recorded_after(1, 3).wait().unwrap();
    assert_eq!((names(&recorded), recorded[0].id), ("a b b2".into(), 2));
    assert_eq!(store.passage_ids().wait().unwrap(), Some((1, 5)));
    let some = PassageFilter { from: Some(at(20)), to: Some(at(40)), confidence_min: Some(0.75), ..all() };
    assert_eq!(names(&store.passages_page(some, None, 10).wait().unwrap()), "c b2 b");
    let none = PassageFilter { direction: Some("south".into()), ..all() };
    assert!(store.passages_page(none, None, 10).wait().unwrap().is_empty());
}

#[test]
fn crops_are_kept_within_their_budget() {
    let fixture = Fixture::new();
    for n in 0..5 {
        let crop = Some(vec![n; 3_000]);
        fixture.store.record_passage(Passage { crop, ..passage(&n.to_string(), 10) }).wait().unwrap();
    }
    let kept = |id: &str| fixture.store.passage_crop(id).wait().unwrap().map(|jpeg| jpeg.len());
    assert_eq!(["0", "1", "2", "3", "4"].map(kept), [None, None, Some(3_000), Some(3_000), Some(3_000)]);
    let huge = Some(vec![0; 10_001]);
    fixture.store.record_passage(Passage { crop: huge, ..passage("huge", 10) }).wait().unwrap();
    assert_eq!((kept("huge"), fixture.count("passage_crops"), fixture.count("passages")), (None, 0, 6));
}

#[test]
fn every_query_of_the_ledger_comes_from_an_index() {
    let fixture = Fixture::new();
    let outside = fixture.outside();
    let steps = |sql: &str| plan(&outside, sql);
    assert_eq!(steps(counts::COUNTS), "SEARCH counts USING PRIMARY KEY (width_s=? AND slot>? AND slot<?)");
    assert_eq!(steps(counts::COVERAGE), "SEARCH coverage USING PRIMARY KEY (width_s=? AND slot>? AND slot<?)");
    assert_eq!(steps(RECORDED_AFTER), "SEARCH passages USING INTEGER PRIMARY KEY (rowid>?)");
    assert!(steps(BETWEEN).starts_with("SEARCH passages USING INDEX passages_counted (counted_at>? AND counted_at<?)"));
    let place = Some(PassagePlace { counted_us: 1, id: 1 });
    for page in [Page::Before(place), Page::After(place), Page::Before(None)] {
        let range = PassageFilter { from: Some(at(0)), to: Some(at(1)), ..PassageFilter::default() };
        let class = PassageFilter { class: Some("car".into()), ..range.clone() };
        for (filter, index) in [
            (PassageFilter::default(), "USING INDEX passages_counted"),
            (range, "USING INDEX passages_counted (counted_at>? AND counted_at<?"),
            (class, "USING INDEX passages_class (class=?"),
        ] {
            let steps = steps(&page_query(&filter, page, 10).0);
            assert!(steps.contains(index) && !steps.contains("TEMP B-TREE"), "{filter:?}\n{steps}");
        }
    }
}
