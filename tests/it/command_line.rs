//! The commands beside `serve`, with their exit codes and messages.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use image::ImageFormat;

use crate::pictures::{generated, png_header};
use crate::unit::{Unit, golden, newest_model, run};
use crate::waiting::until;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn on_new_state(arguments: &[&str]) -> (tempfile::TempDir, Output) {
    let state = tempfile::tempdir().unwrap();
    let output = run(state.path(), arguments, "");
    (state, output)
}

#[test]
fn classify_does_the_good_ones_and_says_one_line_for_each_bad_one() {
    let pictures = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(pictures.path().join(name), bytes).unwrap();
    write("good.jpg", &golden());
    write("good.png", &generated(320, 200, 1, ImageFormat::Png));
    write("notes.jpg", b"just a text file");
    write("cut.jpg", &golden()[..golden().len() / 2]);
    write("bomb.png", &png_header(30_000, 30_000));
    let path = |name: &str| pictures.path().join(name).to_str().unwrap().to_owned();
    let names = ["good.jpg", "notes.jpg", "cut.jpg", "good.png", "bomb.png", "missing.jpg"];
    let mut arguments = vec!["classify".to_owned()];
    arguments.extend(names.iter().map(|name| path(name)));
    let (_state, output) = on_new_state(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    let (table, complaints) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.lines().next().unwrap().starts_with("FILE"), "{table}");
    assert_eq!(complaints.lines().count(), 4, "{complaints}");
    for (name, part) in [
        ("notes.jpg", "no picture"),
        ("cut.jpg", "truncated"),
        ("bomb.png", "30000"),
        ("missing.jpg", "cannot be read"),
    ] {
        assert!(complaints.lines().any(|line| line.contains(name) && line.contains(part)), "{name}: {complaints}");
    }
}

#[test]
fn classify_reads_no_more_of_a_file_than_the_api_takes() {
    let pictures = tempfile::tempdir().unwrap();
    let large = pictures.path().join("large.jpg");
    std::fs::File::create(&large).unwrap().set_len(64 << 30).unwrap();
    for file in [large.to_str().unwrap(), "/dev/zero"] {
        let (_state, output) = on_new_state(&["classify", file]);
        assert_eq!(output.status.code(), Some(1));
        let complaint = text(&output.stderr);
        assert!(complaint.contains(file) && complaint.contains("16777216 bytes"), "{complaint}");
    }
}

