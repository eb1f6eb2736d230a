//! Files belong to the unit's account whoever runs a command, and what cannot be read is never taken for damaged.
//!
//! With root's rights these tests use an account of their own for the unit. Without, they make files unreadable by their mode,
//! and those that need two accounts say that they did nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::unit::{ADMIN_PASSWORD, PASSWORD, Unit, program, run};
use crate::waiting::until;

/// An account that no machine gives to anybody.
const ACCOUNT: u32 = 64_123;
const AS_ACCOUNT: [&str; 4] = ["setpriv", "--reuid=64123", "--regid=64123", "--clear-groups"];

fn is_root(path: &Path) -> bool {
    fs::metadata(path).unwrap().uid() == 0
}

/// A state directory, of the unit's account where this test may give it away, and how the unit is started there.
fn place() -> (Arc<TempDir>, &'static [&'static str]) {
    let state = Arc::new(TempDir::new().unwrap());
    if !is_root(state.path()) || !account_runs_the_program() {
        return (state, &[]);
    }
    chown(state.path(), Some(ACCOUNT), Some(ACCOUNT)).unwrap();
    (state, &AS_ACCOUNT)
}

/// A tree below a directory of root's is closed to other accounts.
fn account_runs_the_program() -> bool {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let program = env!("CARGO_BIN_EXE_vehicle-classifierd");
    let script = format!("test -r {} && {program} --version", models.display());
    let tried = Command::new(AS_ACCOUNT[0]).args(&AS_ACCOUNT[1..]).args(["sh", "-c", &script]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// Two accounts, or a line that says why there are not.
fn place_of_another() -> Option<Arc<TempDir>> {
    let (state, through) = place();
    if through.is_empty() {
        println!("not tested: this needs root, and a source tree that other accounts may read");
        return None;
    }
    Some(state)
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files_below(&entry));
        }
        found.push(entry);
    }
    found
}

fn all_belong_to_the_account(state: &TempDir, after: &str) {
    for file in files_below(state.path()) {
        let facts = fs::symlink_metadata(&file).unwrap();
        assert_eq!((facts.uid(), facts.gid()), (ACCOUNT, ACCOUNT), "{} after {after}", file.display());
    }
}

fn close(path: &Path) {
    if is_root(path.parent().unwrap()) || fs::metadata(path).unwrap().uid() == ACCOUNT {
        chown(path, Some(0), Some(0)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    } else {
        fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
    }
}

fn open(path: &Path, through: &[&str]) {
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    if !through.is_empty() {
        chown(path, Some(ACCOUNT), Some(ACCOUNT)).unwrap();
    }
}

/// Starts a unit that must not come up.
fn refused(state: &Path, through: &[&str]) -> String {
    let program = program();
    let mut command = match through.split_first() {
        None => program,
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program.get_program());
            for (name, value) in program.get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            command
        }
    };
    let output = command
        .args(["serve", "--state-directory"])
        .arg(state)
        .env("VEHICLE_CLASSIFIER__API__LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    assert!(!output.status.success(), "the unit started");
    String::from_utf8(output.stderr).unwrap()
}

fn set_aside(state: &Path) -> Vec<String> {
    let names = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".damaged-")).collect()
}

