//! `config check [FILE]`, `config show`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::say;
use crate::config::{Sources, load};
use crate::daemon::startup::Startup;
use crate::error::Result;
use crate::place::state_path;

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Validates the configuration, or FILE in its place, with the files it names; exit code 78 when `serve` could not use it
    Check { file: Option<PathBuf> },
    /// Prints every key with its value and where it came from; secrets are masked
    Show,
}

pub fn run(command: ConfigCommand, mut sources: Sources) -> Result<ExitCode> {
    match command {
        ConfigCommand::Check { file } => {
            if file.is_some() {
                sources.file = file;
            }
            let loaded = load(&sources)?;
            Startup::read(&loaded, &state_path(&loaded.config.store))?;
            say("The configuration is valid.")?;
        }
        ConfigCommand::Show => {
            for (key, value, origin) in load(&sources)?.entries() {
                say(&format!("{key} = {value}  # {origin}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
