//! Whatever is done to the audit trail is found where it was done, also behind what retention dropped.

use proptest::prelude::*;
use rusqlite::Connection;
use std::sync::atomic::AtomicBool;

use super::{Fixture, event, stamp};
use crate::store::trail::verify;
use crate::store::{AuditCheck, Fault, audit};

/// What somebody with an editor can do to a trail.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Edit,
    EditHash,
    Delete,
    /// With the ids behind it closed up.
    Cut,
    /// A copy of the first row, with the ids behind it moved up.
    Insert,
    Swap,
}

fn trail(rows: i64) -> Fixture {
    let fixture = Fixture::new();
    let waiting: Vec<_> = (0..rows).map(|n| fixture.store.record_audit(event(&format!("test.{n}"), n))).collect();
    for pending in waiting {
        pending.wait().unwrap();
    }
    fixture
}

/// In two steps, because ids are unique.
fn shift(connection: &Connection, from: i64, by: i64) {
    connection.execute("UPDATE audit_log SET id = -id - ?2 WHERE id >= ?1", [from, by]).unwrap();
    connection.execute("UPDATE audit_log SET id = -id WHERE id < 0", []).unwrap();
}

fn done(connection: &Connection, deed: Deed, place: i64, other: i64) {
    let copy = "INSERT INTO audit_log SELECT ?1, user_id, action, resource, outcome, details, ip_address, created_at,
        clock_synced, boot_id, monotonic_us, hash FROM audit_log WHERE id = (SELECT min(id) FROM audit_log)";
    match deed {
        Deed::Edit => drop(connection.execute("UPDATE audit_log SET resource = 'x' WHERE id = ?1", [place]).unwrap()),
        Deed::EditHash => {
            connection.execute("UPDATE audit_log SET hash = zeroblob(32) WHERE id = ?1", [place]).unwrap();
        }
        Deed::Delete => drop(connection.execute("DELETE FROM audit_log WHERE id = ?1", [place]).unwrap()),
        Deed::Cut => {
            connection.execute("DELETE FROM audit_log WHERE id = ?1", [place]).unwrap();
            shift(connection, place, -1);
        }
        Deed::Insert => {
            shift(connection, place, 1);
            connection.execute(copy, [place]).unwrap();
        }
        Deed::Swap => {
            for (from, to) in [(place, -1), (other, place), (-1, other)] {
                connection.execute("UPDATE audit_log SET id = ?2 WHERE id = ?1", [from, to]).unwrap();
            }
        }
    }
}

fn check(fixture: &Fixture) -> AuditCheck {
    verify(&fixture.outside(), &AtomicBool::new(false)).unwrap()
}

proptest! {
    #![proptest_config(super::cases(24))]

    #[test]
    fn a_deed_is_found_where_it_was_done(
        rows in 6_i64..40,
        place in 0.0..1.0_f64,
        other in 0.0..1.0_f64,
        deed in prop::sample::select(vec![
            Deed::Edit, Deed::EditHash, Deed::Delete, Deed::Cut, Deed::Insert, Deed::Swap,
        ]),
        dropped in 0_i64..4,
    ) {
        let fixture = trail(rows);
        if dropped > 0 {
            fixture.store.write(move |connection| audit::drop_through(connection, dropped, &stamp(0))).wait().unwrap();
        }
        prop_assert_eq!(check(&fixture).first_broken, None);
        // Not the row that vouches for what was dropped, at rows + 1, and two rows behind it.
        let places = rows - dropped - 3;
        let place = dropped + 2 + (place * (places - 1) as f64) as i64;
        let other = place + 1 + (other * (rows - place - 1).max(0) as f64) as i64;
        done(&fixture.outside(), deed, place, other);
        let found = check(&fixture);
        prop_assert_eq!(found.first_broken, Some(place), "{:?}", deed);
        prop_assert_eq!(found.rows, (place - dropped - 1) as u64);
        let expected = match deed {
            Deed::Edit | Deed::EditHash => Fault::Edited,
            Deed::Delete | Deed::Cut => Fault::Missing { rows: Some(1) },
            Deed::Insert => Fault::Inserted,
            Deed::Swap => Fault::Swapped { with: other },
        };
        // An edited hash is as good as an edited row behind it; what was cut out can look the same.
        if !matches!(deed, Deed::EditHash) {
            prop_assert_eq!(found.fault, Some(expected), "{:?} at {} of {}", deed, place, rows);
        }
    }
}

#[test]
fn what_goes_without_retention_saying_so_shows() {
    let fixture = trail(20);
    let outside = fixture.outside();
    // Whoever knows the layout moves the beginning of the chain along with what he deletes.
    outside
        .execute_batch(
            "UPDATE audit_base SET id = 5, hash = (SELECT hash FROM audit_log WHERE id = 5);
             DELETE FROM audit_log WHERE id <= 5;",
        )
        .unwrap();
    let found = check(&fixture);
    assert_eq!((found.first_broken, found.fault), (Some(6), Some(Fault::Unvouched)));
}

#[test]
fn the_chain_goes_on_behind_what_retention_dropped_time_and_again() {
    let fixture = trail(50);
    for through in [10, 20, 49] {
        fixture.store.write(move |connection| audit::drop_through(connection, through, &stamp(0))).wait().unwrap();
        let found = check(&fixture);
        assert_eq!((found.first_broken, found.dropped_through), (None, through));
    }
    fixture.store.record_audit(event("after", 0)).wait().unwrap();
    assert_eq!(check(&fixture).rows, 50 + 3 + 1 - 49);
}
