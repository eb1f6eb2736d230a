//! docs/DEPLOYMENT.md and docs/DEVICE.md: every command is run here or in tests/package.sh, or at least names what there is;
//! every piece of configuration is valid.

use std::fs;
use std::path::Path;

use crate::unit::{program, run};

const PAGES: [&str; 2] = [include_str!("../../docs/DEPLOYMENT.md"), include_str!("../../docs/DEVICE.md")];
/// Run by hand in a clean Debian (make test-package).
const PACKAGE_TEST: &str = include_str!("../package.sh");
const MAKEFILE: &str = include_str!("../../Makefile");

/// Blocks of the pages in one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let parts = PAGES.iter().flat_map(|page| page.split("```").skip(1).step_by(2));
    parts
        .filter_map(|block| block.split_once('\n'))
        .filter(|(named, _)| *named == language)
        .map(|(_, text)| text)
        .collect()
}

fn commands() -> Vec<&'static str> {
    blocks("sh").into_iter().flat_map(str::lines).collect()
}

#[test]
fn every_command_of_the_program_works() {
    let state = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for command in commands() {
        let own = command.strip_prefix("runuser -u vehicle-classifier -- ").unwrap_or(command);
        let Some(arguments) = own.strip_prefix("vehicle-classifierd ") else { continue };
        let output = run(state.path(), &arguments.split(' ').collect::<Vec<_>>(), "");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        seen += 1;
    }
    assert!(seen >= 4);
}

#[test]
fn every_other_command_is_one_that_is_run_or_names_what_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for command in commands() {
        let words: Vec<_> = command.split(' ').collect();
        let known = match words[0] {
            "make" => MAKEFILE.contains(&format!("\n{}: ", words[1])),
            "systemctl" | "journalctl" => words
                .iter()
                .filter(|word| word.ends_with(".service") || word.ends_with(".timer"))
                .all(|unit| root.join("systemd").join(unit).is_file()),
            "vehicle-classifierd" | "runuser" => true,
            "dpkg" => PACKAGE_TEST.contains("\ndpkg -i "),
            "curl" => PACKAGE_TEST.contains("curl -fsS $url/health"),
            "install" => PACKAGE_TEST.contains(command),
            _ => false,
        };
        assert!(known, "nothing runs or checks this command: {command}");
    }
}

#[test]
fn every_piece_of_configuration_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let pieces = blocks("toml");
    assert!(pieces.len() >= 2);
    for text in pieces {
        let file = directory.path().join("config.toml");
        fs::write(&file, text).unwrap();
        let output = program().args(["config", "check"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
