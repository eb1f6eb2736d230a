//! Damaged databases, logs and headers: found at the start or while the unit runs, set aside, and the unit goes on.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::{Fixture, PATIENCE, at, classification, daemon, event, outside, report, until, within};
use crate::clock::SystemClock;
use crate::error::ErrorKind;
use crate::record::Role;
use crate::store::{NewUser, Store, acknowledge_damage, damaged_files, database};

/// Bit flips of one run; more of them by hand.
const FLIPS: u64 = 20;
const FLIPS_VARIABLE: &str = "VEHICLE_CLASSIFIER_TEST_FLIPS";
/// The time in which a unit must serve again.
const SERVES_WITHIN: Duration = Duration::from_secs(10);
/// Or, where the machine is busy, as many times what a sound database takes there.
const SERVES_WITHIN_TIMES: u32 = 20;

fn path(directory: &TempDir) -> PathBuf {
    directory.path().join(database::FILE_NAME)
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

/// Where the root page of a table or index lies in the file.
fn root_of(directory: &TempDir, name: &str) -> u64 {
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let root: u32 = outside(directory).query_row(sql, [name], |row| row.get(0)).unwrap();
    u64::from(root - 1) * 4_096
}

fn add_admin(store: &Store) {
    let new = NewUser {
        name: "ann".into(),
        role: Role::Admin,
        password_hash: "$hash".into(),
        must_change_password: false,
        created_at: at(0),
    };
    store.add_user(new, event("user.add", 0)).wait().unwrap();
}

/// Several hundred pages of everything.
fn filled() -> Fixture {
    let fixture = Fixture::new();
    add_admin(&fixture.store);
    let store = &fixture.store;
    let waiting: Vec<_> = (0..200)
        .map(|n| {
            let (id, vehicle) = (format!("r{n}"), format!("v{}", n % 20));
            store.record_report(report(&id, &vehicle, n), classification(&id), event("vehicle.report", n))
        })
        .collect();
    for pending in waiting {
        pending.wait().unwrap();
    }
    fixture
}

/// Reads and writes of every kind; how many were answered with an error.
fn exercise(store: &Store) -> usize {
    let mut errors = 0;
    let mut note = |failed: bool| errors += usize::from(failed);
    note(
        store.record_report(report("new", "v1", 1), classification("new"), event("vehicle.report", 1)).wait().is_err(),
    );
    note(store.record_audit(event("test", 1)).wait().is_err());
    note(store.users().wait().is_err());
    note(store.newest_report("v1").wait().is_err());
    note(store.audit_page(Default::default(), None, 1_000).wait().is_err());
    note(store.verify_audit().wait().map_or(true, |check| check.first_broken.is_some()));
    errors
}

#[test]
fn a_damaged_database_is_set_aside_and_the_unit_goes_on() {
    // The header, and a page behind it.
    for offset in [0, 3 * 4_096] {
        let fixture = Fixture::new();
        fixture.store.record_audit(event("lost", 0)).wait().unwrap();
        fixture.store.close();
        overwrite(&path(&fixture.directory), offset, &[0xa5; 4_096]);

        let store = daemon(&fixture.directory);
        store.record_audit(event("fresh", 0)).wait().unwrap();
        let trail = store.audit_page(Default::default(), None, 10).wait().unwrap();
        let actions: Vec<_> = trail.iter().map(|row| row.event.action.as_str()).collect();
        assert!(actions.contains(&"store.set_aside") && !actions.contains(&"lost"), "{actions:?}");
        assert_eq!(damaged_files(fixture.directory.path()).len(), 1);
        assert_eq!(store.health().wait().unwrap().damaged, 1);
        assert_eq!(acknowledge_damage(fixture.directory.path()).unwrap(), 1);
        assert_eq!(store.health().wait().unwrap().damaged, 0);
    }
}

#[test]
fn a_damaged_database_is_replaced_while_the_unit_runs() {
    let fixture = filled();
    fixture.store.close();
    let store = daemon(&fixture.directory);
    let plan = super::restamping::plan();
    let (told, hears) = std::sync::mpsc::channel();
    store
        .keep_up(plan, Arc::new(SystemClock::new()), move |store| {
            told.send(store.users().wait().unwrap().len()).unwrap()
        })
        .unwrap();
    // The pages of the audit trail's index, behind the back of the running store.
    let root = root_of(&fixture.directory, "audit_log_created");
    overwrite(&path(&fixture.directory), root, &[0xa5; 4_096]);
    until("a write goes through", || store.record_audit(event("after", 0)).wait().is_ok());
    assert_eq!(damaged_files(fixture.directory.path()).len(), 1);
    // The accounts came along, readers see the fresh database, and the daemon was told.
    assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), 1);
    assert_eq!(store.users().wait().unwrap()[0].name, "ann");
    assert_eq!(store.report("r1").wait().unwrap().map(|found| found.id), None);
    assert_eq!(store.check().wait().unwrap(), Vec::<String>::new());
    assert_eq!(store.verify_audit().wait().unwrap().first_broken, None);
    store.close();
}

