//! Lets the program find TensorFlow Lite with no `LD_LIBRARY_PATH`, and tells it the commit it was built from.
//! No clock is read: the same tree gives the same binary.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIBRARY: &str = "libtensorflowlite_c.so";

/// Beside the program; one up, for test binaries in `deps/`; then where the packages install it.
const RUN_PATH: &str = "$ORIGIN:$ORIGIN/..:$ORIGIN/../lib/vehicle-classifier:/usr/lib/vehicle-classifier";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{RUN_PATH}");
    println!("cargo::rustc-env=VEHICLE_CLASSIFIER_COMMIT={}", commit());
    place_library()
}

/// Puts the library beside the program that cargo builds.
fn place_library() -> Result<(), Box<dyn Error>> {
    let target = env::var("TARGET")?.to_uppercase().replace('-', "_");
    let names = [format!("TFLITEC_PREBUILT_PATH_{target}"), "TFLITEC_PREBUILT_PATH".to_owned()];
    for name in &names {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let Some(source) = names.iter().find_map(env::var_os).map(PathBuf::from) else {
        // tflitec now builds the library with bazel, in a folder it tells nobody.
        println!(
            "cargo::warning={} is not set: put the {LIBRARY} of this target beside the program yourself",
            names[0]
        );
        return Ok(());
    };
    println!("cargo::rerun-if-changed={}", source.display());
    let Ok(library) = fs::read(&source) else {
        println!("cargo::error=TensorFlow Lite is missing ({}): run `make setup` first", source.display());
        return Ok(());
    };
    // OUT_DIR is <profile>/build/<package>-<hash>/out, also below a CARGO_TARGET_DIR or a --target folder.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let profile = out.ancestors().nth(3).ok_or("OUT_DIR is too short")?;
    let beside = profile.join(LIBRARY);
    if fs::read(&beside).is_ok_and(|there| there == library) {
        return Ok(());
    }
    // Renamed into place: a daemon running from this folder keeps the file that it has mapped.
    let part = profile.join(format!("{LIBRARY}.part"));
    fs::write(&part, library)?;
    fs::rename(part, beside)?;
    Ok(())
}

/// The commit from the environment (a build from an unpacked archive sets it) or from git.
fn commit() -> String {
    println!("cargo::rerun-if-env-changed=VEHICLE_CLASSIFIER_COMMIT");
    if let Ok(commit) = env::var("VEHICLE_CLASSIFIER_COMMIT") {
        return commit;
    }
    // HEAD changes with the branch, its log with every commit. Only files that exist: cargo takes a missing one for a change.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    // A fixed length: what git finds short enough depends on the clone.
    git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