fn done(output: Output, what: &str) -> String {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_backup_that_root_restores_is_served() {
    let Some(state) = place_of_another() else { return };
    let outside = TempDir::new().unwrap();
    let backup = outside.path().join("unit-backup.db");
    let mut unit = Unit::through(&AS_ACCOUNT, state.clone());
    unit.admin();
    unit.account("ann", "user");
    done(run(state.path(), &["backup", backup.to_str().unwrap()], ""), "backup");
    assert_eq!(fs::metadata(&backup).unwrap().uid(), 0, "outside the state directory it is root's");
    done(run(state.path(), &["user", "delete", "ann"], ""), "user delete");
    unit.signal("TERM");
    assert!(unit.wait().success());

    let said = done(run(state.path(), &["restore", backup.to_str().unwrap()], ""), "restore");
    assert!(said.contains("was checked and restored"), "{said}");
    all_belong_to_the_account(&state, "restore");

    let unit = Unit::through(&AS_ACCOUNT, state.clone());
    assert_eq!(unit.log_in("ann", PASSWORD).status, 200, "the old data is served");
    assert_eq!(unit.log_in("admin", ADMIN_PASSWORD).status, 200, "and there is no new admin");
    assert_eq!(set_aside(state.path()), Vec::<String>::new());
}

#[test]
fn no_command_that_root_runs_leaves_a_file_of_root_s() {
    let Some(state) = place_of_another() else { return };
    let own = state.path().join("own.db");
    let commands: [(&[&str], &str); 11] = [
        (&["user", "add", "ann", "--role", "user", "--password-stdin"], PASSWORD),
        (&["user", "set-role", "ann", "admin"], ""),
        (&["user", "list"], ""),
        (&["token", "issue", "--name", "prometheus", "--scope", "metrics"], ""),
        (&["model", "activate", "imagenet-vehicles"], ""),
        (&["store", "check"], ""),
        (&["store", "acknowledge"], ""),
        (&["audit", "verify"], ""),
        (&["export", "audit", "--from", "2026-01-01T00:00:00Z", "--to", "2036-01-01T00:00:00Z"], ""),
        (&["backup", own.to_str().unwrap()], ""),
        (&["restore", own.to_str().unwrap()], ""),
    ];
    for (command, input) in commands {
        done(run(state.path(), command, input), &command.join(" "));
        all_belong_to_the_account(&state, &command.join(" "));
    }
    // Whatever it finds elsewhere on this machine.
    run(state.path(), &["doctor"], "");
    all_belong_to_the_account(&state, "doctor");
    // The unit itself, started by hand: its key, its certificate, its first password.
    let mut unit = Unit::with_state(&state, &[("API__TLS__SELF_SIGNED", "true")]);
    all_belong_to_the_account(&state, "serve");
    unit.signal("TERM");
    assert!(unit.wait().success());
    all_belong_to_the_account(&state, "serve and its end");
}

#[test]
fn another_account_is_refused_with_the_one_to_use() {
    let Some(state) = place_of_another() else { return };
    done(run(state.path(), &["user", "list"], ""), "user list");
    fs::set_permissions(state.path(), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(state.path().join("unit.db"), Permissions::from_mode(0o666)).unwrap();
    let said = refused(state.path(), &["setpriv", "--reuid=64124", "--regid=64124", "--clear-groups"]);
    assert!(said.contains("64123") && said.contains("run it as"), "{said}");
    all_belong_to_the_account(&state, "a foreign account");
}

#[test]
fn a_database_that_cannot_be_read_is_refused_and_never_set_aside() {
    let (state, through) = place();
    let mut unit = Unit::through(through, state.clone());
    unit.admin();
    unit.signal("TERM");
    assert!(unit.wait().success());
    let first = fs::read(state.path().join("initial-admin-password")).ok();
    let database = state.path().join("unit.db");
    // Without root's rights there is nothing that root could not read.
    if !through.is_empty() || !is_root(state.path()) {
        for name in ["unit.db", "unit.db-wal", "unit.db-shm"] {
            let file = state.path().join(name);
            let missing = !file.exists();
            if missing {
                fs::write(&file, "").unwrap();
            }
            close(&file);
            let said = refused(state.path(), through);
            assert!(said.contains(file.to_str().unwrap()) && said.contains(" belongs to "), "{said}");
            assert!(said.contains("chown") || said.contains("chmod"), "the remedy: {said}");
            open(&file, through);
            if missing {
                fs::remove_file(&file).unwrap();
            }
        }
    }
    // Held by another program.
    let holder = Connection::open(&database).unwrap();
    holder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; UPDATE users SET name = name;").unwrap();
    let said = refused(state.path(), through);
    assert!(said.contains("Another process holds the database"), "{said}");
    drop(holder);
    for name in ["unit.db", "unit.db-wal", "unit.db-shm"].map(|name| state.path().join(name)) {
        if name.exists() {
            open(&name, through);
        }
    }
    // A link in its place.
    let elsewhere = state.path().join("elsewhere.db");
    fs::rename(&database, &elsewhere).unwrap();
    symlink(&elsewhere, &database).unwrap();
    let said = refused(state.path(), through);
    assert!(said.contains("symbolic link") && said.contains("unit.db"), "{said}");
    fs::rename(&elsewhere, &database).unwrap();

    assert_eq!(set_aside(state.path()), Vec::<String>::new());
    let unit = Unit::through(through, state.clone());
    assert_eq!(unit.log_in("admin", ADMIN_PASSWORD).status, 200);
    assert_eq!(fs::read(state.path().join("initial-admin-password")).ok(), first, "there is no new admin");
}

#[test]
fn however_few_descriptors_there_are_nothing_is_set_aside() {
    let mut unit = Unit::start();
    unit.admin();
    unit.signal("TERM");
    assert!(unit.wait().success());
    let state = unit.state.clone();
    let mut refusals = 0;
    for limit in (4..60).step_by(3) {
        let program = program();
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={limit}:{limit}"))
            .args(["timeout", "--signal=TERM", "2"])
            .arg(program.get_program());
        for (name, value) in program.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            command.env(name, value);
        }
        let output = command
            .args(["serve", "--state-directory"])
            .arg(state.path())
            .env("VEHICLE_CLASSIFIER__API__LISTEN", "127.0.0.1:0")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("set aside") && !said.contains("first start"), "{limit} descriptors: {said}");
        refusals += usize::from(!said.contains("ready: http"));
    }
    assert!(refusals > 0, "no limit was low enough");
    assert_eq!(set_aside(state.path()), Vec::<String>::new());
    let unit = Unit::with_state(&state, &[]);
    assert_eq!(unit.log_in("admin", ADMIN_PASSWORD).status, 200);
}

