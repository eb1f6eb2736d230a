//! `completions SHELL`.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::unwritable;
use crate::error::Result;

#[derive(clap::Args)]
pub struct CompletionsArguments {
    shell: Shell,
}

pub fn run(arguments: &CompletionsArguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "vehicle-classifierd", &mut script);
    std::io::stdout().write_all(&script).map_err(unwritable)?;
    Ok(ExitCode::SUCCESS)
}