#[test]
fn damage_that_a_reader_meets_is_dealt_with_too() {
    let fixture = filled();
    fixture.store.close();
    let store = daemon(&fixture.directory);
    let root = root_of(&fixture.directory, "reports_vehicle_stored");
    overwrite(&path(&fixture.directory), root, &[0xa5; 4_096]);
    let refused = store.newest_report("v1").wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    until("reads go through", || store.newest_report("v1").wait().is_ok());
    assert_eq!(damaged_files(fixture.directory.path()).len(), 1);
}

#[test]
fn accounts_come_from_the_newest_backup_when_the_damaged_database_has_none_left() {
    let fixture = filled();
    fixture.store.back_up_automatically(u64::MAX).unwrap();
    fixture.store.close();
    overwrite(&path(&fixture.directory), 0, &[0; 100]);
    let store = daemon(&fixture.directory);
    assert_eq!(store.users().wait().unwrap().len(), 1);
}

#[test]
fn a_command_beside_the_unit_sets_nothing_aside() {
    let fixture = filled();
    let root = root_of(&fixture.directory, "reports_vehicle_stored");
    fixture.store.close();
    overwrite(&path(&fixture.directory), root, &[0xa5; 4_096]);
    let store = super::reopen(&fixture.directory);
    assert_eq!(store.newest_report("v1").wait().unwrap_err().kind(), ErrorKind::Unavailable);
    store.record_audit(event("after", 0)).wait().unwrap();
    assert!(damaged_files(fixture.directory.path()).is_empty());
}

#[test]
fn a_version_that_a_flipped_bit_changed_is_put_right() {
    for sql in [
        "PRAGMA user_version = 1",
        "PRAGMA user_version = 33554433",
        "PRAGMA application_id = 7",
        "UPDATE store_head SET schema_version = 1",
        "UPDATE store_head SET schema_version = 130",
    ] {
        let fixture = filled();
        fixture.outside().execute_batch(sql).unwrap();
        fixture.store.close();
        let store = daemon(&fixture.directory);
        assert!(store.report("r1").wait().unwrap().is_some(), "{sql}");
        assert!(damaged_files(fixture.directory.path()).is_empty(), "{sql}");
    }
}

