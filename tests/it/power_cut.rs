//! The power goes: whatever was acknowledged is there, whichever of the writes that were not synchronised reached the disk.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use serde_json::json;
use vehicle_classifierd::clock::{Clock, SystemClock};
use vehicle_classifierd::metrics::Metrics;
use vehicle_classifierd::record::{AuditEvent, Classification, Origin, Outcome, Passage, PictureFacts, Report};
use vehicle_classifierd::store::{Store, StoreSettings, damaged_files};

use crate::disk::{Disk, acknowledgement, deeds, tap};
use crate::waiting::pause;

/// Power cuts and kills of one run; a thousand by hand.
const CUTS_VARIABLE: &str = "VEHICLE_CLASSIFIER_TEST_CUTS";
const KILLS_VARIABLE: &str = "VEHICLE_CLASSIFIER_TEST_KILLS";
/// Set for the child that writes.
const DIRECTORY_VARIABLE: &str = "VEHICLE_CLASSIFIER_TEST_LOAD_DIRECTORY";
const ACKS_VARIABLE: &str = "VEHICLE_CLASSIFIER_TEST_LOAD_ACKS";
const WRITERS: usize = 4;
/// Kills of one database; the next begins afresh, so that a thousand are examined in time that grows with their number only.
const KILLS_OF_A_DATABASE: usize = 50;
/// Acknowledgements in the log that is cut: enough for several checkpoints.
const RECORDS: usize = 1_200;

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

fn open(directory: &Path) -> Store {
    let settings = StoreSettings {
        directory: directory.to_owned(),
        queue_depth_max: 1_024,
        readers: 1,
        classifications_max: 1_000_000,
        crop_bytes_max: 1 << 20,
        events: None,
        held_bytes_max: 1 << 20,
    };
    Store::open_or_set_aside(settings, Arc::new(Metrics::new().unwrap())).unwrap()
}

fn event(clock: &SystemClock) -> AuditEvent {
    AuditEvent {
        user: Some("load".into()),
        action: "load".into(),
        resource: "somewhere".into(),
        outcome: Outcome::Success,
        details: json!({}),
        ip_address: None,
        at: clock.now(),
        authority: None,
    }
}

fn classification(id: &str, clock: &SystemClock) -> Classification {
    Classification {
        id: id.into(),
        origin: Origin::Upload,
        user: Some("load".into()),
        file_name: None,
        picture: PictureFacts { width: 1, height: 1, format: "jpeg".into(), sha256: "0".repeat(64) },
        predictions: Vec::new(),
        confidence: 0.5,
        processing_time_ms: 1.0,
        model: "m".into(),
        model_version: "1".into(),
        created: clock.now(),
    }
}

fn passage(id: &str, clock: &SystemClock) -> Passage {
    let now = clock.now();
    Passage {
        id: id.into(),
        class: "car".into(),
        confidence: 0.5,
        votes: Vec::new(),
        crops: 1,
        line: None,
        direction: None,
        lane: None,
        speed_kmh: None,
        started: now.clone(),
        ended: now.clone(),
        counted: now,
        model: "m".into(),
        model_version: "1".into(),
        crop: Some(vec![7; 2_000]),
    }
}

/// One write of the mixed load; answered once it is acknowledged.
fn record(store: &Store, clock: &SystemClock, id: &str, turn: usize) {
    match turn % 3 {
        0 => store.record_classifications(vec![classification(id, clock)], event(clock)).wait().unwrap(),
        1 => assert!(store.record_passage(passage(id, clock)).wait().unwrap()),
        _ => {
            let report = Report {
                id: id.into(),
                vehicle_id: "v".into(),
                user: "load".into(),
                class: "car".into(),
                confidence: 0.5,
                body: json!({ "text": "x".repeat(500) }),
                created: clock.now(),
            };
            let seen = classification(&format!("of-{id}"), clock);
            store.record_report(report, seen, event(clock)).wait().unwrap();
        }
    }
}

/// Does nothing by itself: the tests below start it as a process of its own.
#[test]
fn the_load_of_a_process_under_test() {
    let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) else { return };
    let acks = OpenOptions::new().append(true).create(true).open(std::env::var_os(ACKS_VARIABLE).unwrap()).unwrap();
    let store = open(Path::new(&directory));
    let (clock, acks) = (SystemClock::new(), &acks);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, clock) = (&store, &clock);
            scope.spawn(move || {
                for turn in 0.. {
                    let id = format!("{}-{writer}-{turn}", std::process::id());
                    record(store, clock, &id, writer + turn);
                    // One write: it is whole or not there.
                    let mut acks = acks;
                    acks.write_all(&acknowledgement(&id)).unwrap();
                }
            });
        }
    });
}

