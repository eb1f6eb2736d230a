//! `backup FILE`, `store check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::{Context, complain, say};
use crate::error::{Error, Result};

#[derive(clap::Args)]
pub struct BackupArguments {
    /// A file that does not exist yet
    file: PathBuf,
}

#[derive(Subcommand)]
pub enum Command {
    /// Checks the whole database: pages, indices, references; exit code 1 when something is wrong
    Check,
}

pub fn backup(arguments: &BackupArguments, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let done = store.backup(&arguments.file).wait();
    store.close();
    done?;
    say(&format!("The database was copied to {}.", arguments.file.display()))?;
    Ok(ExitCode::SUCCESS)
}

pub fn run(command: &Command, context: &Context) -> Result<ExitCode> {
    let Command::Check = command;
    let store = context.store()?;
    let problems = store.check().wait();
    store.close();
    let problems = problems?;
    for problem in &problems {
        complain(&Error::internal(format!("database: {problem}")));
    }
    if problems.is_empty() {
        say("The database is sound.")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
