//! Retention by age and by bytes: the oldest first, no more than must go, whatever the clock says.

use std::time::Duration;

use proptest::prelude::*;

use super::ledger::passage;
use super::{Fixture, classification, event, report, stamp};
use crate::clock::Stamp;
use crate::store::retention::{Keep, RecordKind, RetentionStep, step};

const DAY: i64 = 86_400;
const EVERYTHING: Keep = Keep { age_max: None, bytes_max: u64::MAX };

fn aged(days: u64) -> Keep {
    Keep { age_max: Some(Duration::from_secs(days * DAY.unsigned_abs())), ..EVERYTHING }
}

/// Steps until nothing more is to go; what they did together.
fn apply(fixture: &Fixture, kind: RecordKind, keep: Keep, now: Option<i64>) -> RetentionStep {
    let mut total = RetentionStep::default();
    loop {
        let at = stamp(now.unwrap_or_default());
        let done =
            fixture.store.write(move |connection| step(connection, kind, keep, now.map(|_| &at), &at)).wait().unwrap();
        total = RetentionStep {
            deleted: total.deleted + done.deleted,
            undelivered: total.undelivered + done.undelivered,
            ..done
        };
        if !done.more {
            return total;
        }
    }
}

fn add_classification(fixture: &Fixture, id: &str, seconds: i64, synced: bool) {
    let mut row = classification(id);
    row.created = Stamp { synced, ..stamp(seconds) };
    fixture.store.record_camera(row).wait().unwrap();
}

fn ids(fixture: &Fixture, table: &str, key: &str) -> Vec<i64> {
    let outside = fixture.outside();
    let mut statement = outside.prepare(&format!("SELECT {key} FROM {table} ORDER BY {key}")).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(super::cases(16))]

    /// Times in any order, right or not: what goes is a beginning of the rows, nothing that is surely too old is left before
    /// a row that stays, and nothing goes that has only younger or uncertain rows behind it.
    #[test]
    fn what_goes_by_age_is_the_beginning(rows in prop::collection::vec((0_i64..60, any::<bool>()), 1..40)) {
        let fixture = Fixture::new();
        for (number, (days, synced)) in rows.iter().enumerate() {
            add_classification(&fixture, &number.to_string(), days * DAY, *synced);
        }
        let done = apply(&fixture, RecordKind::Classifications, aged(30), Some(60 * DAY));
        let old = |(days, synced): &(i64, bool)| *synced && *days < 30;
        let expected = rows.iter().rposition(old).map_or(0, |last| last + 1);
        prop_assert_eq!(done.deleted as usize, expected);
        let left: Vec<i64> = (expected as i64 + 1..=rows.len() as i64).collect();
        prop_assert_eq!(ids(&fixture, "classifications", "id"), left);
    }

    #[test]
    fn what_goes_by_bytes_is_the_beginning_and_no_more_than_must(count in 10_usize..60, part in 0.1..1.2_f64) {
        let fixture = Fixture::new();
        for number in 0..count {
            add_classification(&fixture, &number.to_string(), 0, true);
        }
        let before = apply(&fixture, RecordKind::Classifications, EVERYTHING, None).bytes;
        let limit = (before as f64 * part) as u64;
        let done = apply(&fixture, RecordKind::Classifications, Keep { bytes_max: limit, ..EVERYTHING }, None);
        let row = before / count as u64;
        prop_assert!(done.bytes <= limit);
        prop_assert!(done.deleted == 0 && limit >= before || done.bytes + 2 * row > limit, "{:?} of {}", done, limit);
        let left: Vec<i64> = (done.deleted as i64 + 1..=count as i64).collect();
        prop_assert_eq!(ids(&fixture, "classifications", "id"), left);
    }
}

/// What can happen to the trail of a unit that runs for years.
#[derive(Clone, Debug)]
enum Life {
    Rows(i64),
    Age(u64),
    Bytes(u64),
    ClockBack(i64),
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        4 => (1_i64..150).prop_map(Life::Rows),
        2 => (1_u64..60).prop_map(Life::Age),
        2 => (0_u64..60_000).prop_map(Life::Bytes),
        1 => (1_i64..40).prop_map(Life::ClockBack),
    ]
}

proptest! {
    #![proptest_config(super::cases(12))]

    /// However much goes, by age or by bytes and whatever the clock does meanwhile: what is left of the trail is one chain, the
    /// newest row stays, and its numbers go on.
    #[test]
    fn retention_never_breaks_the_trail(life in prop::collection::vec(life(), 1..12)) {
        let fixture = Fixture::new();
        let (mut day, mut newest) = (0, 0);
        for step in life {
            match step {
                Life::Rows(count) => {
                    let waiting: Vec<_> = (0..count)
                        .map(|n| fixture.store.record_audit(event("test", (day + n / 50) * DAY)))
                        .collect();
                    waiting.into_iter().for_each(|pending| pending.wait().unwrap());
                    (day, newest) = (day + count / 50 + 1, newest + count);
                }
                Life::Age(days) => {
                    newest += i64::from(apply(&fixture, RecordKind::Audit, aged(days), Some(day * DAY)).deleted > 0);
                }
                Life::Bytes(bytes_max) => drop(apply(&fixture, RecordKind::Audit, Keep { bytes_max, ..EVERYTHING }, None)),
                Life::ClockBack(days) => day -= days,
            }
            let check = fixture.store.verify_audit().wait().unwrap();
            prop_assert_eq!(check.first_broken, None);
            let left = ids(&fixture, "audit_log", "id");
            prop_assert_eq!(left.len() as u64, check.rows);
            prop_assert!(left.last().copied().unwrap_or_default() >= newest, "{:?} rows, {}", left.len(), newest);
            newest = left.last().copied().unwrap_or_default();
        }
    }
}

