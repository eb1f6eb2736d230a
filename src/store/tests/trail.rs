//! The audit trail: pages, filters, and what a walk along the chain notices.

use super::{Fixture, at, event, plan};
use crate::record::Outcome;
use crate::store::AuditFilter;
use crate::store::audit::page_query;

fn filled(rows: i64) -> Fixture {
    let fixture = Fixture::new();
    let waiting: Vec<_> = (0..rows).map(|n| fixture.store.record_audit(event("test", n))).collect();
    for pending in waiting {
        pending.wait().unwrap();
    }
    fixture
}

/// Where the walk stops after somebody ran `sql` on the file.
fn broken_by(sql: &str) -> (u64, Option<i64>) {
    let fixture = filled(10);
    fixture.outside().execute_batch(sql).unwrap();
    let check = fixture.store.verify_audit().wait().unwrap();
    (check.rows, check.first_broken)
}

#[test]
fn an_untouched_chain_is_sound_from_the_first_row_to_the_last() {
    let fixture = Fixture::new();
    let empty = fixture.store.verify_audit().wait().unwrap();
    assert_eq!((empty.rows, empty.first_broken, empty.head_hash), (0, None, "0".repeat(64)));
    // More than the walk reads at once.
    let fixture = filled(1_001);
    let check = fixture.store.verify_audit().wait().unwrap();
    assert_eq!((check.rows, check.first_broken), (1_001, None));
    let newest = fixture.store.audit_page(AuditFilter::default(), None, 1).wait().unwrap();
    assert_eq!(newest[0].hash, check.head_hash);
}

#[test]
fn every_edited_column_shows() {
    for edit in [
        "user_id = 'mallory'",
        "user_id = NULL",
        "action = 'tesT'",
        "resource = ''",
        "outcome = 'denied'",
        "details = '{}'",
        "ip_address = NULL",
        "created_at = created_at + 1",
        "clock_synced = 0",
        "boot_id = ''",
        "monotonic_us = 8",
        "hash = zeroblob(32)",
        "hash = x'00'",
        // No UTF-8, no JSON: what a flipped bit leaves.
        "resource = CAST(x'ff41' AS TEXT)",
        "details = CAST(x'7bff' AS TEXT)",
        // The same bytes, moved over the border between two columns.
        "action = 'test/', resource = 'somewhere'",
    ] {
        assert_eq!(broken_by(&format!("UPDATE audit_log SET {edit} WHERE id = 4")), (3, Some(4)), "{edit}");
    }
}

#[test]
fn missing_swapped_and_added_rows_show() {
    assert_eq!(broken_by("DELETE FROM audit_log WHERE id = 1"), (0, Some(1)));
    assert_eq!(broken_by("DELETE FROM audit_log WHERE id = 4"), (3, Some(4)));
    assert_eq!(broken_by("DELETE FROM audit_log WHERE id = 10"), (9, Some(10)));
    assert_eq!(broken_by("DELETE FROM audit_log"), (0, Some(1)));
    let swapped = "UPDATE audit_log SET id = 99 WHERE id = 4; UPDATE audit_log SET id = 4 WHERE id = 5;
        UPDATE audit_log SET id = 5 WHERE id = 99;";
    assert_eq!(broken_by(swapped), (3, Some(4)));
    let closed_gap = "DELETE FROM audit_log WHERE id = 4; UPDATE audit_log SET id = id - 1 WHERE id > 4;";
    assert_eq!(broken_by(closed_gap), (3, Some(4)));
    let added = "INSERT INTO audit_log SELECT 11, user_id, action, resource, outcome, details, ip_address, created_at,
        clock_synced, boot_id, monotonic_us, hash FROM audit_log WHERE id = 10";
    assert_eq!(broken_by(added), (10, Some(11)));
}

#[test]
fn a_broken_chain_stays_broken_when_more_is_added() {
    let fixture = filled(10);
    fixture.outside().execute_batch("DELETE FROM audit_log WHERE id > 8").unwrap();
    fixture.store.record_audit(event("test", 11)).wait().unwrap();
    assert_eq!(fixture.store.verify_audit().wait().unwrap().first_broken, Some(9));
}

#[test]
fn pages_go_from_new_to_old_without_gap_or_overlap() {
    let fixture = filled(25);
    // At the same time as the newest one.
    fixture.store.record_audit(event("test", 24)).wait().unwrap();
    let (mut before, mut ids) = (None, Vec::new());
    loop {
        let page = fixture.store.audit_page(AuditFilter::default(), before, 10).wait().unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        ids.extend(page.iter().map(|row| row.id));
    }
    assert_eq!(ids, (1..=26).rev().collect::<Vec<_>>());
}

#[test]
fn filters_hold_together() {
    let fixture = filled(10);
    let mut other = event("auth.token", 100);
    (other.user, other.outcome, other.ip_address) = (None, Outcome::Denied, None);
    fixture.store.record_audit(other).wait().unwrap();
    let ids = |filter: AuditFilter| -> Vec<i64> {
        fixture.store.audit_page(filter, None, 100).wait().unwrap().iter().map(|row| row.id).collect()
    };
    assert_eq!(ids(AuditFilter { outcome: Some(Outcome::Denied), ..AuditFilter::default() }), [11]);
    assert_eq!(ids(AuditFilter { action: Some("auth.token".into()), ..AuditFilter::default() }), [11]);
    assert_eq!(ids(AuditFilter { from: Some(at(2)), to: Some(at(5)), ..AuditFilter::default() }), [5, 4, 3]);
    let alice = AuditFilter { user: Some("alice".into()), from: Some(at(8)), ..AuditFilter::default() };
    assert_eq!(ids(alice), [10, 9]);
    let nobody = AuditFilter { user: Some("alice".into()), outcome: Some(Outcome::Denied), ..AuditFilter::default() };
    assert!(ids(nobody).is_empty());
}

#[test]
fn a_row_comes_back_as_it_went_in() {
    let fixture = Fixture::new();
    let put = event("user.add", 3);
    fixture.store.record_audit(put.clone()).wait().unwrap();
    let got = fixture.store.audit_page(AuditFilter::default(), None, 1).wait().unwrap().remove(0);
    assert_eq!(format!("{:?}", got.event), format!("{put:?}"));
}

#[test]
fn no_page_scans_or_sorts_the_table() {
    let fixture = Fixture::new();
    let outside = fixture.outside();
    let filters = [
        (AuditFilter::default(), "audit_log_created"),
        (AuditFilter { from: Some(at(0)), to: Some(at(1)), ..AuditFilter::default() }, "audit_log_created"),
        (AuditFilter { user: Some("a".into()), ..AuditFilter::default() }, "audit_log_user"),
        (AuditFilter { user: Some("a".into()), from: Some(at(0)), ..AuditFilter::default() }, "audit_log_user"),
        (AuditFilter { action: Some("a".into()), ..AuditFilter::default() }, "audit_log_action"),
    ];
    for (filter, index) in filters {
        for before in [None, Some(5)] {
            let steps = plan(&outside, &page_query(&filter, before, 10).0);
            assert!(steps.contains(&format!("audit_log USING INDEX {index}")), "{filter:?}: {steps}");
            assert!(!steps.contains("TEMP B-TREE"), "{filter:?}: {steps}");
            let unbounded = filter.user.is_none() && filter.action.is_none() && filter.from.is_none();
            assert!(steps.contains("SEARCH") || (unbounded && before.is_none()), "{filter:?}: {steps}");
        }
    }
}