#[test]
fn a_log_with_a_hole_is_kept_and_said() {
    let fixture = filled();
    // Not closed: the log holds what was written last, in many commits.
    for n in 0..20 {
        fixture.store.record_audit(event("in the log", n)).wait().unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for name in ["unit.db", "unit.db-wal"] {
        fs::copy(fixture.directory.path().join(name), copy.path().join(name)).unwrap();
    }
    let log = copy.path().join("unit.db-wal");
    let middle = fs::metadata(&log).unwrap().len() / 2;
    overwrite(&log, middle, &[0xa5; 64]);
    let store = daemon(&copy);
    let names = damaged_files(copy.path());
    assert!(names.len() == 1 && names[0].starts_with("unit.db-wal.damaged-"), "{names:?}");
    assert_eq!(store.check().wait().unwrap(), Vec::<String>::new());
    assert_eq!(store.verify_audit().wait().unwrap().first_broken, None);
    store.record_audit(event("after", 0)).wait().unwrap();
}

#[test]
fn a_log_that_a_power_cut_broke_off_is_no_damage() {
    let fixture = filled();
    let bytes = fs::read(fixture.directory.path().join("unit.db-wal")).unwrap();
    for cut in [bytes.len() - 1, bytes.len() - 3_000, bytes.len() - 4_120, bytes.len() / 2, 40, 31, 0] {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(path(&fixture.directory), path(&copy)).unwrap();
        fs::write(copy.path().join("unit.db-wal"), &bytes[..cut]).unwrap();
        let store = daemon(&copy);
        assert!(damaged_files(copy.path()).is_empty(), "cut at {cut}");
        assert_eq!(store.verify_audit().wait().unwrap().first_broken, None, "cut at {cut}");
    }
}

#[test]
fn no_more_than_a_few_damaged_databases_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let store = daemon(&directory);
        store.record_audit(event("test", 0)).wait().unwrap();
        store.close();
        overwrite(&path(&directory), 0, &[0xa5; 4_096]);
    }
    drop(daemon(&directory));
    assert_eq!(damaged_files(directory.path()).len(), 3);
}

/// What opening, reading and writing take on this machine at present.
fn time_of_a_sound_one(database: &[u8]) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    fs::write(path(&directory), database).unwrap();
    let started = Instant::now();
    let store = daemon(&directory);
    assert_eq!(exercise(&store), 0);
    store.close();
    started.elapsed()
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_harmless() {
    let flips = std::env::var(FLIPS_VARIABLE).map_or(FLIPS, |flips| flips.parse().unwrap());
    let fixture = filled();
    fixture.store.close();
    let sound = fs::read(path(&fixture.directory)).unwrap();
    let time = SERVES_WITHIN.max(time_of_a_sound_one(&sound) * SERVES_WITHIN_TIMES);
    let (mut harmless, mut replaced, mut said) = (0, 0, 0);
    for seed in 0..flips {
        let mut random = SmallRng::seed_from_u64(seed);
        // One flip in four hits the first page, where header and schema are.
        let place = if seed % 4 == 0 { random.random_range(0..4_096) } else { random.random_range(0..sound.len()) };
        let bit = random.random_range(0..8);
        let directory = tempfile::tempdir().unwrap();
        let mut flipped = sound.clone();
        flipped[place] ^= 1 << bit;
        fs::write(path(&directory), flipped).unwrap();
        let started = Instant::now();
        let store = daemon(&directory);
        let mut errors = exercise(&store);
        // What was inserted once is there the second time, and a broken trail stays broken.
        within(time, &format!("byte {place} bit {bit}: reads and writes go through"), || {
            let fine = errors == 0 || errors <= 2 && store.newest_report("v1").wait().is_ok();
            errors = exercise(&store);
            fine
        });
        assert!(store.progress().alive, "byte {place} bit {bit}");
        assert!(started.elapsed() < time, "byte {place} bit {bit}");
        let problems = store.check().wait().map_or(1, |problems| problems.len())
            + usize::from(store.verify_audit().wait().unwrap().first_broken.is_some());
        match (damaged_files(directory.path()).len(), problems) {
            (0, 0) => harmless += 1,
            (0, _) => said += 1,
            _ => replaced += 1,
        }
        store.close();
    }
    println!("{flips} flips: {harmless} harmless, {said} said by a check, {replaced} set aside");
    assert_eq!(harmless + said + replaced, flips);
}