fn load(directory: &Path, acks: &Path, library: Option<&Path>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["power_cut::the_load_of_a_process_under_test", "--exact"]);
    command.env(DIRECTORY_VARIABLE, directory).env(ACKS_VARIABLE, acks).stdout(std::process::Stdio::null());
    if let Some(library) = library {
        command.env("LD_PRELOAD", library).env("DISK_TAP_DIRECTORY", directory).env("DISK_TAP_LOG", acks);
    }
    command.spawn().unwrap()
}

fn acknowledged(log: &Path) -> usize {
    deeds(&fs::read(log).unwrap_or_default()).iter().filter(|deed| deed.acknowledged().is_some()).count()
}

/// Kills the process once it has so many acknowledgements.
fn kill_at(mut child: Child, log: &Path, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(600);
    while acknowledged(log) < count {
        let fine = Instant::now() < deadline && child.try_wait().unwrap().is_none();
        if !fine {
            let _ = child.kill();
        }
        assert!(fine, "the load does not get on");
        pause();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Opens what is left as a unit would, and looks whether all is well and there.
fn examine(directory: &Path, acknowledged: &BTreeSet<String>, what: &str) {
    let store = open(directory);
    assert_eq!(damaged_files(directory), Vec::<String>::new(), "{what}");
    assert_eq!(store.check().wait().unwrap(), Vec::<String>::new(), "{what}");
    assert_eq!(store.verify_audit().wait().unwrap().first_broken, None, "{what}");
    store.close();
    let database = Connection::open(directory.join("unit.db")).unwrap();
    let sql = "SELECT uuid FROM classifications UNION ALL SELECT uuid FROM passages UNION ALL SELECT id FROM reports";
    let mut statement = database.prepare(sql).unwrap();
    let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let stored: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(rows.len(), stored.len(), "{what}: duplicates");
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "{what}: lost {lost:?}");
    let (passages, counted): (i64, i64) = database
        .query_row(
            "SELECT (SELECT count(*) FROM passages), (SELECT ifnull(sum(vehicles), 0) FROM counts WHERE width_s = 300)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(passages, counted, "{what}");
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    let cuts = number(CUTS_VARIABLE, 30);
    let place = tempfile::tempdir().unwrap();
    let (state, log) = (place.path().join("state"), place.path().join("log"));
    fs::create_dir(&state).unwrap();
    kill_at(load(&state, &log, Some(&tap(place.path()))), &log, RECORDS);
    let deeds = deeds(&fs::read(&log).unwrap());
    assert!(deeds.len() > RECORDS * 2, "{} deeds", deeds.len());
    let mut random = SmallRng::seed_from_u64(1);
    let mut moments: Vec<usize> = (0..cuts).map(|_| random.random_range(1..deeds.len())).collect();
    moments.sort_unstable();
    let (mut disk, mut done, mut acks) = (Disk::default(), 0, BTreeSet::new());
    for (seed, moment) in moments.into_iter().enumerate() {
        for deed in &deeds[done..moment] {
            disk.play(deed);
            acks.extend(deed.acknowledged());
        }
        done = moment;
        let after = tempfile::tempdir().unwrap();
        disk.cut(after.path(), seed as u64);
        examine(after.path(), &acks, &format!("cut {seed} after deed {moment}"));
    }
    println!("{cuts} power cuts among {} deeds, {} acknowledgements: nothing lost", deeds.len(), acks.len());
}

#[test]
fn what_was_acknowledged_survives_kills_under_a_mixed_load() {
    let kills = number(KILLS_VARIABLE, 15);
    let place = tempfile::tempdir().unwrap();
    let (state, log) = (place.path().join("state"), place.path().join("log"));
    fs::create_dir(&state).unwrap();
    let mut random = SmallRng::seed_from_u64(2);
    let (mut acks, mut before) = (BTreeSet::new(), 0);
    for kill in 0..kills {
        if kill % KILLS_OF_A_DATABASE == 0 && kill > 0 {
            before += acks.len();
            println!("{kill} kills, {before} acknowledgements so far");
            acks.clear();
            fs::remove_dir_all(&state).unwrap();
        }
        let _ = fs::remove_file(&log);
        kill_at(load(&state, &log, None), &log, random.random_range(1..60));
        acks.extend(deeds(&fs::read(&log).unwrap()).iter().filter_map(crate::disk::Deed::acknowledged));
        examine(&state, &acks, &format!("kill {kill}"));
    }
    println!("{kills} kills, {} acknowledgements: nothing lost", before + acks.len());
}
