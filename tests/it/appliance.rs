//! What makes a machine an appliance: the units of `systemd/`, judged by systemd itself, the configuration file that is shipped,
//! the backup script, the manual page.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::unit::{Unit, program, run};

/// Exposure that `systemd-analyze security` may find at most, times ten.
const EXPOSURE_MAX: &str = "15";

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn units() -> Vec<PathBuf> {
    let mut units: Vec<_> = fs::read_dir(tree()).unwrap().map(|entry| entry.unwrap().path()).collect();
    units.retain(|path| path.extension().is_some_and(|end| end == "service" || end == "timer"));
    assert!(units.len() >= 5, "{units:?}");
    units
}

/// The units with the programs where they are now, not where packages put them.
fn units_here(directory: &Path) -> Vec<PathBuf> {
    let places = [
        ("/usr/bin/vehicle-classifierd", env!("CARGO_BIN_EXE_vehicle-classifierd").to_owned()),
        ("/usr/lib/vehicle-classifier/backup", tree().join("backup").display().to_string()),
    ];
    let copied = units().into_iter().map(|unit| {
        let mut text = fs::read_to_string(&unit).unwrap();
        for (installed, here) in &places {
            text = text.replace(installed, here);
        }
        let copy = directory.join(unit.file_name().unwrap());
        fs::write(&copy, text).unwrap();
        copy
    });
    copied.collect()
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(units_here(directory.path()))
        // A colon at the end: and where systemd looks anyway.
        .env("SYSTEMD_UNIT_PATH", format!("{}:", directory.path().display()))
        .output()
        .unwrap();
    // It exits with 0 on unknown keys.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_sandbox_is_as_tight_as_promised() {
    for unit in ["vehicle-classifierd.service", "vehicle-classifier-backup.service"] {
        let output = Command::new("systemd-analyze")
            .args(["security", "--no-pager", "--offline=true", &format!("--threshold={EXPOSURE_MAX}")])
            .arg(tree().join(unit))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("Overall exposure level"), "{said}");
    }
}

/// Lines of `config show`: key → value and where it came from.
fn shown(file: &Path) -> BTreeMap<String, (String, String)> {
    let output = program().args(["config", "show", "--config"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let entries = text.lines().map(|line| {
        let (pair, origin) = line.rsplit_once("  # ").unwrap();
        let (key, value) = pair.split_once(" = ").unwrap();
        (key.to_owned(), (value.to_owned(), origin.to_owned()))
    });
    // The tests set it in the environment.
    entries.filter(|(key, _)| key != "classifier.models_directory").collect()
}

#[test]
fn the_shipped_configuration_is_valid_and_names_every_key_with_its_default() {
    let directory = tempfile::tempdir().unwrap();
    let (shipped, bare, full) =
        (tree().join("config.toml"), directory.path().join("bare.toml"), directory.path().join("full.toml"));
    let checked = program().args(["config", "check"]).arg(&shipped).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    // With every key that is commented out taken in, nothing changes.
    let text = fs::read_to_string(&shipped).unwrap();
    let is_key =
        |line: &str| line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines: Vec<_> = text.lines().map(|line| if is_key(line) { &line[1..] } else { line }).collect();
    fs::write(&full, lines.join("\n")).unwrap();
    fs::write(&bare, "").unwrap();
    let (defaults, with_file) = (shown(&bare), shown(&full));
    assert_eq!(defaults.len(), with_file.len());
    for (key, (value, origin)) in &with_file {
        assert!(origin.ends_with("full.toml"), "systemd/config.toml does not name {key}, which is {value}");
        assert_eq!(value, &defaults[key].0, "systemd/config.toml gives {key} another value than its default");
    }
}

#[test]
fn the_backup_script_copies_the_database_of_a_running_unit_and_keeps_the_newest() {
    let unit = Unit::start();
    unit.account("ann", "user");
    let place = tempfile::tempdir().unwrap();
    for old in ["unit-20200101T000000Z.db", "unit-20210101T000000Z.db", "unit-20220101T000000Z.db.part", "notes.txt"] {
        fs::write(place.path().join(old), "old").unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_vehicle-classifierd"));
    let output = Command::new(tree().join("backup"))
        .env("PATH", format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap()))
        .env("UNIT_DIRECTORY", unit.state_directory())
        .env("BACKUP_DIRECTORY", place.path())
        .env("BACKUPS_KEPT", "2")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut kept: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    kept.sort();
    assert!(kept.len() == 3 && kept[0] == "notes.txt" && kept[1] == "unit-20210101T000000Z.db", "{kept:?}");

    // The copy is a database with what the unit had.
    let restored = tempfile::tempdir().unwrap();
    fs::copy(place.path().join(&kept[2]), restored.path().join("unit.db")).unwrap();
    let listed = run(restored.path(), &["user", "list"], "");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("ann"), "{}", String::from_utf8_lossy(&listed.stderr));
}

#[test]
fn the_manual_page_names_commands_that_exist() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vehicle-classifierd.8")).unwrap();
    let commands = page.split(".SH COMMANDS").nth(1).unwrap().split(".SH ").next().unwrap();
    let named: Vec<_> = commands
        .split(".TP\n")
        .skip(1)
        .map(|entry| entry.lines().next().unwrap().strip_prefix(".B ").unwrap().split(' ').collect::<Vec<_>>())
        .collect();
    assert!(named.len() > 5);
    for command in named {
        let output = program().args(&command).arg("--help").output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
