//! Databases that hold what this program never put there.

use std::sync::Arc;

use super::{Fixture, event, outside, settings};
use crate::error::ErrorKind;
use crate::metrics::Metrics;
use crate::store::{BackupSource, Store, damaged_files, database, restore};

/// What somebody put into a database, and what it is called in the refusal.
const FOREIGN: [(&str, &str); 5] = [
    (
        "CREATE TRIGGER undo AFTER UPDATE OF role ON users BEGIN UPDATE users SET role = 'admin' WHERE id = old.id; END",
        "trigger undo on users",
    ),
    ("CREATE VIEW seen AS SELECT * FROM users", "view seen"),
    ("CREATE TABLE extra (a)", "table extra"),
    ("CREATE UNIQUE INDEX once ON reports (vehicle_id)", "index once on reports"),
    ("ALTER TABLE users ADD COLUMN note TEXT", "altered table users"),
];

#[test]
fn a_database_with_foreign_parts_is_refused_with_their_names_and_not_set_aside() {
    for (sql, name) in FOREIGN {
        let fixture = Fixture::new();
        fixture.store.close();
        outside(&fixture.directory).execute_batch(sql).unwrap();
        for open in [Store::open, Store::open_or_set_aside] {
            let refused = open(settings(&fixture.directory), Arc::new(Metrics::new().unwrap())).err().unwrap();
            assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
            assert!(refused.message().contains(name) && refused.message().contains("unit.db"), "{refused}");
        }
        assert!(damaged_files(fixture.directory.path()).is_empty(), "{name}");
    }
}

#[test]
fn a_backup_with_foreign_parts_is_refused_with_their_names() {
    for (sql, name) in FOREIGN {
        let fixture = Fixture::new();
        fixture.store.record_audit(event("kept", 0)).wait().unwrap();
        fixture.store.close();
        let elsewhere = tempfile::tempdir().unwrap();
        let backup = elsewhere.path().join(database::FILE_NAME);
        std::fs::copy(fixture.directory.path().join(database::FILE_NAME), &backup).unwrap();
        outside(&elsewhere).execute_batch(sql).unwrap();
        let source = BackupSource::open(&backup).unwrap();
        let refused = restore(source, fixture.directory.path(), &event("store.restore", 1)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        let said = refused.message();
        assert!(said.contains(name) && said.contains(backup.to_str().unwrap()), "{said}");
        let store = super::reopen(&fixture.directory);
        assert_eq!(store.verify_audit().wait().unwrap().rows, 1, "nothing was changed");
    }
}

#[test]
fn a_check_names_what_was_put_there_while_the_unit_runs() {
    let fixture = Fixture::new();
    fixture.outside().execute_batch(FOREIGN[0].0).unwrap();
    let problems = fixture.store.check().wait().unwrap();
    assert_eq!(problems, ["not of this program: trigger undo on users"]);
}
