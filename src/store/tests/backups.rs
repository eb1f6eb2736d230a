//! Automatic backups within their budget, and restoring: verified first, replaced whole.

use std::fs;

use super::{Fixture, event, outside, reopen};
use crate::error::ErrorKind;
use crate::store::{BackupSource, database, restore};

fn filled(rows: i64) -> Fixture {
    let fixture = Fixture::new();
    for n in 0..rows {
        fixture.store.record_audit(event("test", n)).wait().unwrap();
    }
    fixture
}

#[test]
fn automatic_backups_stay_in_their_budget_and_the_oldest_go_first() {
    let fixture = filled(20);
    let first = fixture.store.back_up_automatically(u64::MAX).unwrap();
    let bytes = fs::metadata(&first).unwrap().len();
    // The database and its log have about twice the size of a copy.
    let budget = bytes * 3;
    let second = fixture.store.back_up_automatically(budget).unwrap();
    let third = fixture.store.back_up_automatically(budget).unwrap();
    let fourth = fixture.store.back_up_automatically(budget).unwrap();
    let paths: Vec<_> = fixture.store.backups().into_iter().map(|backup| backup.path).collect();
    assert_eq!(paths, [second, third, fourth]);
    assert!(!first.exists());
    let left = fs::read_dir(fixture.directory.path().join("backups")).unwrap().count();
    assert_eq!(left, 3, "nothing but backups");
    assert_eq!(fixture.store.back_up_automatically(4_096).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(fixture.store.backups().len(), 3);
}

#[test]
fn a_restored_backup_is_what_it_was_and_the_replaced_database_stays() {
    let fixture = filled(20);
    let backup = fixture.store.back_up_automatically(u64::MAX).unwrap();
    fixture.store.record_audit(event("later", 0)).wait().unwrap();
    fixture.store.close();
    let restored =
        restore(BackupSource::open(&backup).unwrap(), fixture.directory.path(), &event("store.restore", 99)).unwrap();
    assert!(restored.rows.contains(&("audit_log".into(), 20)), "{:?}", restored.rows);
    assert_eq!(restored.newest, Some(super::at(19)));
    let kept = rusqlite::Connection::open(restored.kept.unwrap()).unwrap();
    let count: i64 = kept.query_row("SELECT count(*) FROM audit_log", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 21);
    let store = reopen(&fixture.directory);
    let trail = store.audit_page(Default::default(), None, 100).wait().unwrap();
    assert_eq!((trail.len(), trail[0].event.action.as_str()), (21, "store.restore"));
    assert_eq!(store.verify_audit().wait().unwrap().first_broken, None);
    assert_eq!(store.check().wait().unwrap(), Vec::<String>::new());
    assert!(!fixture.directory.path().join("restoring.db").exists());
}

#[test]
fn a_restore_takes_the_place_of_a_database_with_a_log_or_none() {
    let fixture = filled(5);
    let backup = fixture.store.back_up_automatically(u64::MAX).unwrap();
    // Not closed, as after a kill: the log must not be taken for the restored database's.
    for n in 0..20 {
        fixture.store.record_audit(event("in the log", n)).wait().unwrap();
    }
    restore(BackupSource::open(&backup).unwrap(), fixture.directory.path(), &event("store.restore", 99)).unwrap();
    assert_eq!(reopen(&fixture.directory).verify_audit().wait().unwrap().rows, 6);

    let empty = tempfile::tempdir().unwrap();
    let restored = restore(BackupSource::open(&backup).unwrap(), empty.path(), &event("store.restore", 99)).unwrap();
    assert_eq!(restored.kept, None);
    assert_eq!(reopen(&empty).verify_audit().wait().unwrap().rows, 6);
}

#[test]
fn what_is_no_sound_backup_changes_nothing() {
    let fixture = filled(50);
    let backup = fixture.store.back_up_automatically(u64::MAX).unwrap();
    let sound = fs::read(&backup).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let path = elsewhere.path().join(name);
        fs::write(&path, bytes).unwrap();
        restore(BackupSource::open(&path).unwrap(), fixture.directory.path(), &event("store.restore", 99)).unwrap_err()
    };
    assert_eq!(
        refused("text", b"not a database at all, but long enough to be looked at").kind(),
        ErrorKind::Validation
    );
    assert_eq!(refused("empty", b"").kind(), ErrorKind::Conflict);
    assert_eq!(refused("cut", &sound[..sound.len() / 2]).kind(), ErrorKind::Validation);
    let mut holed = sound.clone();
    let middle = holed.len() / 8_192 * 4_096;
    holed[middle..middle + 4_096].fill(0xa5);
    assert_eq!(refused("holed", &holed).kind(), ErrorKind::Validation);
    assert_eq!(BackupSource::open(&elsewhere.path().join("missing")).unwrap_err().kind(), ErrorKind::Validation);

    // Sound pages, but somebody edited the trail; somebody else's database; one of a newer version.
    for (sql, kind) in [
        ("UPDATE audit_log SET action = 'tampered' WHERE id = 7", ErrorKind::Validation),
        ("DROP INDEX reports_vehicle", ErrorKind::Validation),
        ("PRAGMA application_id = 5", ErrorKind::Conflict),
        ("PRAGMA user_version = 99", ErrorKind::Conflict),
    ] {
        let changed = tempfile::tempdir().unwrap();
        fs::write(changed.path().join(database::FILE_NAME), &sound).unwrap();
        outside(&changed).execute_batch(sql).unwrap();
        let path = changed.path().join(database::FILE_NAME);
        let error = restore(BackupSource::open(&path).unwrap(), fixture.directory.path(), &event("store.restore", 99))
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{sql}: {error}");
    }
    assert_eq!(fixture.store.verify_audit().wait().unwrap().rows, 50);
    let names: Vec<_> =
        fs::read_dir(fixture.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with("restoring")), "{names:?}");
}
