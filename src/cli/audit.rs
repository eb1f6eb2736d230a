//! `audit verify`.

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::{Context, complain, say};
use crate::error::{Error, Result};

#[derive(Subcommand)]
pub enum Command {
    /// Walks the hash chain of the audit trail; exit code 1 at the first broken row
    Verify,
}

pub fn run(command: &Command, context: &Context) -> Result<ExitCode> {
    let Command::Verify = command;
    let store = context.store()?;
    let check = store.verify_audit().wait();
    store.close();
    let check = check?;
    match check.first_broken {
        None => {
            say(&format!("{} audit rows, an unbroken chain; its head is {}.", check.rows, check.head_hash))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(row) => {
            complain(&Error::validation(format!(
                "The audit trail was tampered with: the first broken row is {row}; restore a backup or keep this database as evidence."
            )));
            Ok(ExitCode::FAILURE)
        }
    }
}
