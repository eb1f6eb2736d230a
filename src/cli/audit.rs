//! `audit verify`.

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::{Context, complain, say};
use crate::error::{Error, Result};
use crate::store::Fault;

#[derive(Subcommand)]
pub enum AuditCommand {
    /// Walks the hash chain of the audit trail; exit code 1 at the first broken row
    Verify,
}

pub fn run(command: &AuditCommand, context: &Context) -> Result<ExitCode> {
    let AuditCommand::Verify = command;
    let store = context.store()?;
    let check = store.verify_audit().wait();
    store.close();
    let check = check?;
    match check.first_broken {
        None => {
            say(&format!("{} audit rows, an unbroken chain; its head is {}.", check.rows, check.head_hash))?;
            if check.dropped_through > 0 {
                say(&format!(
                    "Rows up to {} were dropped by retention, as the trail itself says.",
                    check.dropped_through
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(row) => {
            let fault = check.fault.map_or_else(String::new, described);
            complain(&Error::validation(format!(
                "The audit trail was tampered with: the first broken row is {row}{fault}; restore a backup or keep this database as evidence."
            )));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn described(fault: Fault) -> String {
    match fault {
        Fault::Edited => ", which was edited (or the hash of the row before it)".into(),
        Fault::Missing { rows: Some(rows) } => format!(", from where {rows} row(s) are missing"),
        Fault::Missing { rows: None } => ", which is missing or not the last one".into(),
        Fault::Inserted => ", which was put in".into(),
        Fault::Swapped { with } => format!(", which changed places with row {with}"),
        Fault::Unvouched => ": those before it were removed, and not by retention".into(),
    }
}
