//! The command line: one file a command, errors in one line, exit codes as sysexits has them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::clock::{Clock, SystemClock};
use crate::config::{Loaded, Sources, environment, load};
use crate::daemon;
use crate::error::{Error, ErrorKind, Result};
use crate::files::act_as_owner;
use crate::ledger::table::UNWRITABLE as TABLE_UNWRITABLE;
use crate::metrics::Metrics;
use crate::place;
use crate::record::{AuditEvent, Outcome};
use crate::store::{DATABASE_FILE, Store};

mod audit;
mod bench;
mod classify;
mod completions;
mod config;
mod count;
mod doctor;
mod export;
mod model;
mod progress;
mod serve;
mod store;
mod table;
mod token;
mod user;

/// The vehicle-classifying roadside camera unit.
#[derive(Parser)]
#[command(name = "vehicle-classifierd", version = VERSION, max_term_width = 100)]
struct Arguments {
    /// Configuration file [default: /etc/vehicle-classifier/config.toml when it exists]
    #[arg(long, global = true, value_name = "F")]
    config: Option<PathBuf>,
    /// Where the unit keeps its database, keys and first password
    #[arg(long, global = true, value_name = "D")]
    state_directory: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("VEHICLE_CLASSIFIER_COMMIT"), ")");

#[derive(Subcommand)]
enum Command {
    /// Runs the unit: capture, classification, store, API, metrics (also without a command)
    Serve,
    /// Classifies picture files without a running unit
    Classify(classify::ClassifyArguments),
    /// Counts the vehicles that pass in a recorded clip, with the configured lines
    Count(count::CountArguments),
    /// Checks the set-up: one line a check, with the remedy
    Doctor(doctor::DoctorArguments),
    /// Measures this device: decode, resize, invoke, store, end to end
    Bench(bench::BenchArguments),
    /// Validates or shows the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Accounts
    #[command(subcommand)]
    User(user::UserCommand),
    /// Long-lived tokens for machines
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Installed models
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// The audit trail
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Writes reports, passages, counts or the audit trail to standard output, any length
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// Copies the database of a running or resting unit into a new file
    Backup(store::BackupArguments),
    /// Checks a backup and puts it in the place of a resting unit's database
    Restore(store::RestoreArguments),
    /// The database
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Prints a completion script for a shell
    Completions(completions::CompletionsArguments),
}

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match dispatch(arguments) {
        Ok(code) => code,
        // What the reader of standard output wanted, it has (`| head`).
        Err(error) if reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.kind().facts().exit)
        }
    }
}

/// Answers what clap made of the arguments: help and version as they are, a mistake in one line.
fn usage(error: &clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    if !error.use_stderr() || error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return code;
    }
    let text = error.render().to_string();
    let said =
        text.split("\nUsage:").next().unwrap_or_default().split("\nFor more information").next().unwrap_or_default();
    let words: Vec<_> = said.trim_start_matches("error:").split_whitespace().collect();
    complain(&Error::validation(format!("{}; see --help.", words.join(" "))));
    code
}

/// Whether standard output was closed by its reader.
fn reader_left(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    [UNWRITABLE, TABLE_UNWRITABLE].contains(&error.message())
        && cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// One line on standard error.
fn complain(error: &Error) {
    warn(&error.chain());
}

/// The same for what is no error.
fn warn(text: &str) {
    let line = text.replace('\n', " ");
    let _ = writeln!(std::io::stderr(), "vehicle-classifierd: {}", crate::logging::mask(&line));
}

fn dispatch(arguments: Arguments) -> Result<ExitCode> {
    let mut sources =
        Sources { file: arguments.config, environment: environment(std::env::vars_os())?, flags: Vec::new() };
    if let Some(directory) = arguments.state_directory {
        sources.flags.push(("store.state_directory".into(), directory.to_string_lossy().into_owned()));
    }
    let command = arguments.command.unwrap_or(Command::Serve);
    match command {
        Command::Config(command) => config::run(command, sources),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments, &sources),
        Command::Serve => serve::run(&sources),
        rest => with_configuration(rest, &Context::new(load(&sources)?)),
    }
}

