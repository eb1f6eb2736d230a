//! Making, migrating, refusing, setting aside, checking and copying the database.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::{Fixture, event, outside, reopen, settings};
use crate::error::ErrorKind;
use crate::metrics::Metrics;
use crate::store::{Store, database};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn nobody_else_can_read_what_is_stored() {
    let parent = tempfile::tempdir().unwrap();
    let mut settings = settings(&parent);
    settings.directory = parent.path().join("deep/state");
    let store = Store::open(settings.clone(), Arc::new(Metrics::new().unwrap())).unwrap();
    store.record_audit(event("test", 0)).wait().unwrap();
    assert_eq!(mode(&settings.directory), 0o700);
    for name in ["unit.db", "unit.db-wal", "unit.db-shm"] {
        assert_eq!(mode(&settings.directory.join(name)), 0o600, "{name}");
    }
}

#[test]
fn what_was_stored_is_there_after_closing_and_opening_again() {
    let fixture = Fixture::new();
    fixture.store.record_audit(event("kept", 0)).wait().unwrap();
    fixture.store.close();
    let rows = reopen(&fixture.directory).audit_page(Default::default(), None, 10).wait().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].event.action, "kept");
}

#[test]
fn every_table_is_strict_and_every_connection_is_set_up() {
    let fixture = Fixture::new();
    let loose: i64 = fixture
        .outside()
        .query_row("SELECT count(*) FROM pragma_table_list WHERE NOT strict AND name NOT LIKE 'sqlite_%'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(loose, 0);
    let set_up = |connection: &rusqlite::Connection| {
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        Ok((pragma("synchronous")?, pragma("foreign_keys")?, pragma("mmap_size")?, journal))
    };
    let expected = (2, 1, 0, "wal".to_owned());
    assert_eq!(fixture.store.write(move |connection| set_up(connection)).wait().unwrap(), expected);
    assert_eq!(fixture.store.read(move |connection| set_up(connection)).wait().unwrap(), expected);
}

#[test]
fn a_reader_cannot_write() {
    let fixture = Fixture::new();
    let refused = fixture.store.read(|connection| Ok(connection.execute("DELETE FROM audit_log", [])?)).wait();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_newer_database_is_refused_and_left_as_it_was() {
    let fixture = Fixture::new();
    fixture.store.close();
    // While this is open, the new version is in the log only.
    let newer = fixture.outside();
    newer.pragma_update(None, "user_version", 99).unwrap();
    newer.execute("UPDATE store_head SET schema_version = 99", []).unwrap();
    let content = || ["unit.db", "unit.db-wal"].map(|name| fs::read(fixture.directory.path().join(name)).unwrap());
    for open in [Store::open, Store::open_or_set_aside] {
        let before = content();
        let refused = open(settings(&fixture.directory), fixture.metrics.clone()).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(refused.message().contains("version 99"), "{refused}");
        assert!(content() == before);
    }
    drop(newer);
    let database = || fs::read(fixture.directory.path().join(database::FILE_NAME)).unwrap();
    let before = database();
    assert!(Store::open(settings(&fixture.directory), fixture.metrics.clone()).is_err());
    assert!(database() == before);
}

#[test]
fn another_programs_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    outside(&directory).pragma_update(None, "application_id", 1).unwrap();
    let refused = Store::open(settings(&directory), Arc::new(Metrics::new().unwrap())).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
}

#[test]
fn a_sound_database_is_not_set_aside() {
    let fixture = Fixture::new();
    fixture.store.record_audit(event("kept", 0)).wait().unwrap();
    // Not closed: the log is still there, as after a kill.
    let store = Store::open_or_set_aside(settings(&fixture.directory), fixture.metrics.clone()).unwrap();
    assert_eq!(store.verify_audit().wait().unwrap().rows, 1);
    assert_eq!(store.check().wait().unwrap(), Vec::<String>::new());
}

#[test]
fn a_check_finds_an_index_that_disagrees_with_its_table() {
    let fixture = Fixture::new();
    for n in 0..3 {
        fixture.store.record_audit(event("test", n)).wait().unwrap();
    }
    let outside = fixture.outside();
    // Makes SQLite take an index for another one of the same shape: its entries then disagree with the table.
    outside
        .execute_batch(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'reports_user')
                 WHERE name = 'audit_log_user';
             PRAGMA writable_schema = RESET;",
        )
        .unwrap();
    let store = reopen(&fixture.directory);
    assert!(!store.check().wait().unwrap().is_empty());
}

#[test]
fn a_backup_is_whole_private_and_never_overwrites() {
    let fixture = Fixture::new();
    for n in 0..50 {
        fixture.store.record_audit(event("test", n)).wait().unwrap();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join(database::FILE_NAME);
    fixture.store.backup(&copy).wait().unwrap();
    assert_eq!(mode(&copy), 0o600);
    assert_eq!(fixture.store.backup(&copy).wait().unwrap_err().kind(), ErrorKind::Conflict);
    let restored = reopen(&elsewhere);
    assert_eq!(restored.verify_audit().wait().unwrap(), fixture.store.verify_audit().wait().unwrap());
}

#[test]
fn the_size_on_disk_is_known() {
    let fixture = Fixture::new();
    fixture.store.record_audit(event("test", 0)).wait().unwrap();
    fixture.store.record_audit(event("test", 0)).wait().unwrap();
    assert!(fixture.store.health().wait().unwrap().bytes > 4_096);
    assert!(fixture.metrics.store_bytes.get() > 4_096);
}
