//! Updates: a database of an older version, the way back, and the update check of the Yocto layer, with the real program and
//! doctor; `systemctl` and `rauc` write down what they are asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::unit::{PASSWORD, Unit, run};

const FILES: &str = "yocto/meta-vehicle-classifier/recipes-vehicle/vehicle-classifier-update/files";

/// A machine after an update.
struct Machine {
    directory: TempDir,
}

impl Machine {
    /// `unit_runs`: whether `systemctl is-active` says so.
    fn new(unit_runs: bool) -> Self {
        let machine = Self { directory: TempDir::new().unwrap() };
        fs::create_dir(machine.path("bin")).unwrap();
        fs::create_dir(machine.path("state")).unwrap();
        let exit = if unit_runs { 0 } else { 3 };
        machine.tool("systemctl", &format!("case $* in *is-active*) exit {exit} ;; esac"));
        machine.tool("rauc", "");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A tool that writes down its arguments, then does `rest`.
    fn tool(&self, name: &str, rest: &str) {
        let path = self.path("bin").join(name);
        let calls = self.path("calls");
        fs::write(&path, format!("#!/bin/sh\necho {name} $* >>{}\n{rest}\n", calls.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, script: &str, settings: &[(&str, &str)]) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = Path::new(env!("CARGO_BIN_EXE_vehicle-classifierd")).parent().unwrap();
        let path = format!("{}:{}:{}", self.path("bin").display(), program.display(), std::env::var("PATH").unwrap());
        Command::new(root.join(FILES).join(script))
            .env("PATH", path)
            .env("UNIT_DIRECTORY", self.path("state"))
            // One look, without a second chance.
            .env("UPDATE_CHECK_SECONDS", "0")
            .env("VEHICLE_CLASSIFIER__CLASSIFIER__MODELS_DIRECTORY", root.join("models"))
            .envs(settings.iter().copied())
            .output()
            .unwrap()
    }

    fn check(&self, settings: &[(&str, &str)]) -> Option<i32> {
        self.run("update-check", settings).status.code()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

/// A setting with which doctor finds something wrong.
const BROKEN_CAMERA: (&str, &str) = ("VEHICLE_CLASSIFIER__CAPTURE__SOURCE", "replay:/nowhere");

#[test]
fn a_system_is_good_when_the_unit_runs_and_doctor_is_green() {
    assert_eq!(Machine::new(true).check(&[]), Some(0));
    assert_eq!(Machine::new(false).check(&[]), Some(1));
    assert_eq!(Machine::new(true).check(&[BROKEN_CAMERA]), Some(1));
}

#[test]
fn a_system_that_was_good_once_is_not_rolled_back_for_a_camera() {
    let machine = Machine::new(true);
    assert_eq!(machine.check(&[]), Some(0));
    assert_eq!(machine.check(&[BROKEN_CAMERA]), Some(2));
}

#[test]
fn a_failed_check_gives_up_the_slot_and_restarts_the_machine() {
    let machine = Machine::new(true);
    assert!(machine.run("update-rollback", &[("MONITOR_EXIT_STATUS", "2")]).status.success());
    assert_eq!(machine.calls(), "");
    assert!(machine.run("update-rollback", &[("MONITOR_EXIT_STATUS", "1")]).status.success());
    assert_eq!(machine.calls(), "rauc status mark-bad booted\nsystemctl reboot\n");
}

/// A database of that schema version, as the program of then left it; `more` was done to it afterwards.
fn database_of(version: usize, header_version: usize, more: &str, path: &Path) {
    let dump = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/store/tests/schema/{version:04}.sql"));
    let database = Connection::open(path).unwrap();
    database.execute_batch(&fs::read_to_string(dump).unwrap()).unwrap();
    database.execute_batch(more).unwrap();
    database.pragma_update(None, "application_id", 0x5643_4C53).unwrap();
    database.pragma_update(None, "user_version", header_version as i64).unwrap();
}

/// Of the newest schema.
fn newest_version() -> usize {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations");
    fs::read_dir(migrations).unwrap().count()
}

#[test]
fn an_update_over_two_schema_versions_keeps_accounts_and_records() {
    let state = Arc::new(TempDir::new().unwrap());
    let old = newest_version() - 2;
    database_of(old, old, "", &state.path().join("unit.db"));
    let unit = Unit::with_state(&state, &[]);
    assert!(!state.path().join("initial-admin-password").exists(), "the accounts are the old ones");
    let users = unit.command(&["user", "list"], "");
    assert!(String::from_utf8_lossy(&users.stdout).contains("ann"), "{users:?}");
    for command in [&["store", "check"], &["audit", "verify"]] {
        let output = unit.command(command, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_way_back_is_a_backup_of_before_the_update() {
    let mut unit = Unit::start();
    unit.account("ann", "user");
    let state = unit.state.clone();
    let backup = state.path().join("before.db");
    assert!(unit.command(&["backup", backup.to_str().unwrap()], "").status.success());
    unit.signal("TERM");
    assert!(unit.wait().success());
    // The newer program migrates; then this one is the older one.
    let database = state.path().join("unit.db");
    fs::remove_file(&database).unwrap();
    let newest = newest_version();
    let newer =
        format!("CREATE TABLE future (a INTEGER) STRICT; UPDATE store_head SET schema_version = {};", newest + 1);
    database_of(newest, newest + 1, &newer, &database);
    let before = fs::read(&database).unwrap();
    let refused = run(state.path(), &["serve"], "");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("restore"), "{said}");
    assert!(fs::read(&database).unwrap() == before, "it is left as it was");
    let restored = run(state.path(), &["restore", backup.to_str().unwrap()], "");
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let unit = Unit::with_state(&state, &[]);
    assert_eq!(unit.log_in("ann", PASSWORD).status, 200);
}