fn with_configuration(command: Command, context: &Context) -> Result<ExitCode> {
    match command {
        Command::Classify(arguments) => classify::run(&arguments, context),
        Command::Bench(arguments) => bench::run(&arguments, context),
        Command::Count(arguments) => count::run(&arguments, context),
        Command::User(command) => user::run(command, context),
        Command::Token(command) => token::run(command, context),
        Command::Model(command) => model::run(&command, context),
        Command::Audit(command) => audit::run(&command, context),
        Command::Export(command) => export::run(&command, context),
        Command::Backup(arguments) => store::backup(&arguments, context),
        Command::Restore(arguments) => store::restore(&arguments, context),
        Command::Store(command) => store::run(&command, context),
        Command::Serve | Command::Doctor(_) | Command::Config(_) | Command::Completions(_) => Ok(ExitCode::SUCCESS),
    }
}

/// How a list is printed.
#[derive(Clone, Copy, clap::Args)]
struct ListArguments {
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

/// One JSON object a line, for a list that is printed whole.
fn json_lines(objects: impl IntoIterator<Item = impl serde::Serialize>) -> Result<String> {
    let lines: std::result::Result<Vec<_>, _> =
        objects.into_iter().map(|object| serde_json::to_string(&object)).collect();
    let lines = lines.map_err(|cause| Error::internal("The list cannot be written.").because(cause))?;
    Ok(lines.join("\n"))
}

/// What commands beside a running unit work with.
pub(crate) struct Context {
    pub loaded: Loaded,
    pub clock: SystemClock,
}

impl Context {
    fn new(loaded: Loaded) -> Self {
        Self { loaded, clock: SystemClock::new() }
    }

    fn state_directory(&self) -> Result<PathBuf> {
        place::state_directory(&self.loaded.config.store)
    }

    /// The state directory, to write to: root goes on with the rights of its owner, so that nothing there becomes root's. What
    /// the caller names elsewhere, and the owner may not read, is opened before.
    fn claimed_directory(&self) -> Result<PathBuf> {
        let directory = self.state_directory()?;
        act_as_owner(&directory, DATABASE_FILE)?;
        Ok(directory)
    }

    /// Opens the unit's store beside a running daemon.
    fn store(&self) -> Result<Store> {
        let settings = daemon::store_settings(&self.loaded, self.claimed_directory()?);
        Store::open(settings, Arc::new(Metrics::new()?))
    }

    /// An audit event of this command; the account is the one of the operating system.
    fn audit(&self, action: &str, resource: &str, details: Value) -> AuditEvent {
        let person = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "unknown".into());
        AuditEvent {
            user: Some(format!("local:{person}")),
            action: action.to_owned(),
            resource: resource.to_owned(),
            outcome: Outcome::Success,
            details,
            ip_address: None,
            at: self.clock.now(),
            authority: None,
        }
    }
}

/// Writes a line to standard output; a reader that left (`| head`) ends the program quietly.
fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(unwritable)
}

const UNWRITABLE: &str = "Standard output cannot be written to.";

fn unwritable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::internal(UNWRITABLE).because(cause)
}

/// One JSON value as a line.
fn say_json(value: &impl serde::Serialize) -> Result<()> {
    let line = serde_json::to_string(value)
        .map_err(|cause| Error::internal("The answer cannot be written.").because(cause))?;
    say(&line)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| unreadable(path, &cause))
}

/// Reads a file of at most `bytes_max` bytes; nothing beyond is read, of a device neither.
fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes));
    read.map_err(|cause| unreadable(path, &cause))?;
    if bytes.len() as u64 > bytes_max {
        let message = format!(
            "{}: the file has more than {bytes_max} bytes; use a smaller one, or raise api.upload_bytes_max.",
            path.display()
        );
        return Err(Error::new(ErrorKind::PayloadTooLarge, message));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, cause: &io::Error) -> Error {
    Error::validation(format!("{}: cannot be read ({cause}).", path.display()))
}