#[test]
fn damage_met_while_the_database_is_closed_to_the_unit_waits_for_its_owner() {
    let (state, through) = place();
    if through.is_empty() && is_root(state.path()) {
        println!("not tested: root can read everything");
        return;
    }
    let unit = Unit::through(through, state.clone());
    let token = unit.admin();
    let database = state.path().join("unit.db");
    let outside = Connection::open(&database).unwrap();
    let (root, bytes): (u64, u64) = outside
        .query_row(
            "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = 'reports_vehicle_stored'",
            [],
            |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs())),
        )
        .unwrap();
    outside.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(outside);
    let file = fs::OpenOptions::new().write(true).open(&database).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xa5; bytes as usize], (root - 1) * bytes).unwrap();
    drop(file);
    close(&database);
    // Nothing has read this index yet, so the first question after a report meets the damage.
    let ask = || unit.get("/api/vehicle/report/TRUCK-7", &token);
    until("the unit says why it waits", || {
        ask();
        unit.log.text().contains("is not set aside, because it cannot be used")
    });
    assert_eq!(set_aside(state.path()), Vec::<String>::new());
    open(&database, through);
    until("the damaged database is set aside", || !set_aside(state.path()).is_empty());
    until("the accounts came along", || unit.log_in("admin", ADMIN_PASSWORD).status == 200);
}

#[test]
fn no_command_writes_through_a_symbolic_link() {
    let state = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    let names =
        ["unit.lock", "token.key", "unit-id", "active-model", "initial-admin-password", "restoring.db", "copy.db"];
    for name in names {
        symlink(outside.path().join(name), state.path().join(name)).unwrap();
    }
    let copy = state.path().join("copy.db");
    let first = outside.path().join("first.db");
    run(state.path(), &["model", "activate", "imagenet-vehicles"], "");
    done(run(state.path(), &["user", "add", "ann", "--role", "user", "--password-stdin"], PASSWORD), "user add");
    assert!(!run(state.path(), &["backup", copy.to_str().unwrap()], "").status.success());
    done(run(state.path(), &["backup", first.to_str().unwrap()], ""), "backup");
    let said = String::from_utf8(run(state.path(), &["restore", first.to_str().unwrap()], "").stderr).unwrap();
    assert!(said.contains("unit.lock is a symbolic link"), "{said}");
    fs::remove_file(state.path().join("unit.lock")).unwrap();
    done(run(state.path(), &["restore", first.to_str().unwrap()], ""), "restore");
    let said = refused(state.path(), &[]);
    assert!(said.contains("token.key"), "{said}");
    fs::remove_file(state.path().join("token.key")).unwrap();
    drop(Unit::with_state(&Arc::new(state), &[]));
    let written: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(written, ["first.db"]);
}