#[test]
fn classify_gives_one_json_object_a_line() {
    let picture = newest_model().join("golden.jpg");
    let (_state, output) = on_new_state(&["classify", "--json", picture.to_str().unwrap(), picture.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["type"], lines[1]["type"]);
    assert!(lines[0]["confidence"].as_f64().unwrap() > 0.5);
}

#[test]
fn usage_and_configuration_errors_have_their_exit_codes() {
    let (state, unknown) = on_new_state(&["fly"]);
    assert_eq!(unknown.status.code(), Some(2));
    let file = state.path().join("bad.toml");
    std::fs::write(&file, "[api]\nlistn = \"x\"\n").unwrap();
    for command in [&["config", "check", file.to_str().unwrap()][..], &["serve", "--config", file.to_str().unwrap()]] {
        let refused = run(state.path(), command, "");
        assert_eq!(refused.status.code(), Some(78), "{}", text(&refused.stderr));
        let complaint = text(&refused.stderr);
        assert!(
            complaint.contains("bad.toml") && complaint.contains("api.listn") && complaint.lines().count() == 1,
            "{complaint}"
        );
    }
    std::fs::write(&file, "[unit]\nsite = \"north\"\n").unwrap();
    assert!(run(state.path(), &["config", "check", file.to_str().unwrap()], "").status.success());
    let shown = text(&run(state.path(), &["config", "show", "--config", file.to_str().unwrap()], "").stdout);
    assert!(shown.contains("unit.site = \"north\"") && shown.contains("bad.toml"), "{shown}");
    assert!(shown.contains("api.listen = \"127.0.0.1:8000\"  # default"), "{shown}");
}

#[test]
fn a_taken_port_is_said_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("config.toml");
    std::fs::write(&file, format!("[api]\nlisten = \"{}\"\n", taken.local_addr().unwrap())).unwrap();
    let output = run(state.path(), &["serve", "--config", file.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("Cannot listen on"), "{}", text(&output.stderr));
}

#[test]
fn accounts_are_made_changed_and_guarded() {
    let state = tempfile::tempdir().unwrap();
    let user = |arguments: &[&str], stdin: &str| run(state.path(), &[&["user"], arguments].concat(), stdin);
    let long = "a long walk by the river\n";
    assert!(user(&["add", "ann", "--role", "admin", "--password-stdin"], long).status.success());
    for (arguments, stdin, part) in [
        (&["add", "ann", "--role", "user", "--password-stdin"][..], long, "ann"),
        (&["add", "bob", "--role", "user", "--password-stdin"], "short\n", "15"),
        (&["add", "bob", "--role", "user", "--password-stdin"], "passwordpassword\n", "common"),
        (&["add", "bob", "--role", "user"], long, "--password-stdin"),
        (&["disable", "ann"], "", "admin"),
        (&["delete", "ann"], "", "admin"),
        (&["set-role", "ann", "user"], "", "admin"),
        (&["enable", "nobody"], "", "nobody"),
    ] {
        let output = user(arguments, stdin);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(part), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(user(&["add", "bob", "--role", "king", "--password-stdin"], long).status.code(), Some(2));
    assert!(user(&["add", "bob", "--role", "user", "--password-stdin"], long).status.success());
    let listed = text(&user(&["list"], "").stdout);
    assert!(listed.contains("ann") && listed.contains("bob") && !listed.contains("argon2"), "{listed}");
}

#[test]
fn the_doctor_is_content_with_a_fresh_unit_and_names_what_is_wrong() {
    let (state, output) = on_new_state(&["doctor"]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    let file = state.path().join("config.toml");
    std::fs::write(&file, "[capture]\nsource = \"replay:/nonexistent\"\n").unwrap();
    let sick = run(state.path(), &["doctor", "--json", "--config", file.to_str().unwrap()], "");
    assert_eq!(sick.status.code(), Some(1));
    let findings: Vec<serde_json::Value> =
        text(&sick.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let camera = findings.iter().find(|finding| finding["check"] == "camera").unwrap();
    assert_eq!(camera["verdict"], "failed");
    assert!(camera["message"].as_str().unwrap().contains("/nonexistent"));
}

#[test]
fn a_damaged_model_is_found_and_not_activated() {
    let state = tempfile::tempdir().unwrap();
    let models = state.path().join("models");
    let shipped = newest_model();
    let name = shipped.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let copy = models.join(name).join("1.0.0");
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(&shipped).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let model = |arguments: &[&str]| {
        let mut command = crate::unit::program();
        command.args(["model"]).args(arguments).arg("--state-directory").arg(state.path());
        command.env("VEHICLE_CLASSIFIER__CLASSIFIER__MODELS_DIRECTORY", &models).output().unwrap()
    };
    let sound = model(&["verify"]);
    assert!(sound.status.success() && text(&sound.stdout).contains("is sound"), "{}", text(&sound.stderr));
    assert!(model(&["activate", name]).status.success());
    assert!(text(&model(&["list"]).stdout).contains('*'));
    flip_a_byte(&copy.join("model.tflite"));
    let damaged = model(&["activate", name]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(text(&damaged.stderr).contains("damaged"), "{}", text(&damaged.stderr));
}

#[test]
fn a_half_copied_newer_model_is_passed_over_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let shipped = newest_model();
    let name = shipped.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let manifest = std::fs::read_to_string(shipped.join("manifest.json")).unwrap();
    let version = |version: &str| {
        let copy = directory.path().join(&name).join(version);
        std::fs::create_dir_all(&copy).unwrap();
        for entry in std::fs::read_dir(&shipped).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        let mut named: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        named["version"] = version.into();
        std::fs::write(copy.join("manifest.json"), named.to_string()).unwrap();
        copy
    };
    version("1.0.0");
    let model = version("2.0.0").join("model.tflite");
    let half = std::fs::metadata(&model).unwrap().len() / 2;
    std::fs::File::options().write(true).open(&model).unwrap().set_len(half).unwrap();
    std::fs::write(version("3.0.0").join("manifest.json"), &manifest[..manifest.len() / 2]).unwrap();

    let models = directory.path().to_str().unwrap();
    let unit = Unit::with(&[("CLASSIFIER__MODELS_DIRECTORY", models)]);
    for unusable in ["2.0.0", "3.0.0"] {
        unit.log.wait_for(&format!("{name}@{unusable}"));
    }
    let token = unit.account("ann", "user");
    let classified = unit.classify(&token, "golden.jpg", &golden()).json();
    assert_eq!(classified["data"]["model_version"], "1.0.0", "{classified}");
    let health = unit.get("/health", "").json();
    let reasons: Vec<_> = health["reasons"].as_array().unwrap().iter().filter_map(|reason| reason.as_str()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("newer model version")), "{health}");

    let mut doctor = crate::unit::program();
    doctor.args(["doctor", "--state-directory"]).arg(unit.state_directory());
    let doctor = doctor.env("VEHICLE_CLASSIFIER__CLASSIFIER__MODELS_DIRECTORY", models).output().unwrap();
    let said = text(&doctor.stdout).lines().find(|line| line.contains(" model ")).unwrap().to_owned();
    assert!(said.starts_with("FAILED") && said.contains("@2.0.0") && said.contains("@3.0.0"), "{said}");

    // The reload after the repair takes the newest one, and health is content.
    for unusable in ["2.0.0", "3.0.0"] {
        version(unusable);
    }
    unit.signal("HUP");
    until("the newest version answers without complaint", || {
        let health = unit.get("/health", "").json();
        unit.classify(&token, "golden.jpg", &golden()).json()["data"]["model_version"] == "3.0.0"
            && !health["reasons"].to_string().contains("newer model version")
    });
}

fn flip_a_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_bench_measures_every_stage() {
    let (_state, output) = on_new_state(&["bench", "--json", "--seconds", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stages: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["decode", "resize", "invoke", "store", "http upload", "ready"]);
    for stage in stages.iter().filter(|stage| stage["stage"] != "ready") {
        assert!(stage["p50_ms"].as_f64().unwrap() > 0.0 && stage["rounds"].as_u64().unwrap() >= 10, "{stage}");
        assert!(stage["p99_ms"].as_f64().unwrap() >= stage["p50_ms"].as_f64().unwrap(), "{stage}");
    }
}

#[test]
fn completions_and_version_are_there() {
    for shell in ["bash", "zsh", "fish"] {
        let (_state, output) = on_new_state(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("classify"), "{shell}");
    }
    let (_state, version) = on_new_state(&["--version"]);
    assert!(text(&version.stdout).starts_with("vehicle-classifierd 0."), "{}", text(&version.stdout));
}

#[test]
fn a_closed_pipe_ends_every_command_quietly() {
    let state = tempfile::tempdir().unwrap();
    let range = ["--from", "2020-01-01", "--to", "2099-01-01"];
    for arguments in [
        &["completions", "bash"][..],
        &["config", "show"],
        &["doctor"],
        &["model", "list"],
        &["user", "list"],
        &["token", "list"],
        &["audit", "verify"],
        &["store", "check"],
        &[&["export", "audit"], &range[..]].concat(),
        &[&["export", "audit", "--format", "json"], &range[..]].concat(),
        &[&["export", "counts", "--scheme", "tls8+1", "--interval", "1d"], &range[..]].concat(),
    ] {
        let mut command = crate::unit::program();
        command.args(arguments).arg("--state-directory").arg(state.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn a_mistake_in_the_arguments_is_one_line_and_exit_code_2() {
    for arguments in [
        &["fly"][..],
        &["--fly"],
        &["count"],
        &["count", "clip.mjpeg", "--fps", "0"],
        &["count", "clip.mjpeg", "--fps", "often"],
        &["bench", "--seconds", "0"],
        &["export", "passages", "--from", "2026-05-01"],
        &["user", "add", "bob", "--role", "king"],
    ] {
        let (_state, output) = on_new_state(arguments);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
        assert!(said.starts_with("vehicle-classifierd: ") && said.contains("--help"), "{said}");
    }
}

#[test]
fn long_work_shows_progress_on_a_terminal_and_none_elsewhere() {
    let state = tempfile::tempdir().unwrap();
    let place = |name: &str| state.path().join(name).to_str().unwrap().to_owned();
    for (arguments, shown) in [
        (format!("store check --state-directory {}", place("a")), "checking the database"),
        (format!("backup {} --state-directory {}", place("first.db"), place("a")), "copying the database"),
        (format!("bench --seconds 1 --state-directory {}", place("a")), "measuring the stages"),
        (
            format!("export audit --from 2020-01-01 --to 2099-01-01 --state-directory {} > /dev/null", place("a")),
            "rows",
        ),
    ] {
        // `script` gives the command a terminal of its own.
        let program = crate::unit::program();
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &format!("{} {arguments}", program.get_program().to_str().unwrap()), "/dev/null"]);
        terminal.env("TERM", "xterm").stdin(Stdio::null());
        terminal.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let seen = terminal.output().unwrap();
        assert!(seen.status.success() && text(&seen.stdout).contains(shown), "{arguments}: {}", text(&seen.stdout));
        let arguments = arguments.replace("first.db", "second.db").replace(" > /dev/null", "");
        let words: Vec<_> = arguments.split(' ').collect();
        let output = crate::unit::program().args(words).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments}: {}", text(&output.stderr));
    }
}
