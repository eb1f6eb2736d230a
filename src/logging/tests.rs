//! What a daemon's log says of panics and of the runtime's own lines, in a process of its own each: the log is the process's.

use std::process::Command;

use super::{install, through_the_log};
use crate::config::{LogConfig, LogFormat};

/// Marks the process that the test starts.
const INNER: &str = "LOGGING_TEST_INNER";

/// The lines on standard error of the test `name`, run in a process of its own.
fn stderr_of(name: &str) -> Vec<serde_json::Value> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("logging::tests::{name}"), "--nocapture"])
        .env(INNER, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line:?}"))).collect()
}

fn is_inner() -> bool {
    if std::env::var_os(INNER).is_none() {
        return false;
    }
    install(&LogConfig { format: LogFormat::Json, level: "info".into() }).unwrap();
    true
}

#[test]
fn a_panic_is_one_masked_line_of_the_log_with_its_span() {
    if is_inner() {
        let panics = || {
            let _request = tracing::error_span!("request", request_id = "abc-1").entered();
            panic!("cannot open redis://unit:hunter2@central/");
        };
        std::thread::Builder::new().name("inference-7".into()).spawn(panics).unwrap().join().unwrap_err();
        return;
    }
    let lines = stderr_of("a_panic_is_one_masked_line_of_the_log_with_its_span");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&line["level"], &line["thread"]), (&"ERROR".into(), &"inference-7".into()));
    assert_eq!(line["message"], "panicked: cannot open redis://unit:***@central/");
    assert!(line["location"].as_str().unwrap().contains("logging/tests.rs:"), "{line}");
    assert_eq!(line["span"]["request_id"], "abc-1");
}

#[test]
fn what_a_library_writes_to_standard_error_becomes_lines_of_the_log() {
    if is_inner() {
        let answer = through_the_log(|| {
            // As C++ does, past Rust's own lock.
            rustix::io::write(rustix::stdio::stderr(), b"INFO: Created TensorFlow Lite XNNPACK delegate\n").unwrap();
            7
        });
        assert_eq!(answer, 7);
        tracing::info!("after");
        return;
    }
    let lines = stderr_of("what_a_library_writes_to_standard_error_becomes_lines_of_the_log");
    let said: Vec<_> = lines.iter().map(|line| (&line["target"], &line["message"])).collect();
    assert_eq!(said[0], (&"tensorflow_lite".into(), &"INFO: Created TensorFlow Lite XNNPACK delegate".into()));
    assert_eq!(said[1].1, "after");
}
