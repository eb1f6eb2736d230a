//! The configuration that the running unit works with, secrets masked, kept in its state directory for `doctor`: a shell sees
//! neither the environment nor the credentials that the service manager gave the unit.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Loaded;
use crate::files::write_new;

const FILE: &str = "running-configuration.json";
/// The program's name as the kernel keeps it: 15 bytes (`proc_pid_comm(5)`).
const COMMAND: &str = "vehicle-classif";

/// What a running unit works with.
#[derive(Serialize, Deserialize)]
pub struct Effective {
    pid: u32,
    pub entries: Vec<EffectiveEntry>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct EffectiveEntry {
    pub key: String,
    /// `***` for a secret.
    pub value: Value,
    /// A file, `the environment`, `systemd credentials`, `the command line` or `default`.
    pub source: String,
}

fn path(state_directory: &Path) -> PathBuf {
    state_directory.join(FILE)
}

/// Every key as the unit has it.
#[must_use]
pub fn entries(loaded: &Loaded) -> Vec<EffectiveEntry> {
    loaded.entries().into_iter().map(|(key, value, source)| EffectiveEntry { key, value, source }).collect()
}

/// Keeps what this process works with. The unit runs without it too.
pub fn keep(state_directory: &Path, entries: Vec<EffectiveEntry>) {
    let effective = Effective { pid: std::process::id(), entries };
    let kept = serde_json::to_vec(&effective)
        .map_err(|cause| cause.to_string())
        .and_then(|json| write_new(&path(state_directory), &json, 0o600).map_err(|error| error.chain()));
    if let Err(cause) = kept {
        tracing::warn!("doctor cannot ask this unit for its configuration: {cause}");
    }
}

/// The unit stops.
pub fn forget(state_directory: &Path) {
    // A file that stays names a process that is gone.
    let _ = fs::remove_file(path(state_directory));
}

/// What the unit that runs on this state directory works with; none when none runs.
#[must_use]
pub fn of_running_unit(state_directory: &Path) -> Option<Effective> {
    let effective: Effective = serde_json::from_slice(&fs::read(path(state_directory)).ok()?).ok()?;
    let command = fs::read_to_string(format!("/proc/{}/comm", effective.pid)).ok()?;
    command.starts_with(COMMAND).then_some(effective)
}
