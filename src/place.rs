//! Where this unit keeps things and what it is called: the state directory, the models, the unit id.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config::{ClassifierConfig, StoreConfig, UnitConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{obstacle, open_lock, write_new};

const SYSTEM_STATE: &str = "/var/lib/vehicle-classifier";
const SYSTEM_MODELS: &str = "/usr/share/vehicle-classifier/models";
const ACTIVE_MODEL: &str = "active-model";
const LOCK_FILE: &str = "unit.lock";
const MACHINE_ID: &str = "/etc/machine-id";
/// How far up from the program `models` is looked for: beside it, and in a source tree (`target/release/…`).
const ANCESTORS_MAX: usize = 4;

/// The state directory, made if it is missing (mode 0700).
///
/// # Errors
/// Config when it cannot be made or written to, with the remedy.
pub fn state_directory(store: &StoreConfig) -> Result<PathBuf> {
    let directory = state_path(store);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.map_err(|cause| {
        let named = directory.display();
        Error::config(format!(
            "Cannot make the state directory {named}: {cause}. Set store.state_directory or --state-directory."
        ))
    })?;
    Ok(directory)
}

/// Where the state directory is, or would be made.
#[must_use]
pub fn state_path(store: &StoreConfig) -> PathBuf {
    if !store.state_directory.as_os_str().is_empty() {
        store.state_directory.clone()
    } else if let Some(given) = std::env::var_os("STATE_DIRECTORY").filter(|given| !given.is_empty()) {
        // systemd gives several, separated by colons, when a unit names several; ours names one.
        given.into()
    } else if Path::new(SYSTEM_STATE).is_dir() {
        SYSTEM_STATE.into()
    } else if let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) {
        Path::new(&home).join(".vehicle-classifier")
    } else {
        SYSTEM_STATE.into()
    }
}

/// The state directory is this process's alone for as long as the value lives, also if the process is killed.
#[derive(Debug)]
pub struct Hold {
    _file: fs::File,
}

/// Takes the state directory for one unit, or for a restore. Commands that work beside a unit do without.
///
/// # Errors
/// Conflict when another process holds it; config when its lock file cannot be made.
pub fn hold(state_directory: &Path) -> Result<Hold> {
    let path = state_directory.join(LOCK_FILE);
    let failed = |cause: std::io::Error| {
        let why = obstacle(&path).or_else(|| obstacle(state_directory)).unwrap_or_else(|| format!("{cause}."));
        Error::config(format!("Cannot lock {}: {why}", path.display()))
    };
    let file = open_lock(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Hold { _file: file }),
        Err(fs::TryLockError::WouldBlock) => {
            let text = format!("A unit is running on {}: stop it first.", state_directory.display());
            Err(Error::new(ErrorKind::Conflict, text))
        }
        Err(fs::TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// The directory that holds the models.
///
/// # Errors
/// Config when there is none, listing where it was looked for.
pub fn models_directory(classifier: &ClassifierConfig) -> Result<PathBuf> {
    if !classifier.models_directory.as_os_str().is_empty() {
        return Ok(classifier.models_directory.clone());
    }
    let mut places = Vec::new();
    if let Ok(program) = std::env::current_exe() {
        places.extend(program.ancestors().skip(1).take(ANCESTORS_MAX).map(|place| place.join("models")));
    }
    places.push("models".into());
    places.push(SYSTEM_MODELS.into());
    if let Some(found) = places.iter().find(|place| holds_models(place)) {
        return Ok(found.clone());
    }
    let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    Err(Error::config(format!("No models were found in {}; set classifier.models_directory.", looked.join(", "))))
}

/// Any `<name>/<version>/manifest.json` below.
fn holds_models(directory: &Path) -> bool {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    entries(directory)
        .flat_map(|name| entries(&name).collect::<Vec<_>>())
        .any(|version| version.join("manifest.json").is_file())
}

/// The configured unit id, or one derived from the machine id (never that itself: machine-id(5)), or a random one that is
/// kept in the state directory.
///
/// # Errors
/// Config when a random one cannot be kept.
pub fn unit_id(unit: &UnitConfig, state_directory: &Path) -> Result<String> {
    if !unit.id.is_empty() {
        return Ok(unit.id.clone());
    }
    if let Some(machine) = fs::read_to_string(MACHINE_ID).ok().filter(|id| !id.trim().is_empty()) {
        return Ok(derived_id(machine.trim()));
    }
    let path = state_directory.join("unit-id");
    if let Some(kept) = fs::read_to_string(&path).ok().filter(|id| !id.trim().is_empty()) {
        return Ok(kept.trim().to_owned());
    }
    let id = derived_id(&uuid::Uuid::new_v4().to_string());
    write_new(&path, id.as_bytes(), 0o644)?;
    Ok(id)
}

/// What `model activate` chose, as `name@version`; empty when nothing was.
///
/// # Errors
/// Config when the choice cannot be read.
pub fn active_model(state_directory: &Path) -> Result<String> {
    let path = state_directory.join(ACTIVE_MODEL);
    match fs::read_to_string(&path) {
        Ok(chosen) => Ok(chosen.trim().to_owned()),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(cause) => Err(Error::config(format!("Cannot read {}: {cause}.", path.display()))),
    }
}

/// Keeps the choice of `model activate` (`name@version`).
///
/// # Errors
/// Config when it cannot be kept.
pub fn set_active_model(state_directory: &Path, title: &str) -> Result<()> {
    write_new(&state_directory.join(ACTIVE_MODEL), format!("{title}\n").as_bytes(), 0o644)
}

fn derived_id(seed: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("vehicle-classifierd unit id\n{seed}")));
    format!("unit-{}", &digest[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_id_tells_nothing_of_the_machine_id_and_stays() {
        let id = derived_id("0123456789abcdef");
        assert!(id.starts_with("unit-") && !id.contains("0123456789"), "{id}");
        assert_eq!(id, derived_id("0123456789abcdef"));
        assert_ne!(id, derived_id("0123456789abcdee"));
    }

    #[test]
    fn a_state_directory_is_held_by_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = hold(directory.path()).unwrap();
        assert_eq!(hold(directory.path()).unwrap_err().kind(), ErrorKind::Conflict);
        drop(first);
        hold(directory.path()).unwrap();
    }

    #[test]
    fn a_state_directory_that_cannot_be_made_is_said() {
        let store = StoreConfig { state_directory: "/proc/nowhere/state".into(), ..StoreConfig::default() };
        let message = state_directory(&store).unwrap_err().to_string();
        assert!(message.contains("/proc/nowhere/state") && message.contains("--state-directory"), "{message}");
    }
}
