//! docs/QUICKSTART.md, run as it stands.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::unit::Unit;

const PAGE: &str = include_str!("../../docs/QUICKSTART.md");
/// Printed between two blocks, so that each one's output can be told apart.
const MARK: &str = "=== next block ===";

/// Blocks of the page as (language, text).
fn blocks() -> Vec<(&'static str, &'static str)> {
    let parts: Vec<_> = PAGE.split("```").collect();
    parts.iter().skip(1).step_by(2).filter_map(|block| block.split_once('\n')).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `…` matches anything within a line.
fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else { return false };
    let parts: Vec<_> = parts.collect();
    for (place, part) in parts.iter().enumerate() {
        if place + 1 == parts.len() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

fn shell(unit: &Unit, script: &str) -> String {
    let workplace = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("models"), workplace.path().join("models")).unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_vehicle-classifierd"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(workplace.path())
        .env("PATH", path)
        .env("VEHICLE_CLASSIFIER__CLASSIFIER__MODELS_DIRECTORY", root().join("models"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaint}\n{}", unit.log.text());
    said
}

#[test]
fn every_command_of_the_quick_start_does_what_the_page_says() {
    let unit = Unit::start();
    let mut script = String::new();
    let mut expected = Vec::new();
    for (language, text) in blocks() {
        match language {
            "sh" => script.push_str(&format!("echo '{MARK}'\n{text}")),
            "text" => expected.push((script.matches(MARK).count(), text)),
            other => panic!("a block of {other:?}"),
        }
    }
    let script = script
        .replace("UNIT=http://127.0.0.1:8000", &format!("UNIT={}", unit.url("")))
        .replace("STATE=.state", &format!("STATE={}", unit.state_directory().display()));
    let said = shell(&unit, &script);
    let outputs: Vec<_> = said.split(&format!("{MARK}\n")).collect();
    for (block, pattern) in expected {
        let (wanted, found): (Vec<_>, Vec<_>) = (pattern.lines().collect(), outputs[block].lines().collect());
        let same =
            wanted.len() == found.len() && wanted.iter().zip(&found).all(|(pattern, line)| matches(pattern, line));
        assert!(same, "the page says:\n{pattern}\nand it is:\n{}", outputs[block]);
    }
}

#[test]
fn the_pattern_of_the_page_is_no_blank_cheque() {
    assert!(matches("a … c", "a b c") && matches("…", "x") && matches("same", "same"));
    assert!(!matches("a … c", "a b d") && !matches("same", "same not") && !matches("b…", "ab"));
}
