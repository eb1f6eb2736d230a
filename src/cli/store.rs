//! `backup FILE`, `restore FILE`, `store check`, `store acknowledge`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::{Context, complain, progress, say};
use crate::error::{Error, Result};
use crate::files::is_in_owners_hands;
use crate::store::BackupSource;
use crate::{place, store};

#[derive(clap::Args)]
pub struct BackupArguments {
    /// A file that does not exist yet
    file: PathBuf,
}

#[derive(clap::Args)]
pub struct RestoreArguments {
    /// A file that `backup` made, or one of the unit's own in `<state directory>/backups`
    file: PathBuf,
}

#[derive(Subcommand)]
pub enum StoreCommand {
    /// Checks the whole database: pages, indices, references, audit trail; exit code 1 when something is wrong
    Check,
    /// Ends the complaints about damaged databases that were set aside; the files stay, renamed
    Acknowledge,
}

pub fn backup(arguments: &BackupArguments, context: &Context) -> Result<ExitCode> {
    // Onto a stick or into root's own directory root writes as root; the database is only read.
    let directory = context.state_directory()?;
    if is_in_owners_hands(&arguments.file, &directory) {
        context.claimed_directory()?;
    }
    let progress = progress::spinner("{spinner} copying the database, {elapsed}");
    store::back_up(&directory, &arguments.file)?;
    progress.finish_and_clear();
    say(&format!("The database was copied to {}.", arguments.file.display()))?;
    Ok(ExitCode::SUCCESS)
}

pub fn restore(arguments: &RestoreArguments, context: &Context) -> Result<ExitCode> {
    let directory = context.state_directory()?;
    // Root may read a backup that the unit's account cannot, but nothing that this account could have put there as a link.
    let early = (!is_in_owners_hands(&arguments.file, &directory)).then(|| BackupSource::open(&arguments.file));
    let directory = context.claimed_directory()?;
    let source = early.unwrap_or_else(|| BackupSource::open(&arguments.file))?;
    let _hold = place::hold(&directory)?;
    let file = arguments.file.display().to_string();
    let event = context.audit("store.restore", &file, json!({}));
    let restored = store::restore(source, &directory, &event)?;
    let rows: Vec<_> =
        restored.rows.iter().filter(|(_, rows)| *rows > 0).map(|(name, rows)| format!("{rows} {name}")).collect();
    let newest = restored.newest.map_or_else(|| "none".to_owned(), |newest| newest.to_string());
    say(&format!("{file} was checked and restored (version {}): {}.", restored.version, rows.join(", ")))?;
    say(&format!("Its newest audit row is of {newest}; accounts, passwords and tokens are those of that time."))?;
    if let Some(kept) = &restored.kept {
        say(&format!("The database it replaces is kept as {}.", kept.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn run(command: &StoreCommand, context: &Context) -> Result<ExitCode> {
    match command {
        StoreCommand::Check => check(context),
        StoreCommand::Acknowledge => acknowledge(context),
    }
}

fn check(context: &Context) -> Result<ExitCode> {
    let mut problems: Vec<_> = store::damaged_files(&context.state_directory()?)
        .into_iter()
        .map(|name| {
            format!("{name} was set aside because it was damaged; `restore` a backup, then `store acknowledge` ends this line")
        })
        .collect();
    let store = context.store()?;
    let progress = progress::spinner("{spinner} checking the database, {elapsed}");
    let found = store.check().wait();
    let trail = store.verify_audit().wait();
    progress.finish_and_clear();
    let backups = store.backups();
    store.close();
    problems.extend(found?);
    if let Some(row) = trail?.first_broken {
        problems.push(format!("the audit trail is broken at row {row}; see `audit verify`"));
    }
    for problem in &problems {
        complain(&Error::internal(format!("database: {problem}")));
    }
    match backups.last() {
        Some(newest) => {
            say(&format!("{} automatic backup(s), the newest is {}.", backups.len(), newest.path.display()))?
        }
        None => say("No automatic backup yet.")?,
    }
    if problems.is_empty() {
        say("The database is sound.")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn acknowledge(context: &Context) -> Result<ExitCode> {
    let directory = context.claimed_directory()?;
    let names = store::damaged_files(&directory);
    if names.is_empty() {
        say("There is nothing to acknowledge.")?;
        return Ok(ExitCode::SUCCESS);
    }
    let store = context.store()?;
    let recorded = store.record_audit(context.audit("store.acknowledge", &names.join(" "), json!({}))).wait();
    store.close();
    recorded?;
    let count = store::acknowledge_damage(&directory)?;
    say(&format!("{count} damaged file(s) acknowledged; delete unit.db.kept-… when nobody needs them any more."))?;
    Ok(ExitCode::SUCCESS)
}
