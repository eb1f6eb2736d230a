//! What `config check` and `doctor` say is what `serve` does.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::unit::{Unit, program, run};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The command with one configuration file.
fn with_file(state: &Path, content: &str, command: &[&str]) -> Output {
    let file = state.join("config.toml");
    std::fs::write(&file, content).unwrap();
    run(state, &[command, &["--config", file.to_str().unwrap()]].concat(), "")
}

fn findings(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn finding(output: &Output, check: &str) -> Value {
    findings(output).into_iter().find(|finding| finding["check"] == check).unwrap()
}

#[test]
fn config_check_and_doctor_refuse_what_serve_cannot_start_with() {
    let video = "[capture]\nsource = \"v4l2:/dev/video-of-no-machine\"\n";
    for (content, key) in [
        ("[log]\nlevel = \"warning\"\n".to_owned(), "log.level"),
        ("[log]\nlevel = \"inof\"\n".to_owned(), "log.level"),
        (format!("{video}[traffic]\ndetector = \"not-installed\"\n"), "traffic.detector"),
        ("[classifier]\nmodel = \"not-installed\"\n".to_owned(), "classifier.model"),
        ("[capture]\nsource = \"replay:/x?speed=2\"\n".to_owned(), "capture.source"),
        ("[api.tls]\ncertificate = \"/nowhere.pem\"\nkey = \"/nowhere.pem\"\n".to_owned(), "/nowhere.pem"),
        ("[sync]\nredis_url = \"rediss://x\"\nca_file = \"/nowhere.pem\"\n".to_owned(), "sync.ca_file"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let checked = with_file(state.path(), &content, &["config", "check"]);
        assert_eq!(checked.status.code(), Some(78), "{content}: {}", text(&checked.stdout));
        let complaint = text(&checked.stderr);
        assert!(complaint.contains(key) && complaint.lines().count() == 1, "{content}: {complaint}");
        let examined = with_file(state.path(), &content, &["doctor", "--json"]);
        assert_eq!(examined.status.code(), Some(1), "{content}: {}", text(&examined.stdout));
        let served = with_file(state.path(), &content, &["serve"]);
        assert!(!served.status.success(), "{content}");
        assert!(text(&served.stderr).contains(key), "{content}: {}", text(&served.stderr));
    }
}

#[test]
fn a_central_outage_is_told_by_doctor_and_fails_no_update() {
    let state = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let content = format!("[sync]\nredis_url = \"redis://unit:hidden-word@{nobody}\"\nconnect_timeout_ms = 1000\n");
    let examined = with_file(state.path(), &content, &["doctor", "--json"]);
    let redis = finding(&examined, "redis");
    assert_eq!((&redis["verdict"], &redis["required"]), (&"failed".into(), &false.into()), "{redis}");
    assert!(examined.status.success(), "{}", text(&examined.stdout));
    assert!(!text(&examined.stdout).contains("hidden-word"), "{}", text(&examined.stdout));
    let camera = finding(&examined, "camera");
    assert_eq!(camera["required"], true);
}

#[test]
fn doctor_asks_the_running_unit_for_the_configuration_that_no_shell_sees() {
    let unit = Unit::with(&[
        ("UNIT__SITE", "Depot 7"),
        ("CAPTURE__SOURCE", "replay:/nowhere"),
        ("AUTH__SECRET_KEY", "0123456789abcdef0123456789abcdef"),
    ]);
    let state = unit.state_directory().to_owned();
    let examined = run(&state, &["doctor", "--json"], "");
    let running = finding(&examined, "running unit");
    let said = running["message"].as_str().unwrap();
    assert!(said.contains("unit.site") && said.contains("capture.source"), "{said}");
    let camera = finding(&examined, "camera");
    assert!(camera["message"].as_str().unwrap().contains("/nowhere"), "{camera}");
    let kept = state.join("running-configuration.json");
    let everything = text(&examined.stdout) + &std::fs::read_to_string(&kept).unwrap();
    assert!(!everything.contains("0123456789abcdef"), "{everything}");
    let mut unit = unit;
    unit.signal("TERM");
    assert!(unit.wait().success());
    let alone = run(&state, &["doctor", "--json"], "");
    assert!(finding(&alone, "running unit")["message"].as_str().unwrap().contains("no unit runs"));
}

#[test]
fn every_list_of_the_command_line_comes_as_json() {
    let state = tempfile::tempdir().unwrap();
    let done = |command: &[&str], stdin: &str| {
        let output = run(state.path(), command, stdin);
        assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| line.to_owned()).collect::<Vec<_>>()
    };
    done(&["user", "add", "ann", "--role", "admin", "--password-stdin"], "a long walk by the river\n");
    done(&["token", "issue", "--name", "prometheus", "--scope", "metrics"], "");
    for (list, keys) in [
        ("user", &["created_at", "enabled", "must_change_password", "name", "role"][..]),
        ("token", &["created_at", "expires_at", "id", "name", "revoked_at", "scopes"]),
        ("model", &["active", "directory", "name", "version"]),
    ] {
        let lines = done(&[list, "list", "--json"], "");
        assert!(!lines.is_empty(), "{list}");
        for line in lines {
            let object: Value = serde_json::from_str(&line).unwrap();
            let mut found: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
            found.sort_unstable();
            assert_eq!(found, keys, "{list}");
        }
    }
}

#[test]
fn a_variable_of_another_program_that_is_no_text_stops_no_command() {
    let state = tempfile::tempdir().unwrap();
    let bytes = || std::ffi::OsString::from_vec(vec![b'x', 0xff, b'y']);
    let run = |name: &std::ffi::OsStr, command: &[&str]| {
        program().args(command).arg("--state-directory").arg(state.path()).env(name, bytes()).output().unwrap()
    };
    for command in [&["config", "check"][..], &["user", "list"], &["token", "list"], &["model", "list"], &["doctor"]] {
        let done = run("FOREIGN".as_ref(), command);
        assert!(done.status.success(), "{command:?}: {}", text(&done.stderr));
        assert!(run(&bytes(), command).status.success(), "{command:?}: a name that is no text");
        let own = run("VEHICLE_CLASSIFIER__UNIT__SITE".as_ref(), command);
        assert!(!text(&own.stderr).contains("panicked"), "{command:?}: {}", text(&own.stderr));
        let said = text(&own.stderr) + &text(&own.stdout);
        assert!(!own.status.success() && said.contains("VEHICLE_CLASSIFIER__UNIT__SITE"), "{command:?}: {said}");
    }
}
