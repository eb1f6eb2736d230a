//! The outbox: what is written with records, acknowledged, kept and renumbered.

use jiff::SignedDuration;

use crate::record::Event;
use crate::store::tests::{Fixture, at, classification, event, report};
use crate::store::{Epoch, EventEncoder, OutboxKeep, Store};

fn encoder() -> EventEncoder {
    EventEncoder::new(|event| match event {
        Event::Classification(classification) => serde_json::to_string(&classification.id),
        Event::Report(report) => serde_json::to_string(&report.id),
        _ => serde_json::to_string("other"),
    })
}

fn synced() -> Fixture {
    Fixture::with(|settings| settings.events = Some(encoder()))
}

const KEEP_ALL: OutboxKeep = OutboxKeep { rows_max: i64::MAX, since: jiff::Timestamp::MIN };

fn add(store: &Store, count: usize) {
    for number in 0..count {
        let record = classification(&uuid::Uuid::new_v4().to_string());
        store.record_classifications(vec![record], event("vehicle.classify", number as i64)).wait().unwrap();
    }
}

#[test]
fn events_are_written_with_their_records_and_in_their_order() {
    let fixture = synced();
    let store = &fixture.store;
    store.record_classifications(vec![classification("a"), classification("b")], event("x", 0)).wait().unwrap();
    store.record_report(report("r", "v", 0), classification("c"), event("x", 0)).wait().unwrap();
    let rows = store.outbox_batch(0, 10, usize::MAX).wait().unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.seq, row.kind.as_str(), row.body.as_str())).collect();
    assert_eq!(
        told,
        [
            (1, "classification", "\"a\""),
            (2, "classification", "\"b\""),
            (3, "classification", "\"c\""),
            (4, "report", "\"r\"")
        ]
    );
}

#[test]
fn a_record_that_is_refused_leaves_no_event_and_no_gap() {
    let fixture = synced();
    let store = &fixture.store;
    store.record_classifications(vec![classification("a")], event("x", 0)).wait().unwrap();
    let twice = vec![classification("b"), classification("a")];
    assert!(store.record_classifications(twice, event("x", 0)).wait().is_err());
    store.record_classifications(vec![classification("c")], event("x", 0)).wait().unwrap();
    let rows = store.outbox_batch(0, 10, usize::MAX).wait().unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.seq, row.body.as_str())).collect();
    assert_eq!(told, [(1, "\"a\""), (2, "\"c\"")]);
}

#[test]
fn without_a_central_site_nothing_is_kept_for_it() {
    let fixture = Fixture::new();
    add(&fixture.store, 2);
    assert_eq!(fixture.count("outbox"), 0);
    let head = fixture.store.outbox_head().wait().unwrap();
    assert_eq!((head.acked, head.newest, head.oldest, head.waiting()), (0, 0, 1, 0));
}

#[test]
fn a_batch_ends_at_its_rows_or_its_bytes() {
    let fixture = synced();
    add(&fixture.store, 10);
    assert_eq!(fixture.store.outbox_batch(2, 3, usize::MAX).wait().unwrap().len(), 3);
    // 38 bytes a body: a UUID in quotes.
    assert_eq!(fixture.store.outbox_batch(0, 100, 60).wait().unwrap().len(), 2);
    assert_eq!(fixture.store.outbox_batch(10, 100, 60).wait().unwrap().len(), 0);
}

#[test]
fn delivered_rows_are_kept_as_asked_and_undelivered_ones_always() {
    let fixture = synced();
    let store = &fixture.store;
    add(store, 10);
    store.outbox_ack(6, OutboxKeep { rows_max: 4, ..KEEP_ALL }).wait().unwrap();
    let head = store.outbox_head().wait().unwrap();
    assert_eq!((head.oldest, head.acked, head.newest, head.waiting()), (3, 6, 10, 4));
    store.outbox_ack(8, OutboxKeep { since: at(1_000), ..KEEP_ALL }).wait().unwrap();
    let head = store.outbox_head().wait().unwrap();
    assert_eq!((head.oldest, head.acked, head.waiting()), (9, 8, 2));
    assert!(head.waiting_since.is_some());
    store.outbox_ack(10, OutboxKeep { rows_max: 0, ..KEEP_ALL }).wait().unwrap();
    let head = store.outbox_head().wait().unwrap();
    assert_eq!((head.oldest, head.newest, head.waiting(), head.waiting_since), (11, 10, 0, None));
    add(store, 1);
    assert_eq!(store.outbox_batch(0, 9, usize::MAX).wait().unwrap()[0].seq, 11, "a number is never used again");
}

#[test]
fn an_older_acknowledgement_takes_nothing_back_and_a_rewind_does() {
    let fixture = synced();
    let store = &fixture.store;
    add(store, 5);
    store.outbox_ack(4, KEEP_ALL).wait().unwrap();
    store.outbox_ack(2, KEEP_ALL).wait().unwrap();
    assert_eq!(store.outbox_head().wait().unwrap().acked, 4);
    store.outbox_rewind(1).wait().unwrap();
    assert_eq!(store.outbox_head().wait().unwrap().waiting(), 4);
}

#[test]
fn a_fork_gives_the_rest_a_new_epoch_and_forgets_later_ones() {
    let fixture = synced();
    let store = &fixture.store;
    add(store, 9);
    store.outbox_fork(6, 1).wait().unwrap();
    store.outbox_fork(4, 2).wait().unwrap();
    let head = store.outbox_head().wait().unwrap();
    assert_eq!(head.epochs, [Epoch { first: 1, number: 0 }, Epoch { first: 4, number: 2 }]);
    assert_eq!(head.acked, 3);
}

#[test]
fn the_newest_row_before_a_moment_is_found() {
    let fixture = synced();
    let store = &fixture.store;
    for second in 0..20 {
        let mut record = classification(&format!("c{second}"));
        record.created.at = at(second);
        store.record_classifications(vec![record], event("x", second)).wait().unwrap();
    }
    for second in [0, 1, 7, 19, 20, 50] {
        assert_eq!(store.outbox_before(at(second)).wait().unwrap(), second.min(20));
    }
    assert_eq!(store.outbox_before(at(0) - SignedDuration::from_hours(1)).wait().unwrap(), 0);
}