#[test]
fn nothing_is_too_old_by_a_clock_that_is_not_trusted() {
    let fixture = Fixture::new();
    add_classification(&fixture, "a", 0, true);
    assert_eq!(apply(&fixture, RecordKind::Classifications, aged(1), None).deleted, 0);
    // Back in time: nothing is too old either.
    assert_eq!(apply(&fixture, RecordKind::Classifications, aged(1), Some(-900 * DAY)).deleted, 0);
    assert_eq!(apply(&fixture, RecordKind::Classifications, aged(1), Some(2 * DAY)).deleted, 1);
}

#[test]
fn each_kind_goes_by_age_and_counts_stay() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    for n in 0..120 {
        let mut seen = passage(&n.to_string(), n * DAY);
        seen.crop = Some(vec![0; 50]);
        store.record_passage(seen).wait().unwrap();
        let mut seen = classification(&n.to_string());
        seen.created = stamp(n * DAY);
        store
            .record_report(report(&n.to_string(), "v", n * DAY), seen, event("vehicle.report", n * DAY))
            .wait()
            .unwrap();
    }
    let now = Some(120 * DAY);
    assert_eq!(apply(&fixture, RecordKind::Crops, aged(10), now).deleted, 110);
    assert_eq!((fixture.count("passages"), fixture.count("passage_crops")), (120, 10));
    assert_eq!(apply(&fixture, RecordKind::Passages, aged(5), now).deleted, 115);
    assert_eq!((fixture.count("passages"), fixture.count("passage_crops")), (5, 5));
    let counts: i64 = fixture
        .outside()
        .query_row("SELECT sum(vehicles) FROM counts WHERE width_s = 86400", [], |row| row.get(0))
        .unwrap();
    assert_eq!(counts, 120);
    assert_eq!(apply(&fixture, RecordKind::Reports, aged(20), now).deleted, 100);
    assert_eq!(apply(&fixture, RecordKind::Audit, aged(20), now).deleted, 100);
    let check = store.verify_audit().wait().unwrap();
    assert_eq!((check.first_broken, check.dropped_through), (None, 100));
    assert_eq!(store.check().wait().unwrap(), Vec::<String>::new());
}

#[test]
fn the_outbox_gives_up_what_was_delivered_first() {
    let fixture = Fixture::new();
    fixture
        .outside()
        .execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             INSERT INTO outbox (kind, body, created_at) SELECT 'passage', hex(zeroblob(200)), i FROM n;
             UPDATE outbox_head SET acked = 600;",
        )
        .unwrap();
    let all = apply(&fixture, RecordKind::Outbox, EVERYTHING, None).bytes;
    let half = apply(&fixture, RecordKind::Outbox, Keep { bytes_max: all / 2, ..EVERYTHING }, None);
    assert_eq!((half.deleted, half.undelivered), (500, 0));
    let less = apply(&fixture, RecordKind::Outbox, Keep { bytes_max: all / 10, ..EVERYTHING }, None);
    assert_eq!((less.deleted, less.undelivered), (400, 300));
}

#[test]
fn the_estimate_is_about_what_sqlite_uses() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let mut waiting = Vec::new();
    for n in 0..600 {
        let id = uuid::Uuid::new_v4().to_string();
        let mut seen = classification(&id);
        seen.predictions[0].top = vec![seen.predictions[0].top[0].clone(); 5];
        waiting.push(store.record_report(
            report(&id, &format!("vehicle-{}", n % 50), n),
            seen,
            event("vehicle.report", n),
        ));
    }
    waiting.into_iter().for_each(|pending| pending.wait().unwrap());
    for n in 0..600 {
        store.record_passage(passage(&uuid::Uuid::new_v4().to_string(), n)).wait().unwrap();
    }
    for kind in [RecordKind::Classifications, RecordKind::Passages, RecordKind::Reports, RecordKind::Audit] {
        let estimate = apply(&fixture, kind, EVERYTHING, None).bytes;
        let sql = "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = ?1)";
        let used: i64 = fixture.outside().query_row(sql, [kind.table()], |row| row.get(0)).unwrap();
        let ratio = estimate as f64 / used as f64;
        assert!((0.65..1.35).contains(&ratio), "{kind:?}: {estimate} estimated, {used} used");
    }
}
