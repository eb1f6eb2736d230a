//! `user add|list|set-role|set-password|enable|disable|delete`. Passwords come from a prompt or from standard input, never
//! from an argument, which other processes could read.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::api::UserWire;
use crate::auth::password::hash;
use crate::auth::{PasswordRules, check_account_name};
use crate::cli::table::table;
use crate::cli::{Context, ListArguments, json_lines, say};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::record::Role;
use crate::store::NewUser;

/// Longer input lines are no passwords.
const LINE_BYTES_MAX: u64 = 4_096;

#[derive(Subcommand)]
pub enum UserCommand {
    /// Creates an account
    Add {
        name: String,
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        password: PasswordSource,
        /// The account opens nothing until its owner has changed the password
        #[arg(long)]
        must_change: bool,
    },
    /// Lists the accounts
    List(ListArguments),
    /// Changes what an account may do, at once
    SetRole { name: String, role: Role },
    /// Sets a new password and voids the account's tokens
    SetPassword {
        name: String,
        #[command(flatten)]
        password: PasswordSource,
        /// The account opens nothing until its owner has changed the password
        #[arg(long)]
        must_change: bool,
    },
    /// Lets a disabled account in again
    Enable { name: String },
    /// Locks an account out, at once
    Disable { name: String },
    /// Deletes an account; what it did stays in the records
    Delete { name: String },
}

#[derive(clap::Args)]
pub struct PasswordSource {
    /// Read the password from one line of standard input instead of a prompt
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordSource {
    fn read(&self) -> Result<String> {
        if self.password_stdin {
            let mut line = String::new();
            let read = std::io::Read::take(std::io::stdin().lock(), LINE_BYTES_MAX).read_line(&mut line);
            read.map_err(|cause| Error::validation("The password cannot be read from standard input.").because(cause))?;
            return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Error::validation(
                "There is no terminal to ask for the password on; give it with --password-stdin.",
            ));
        }
        let ask = |prompt| {
            rpassword::prompt_password(prompt)
                .map_err(|cause| Error::validation("The password cannot be read.").because(cause))
        };
        let password = ask("Password: ")?;
        if ask("Once more: ")? != password {
            return Err(Error::validation("The two passwords differ; nothing was changed."));
        }
        Ok(password)
    }
}

pub fn run(command: UserCommand, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let done = apply(command, context, &store);
    store.close();
    say(&done?)?;
    Ok(ExitCode::SUCCESS)
}

fn apply(command: UserCommand, context: &Context, store: &crate::store::Store) -> Result<String> {
    let event = |action: &str, name: &str, details| context.audit(action, name, details);
    let now = context.clock.wall();
    Ok(match command {
        UserCommand::Add { name, role, password, must_change } => {
            check_account_name(&name)?;
            let password_hash = checked_hash(context, &password, &name)?;
            let new =
                NewUser { name: name.clone(), role, password_hash, must_change_password: must_change, created_at: now };
            store.add_user(new, event("user.add", &name, json!({ "role": role }))).wait()?;
            format!("The account {name} was created with the role {role}.")
        }
        UserCommand::List(ListArguments { json: true }) => {
            json_lines(store.users().wait()?.iter().map(UserWire::from))?
        }
        UserCommand::List(_) => {
            let users = store.users().wait()?;
            let yes = |flag| if flag { "yes" } else { "no" }.to_owned();
            let row = |user: &crate::record::User| {
                vec![
                    user.name.clone(),
                    user.role.to_string(),
                    yes(user.enabled),
                    yes(user.must_change_password),
                    user.created_at.to_string(),
                ]
            };
            table(
                &["NAME", "ROLE", "ENABLED", "MUST CHANGE PASSWORD", "CREATED"],
                &users.iter().map(row).collect::<Vec<_>>(),
            )
        }
        UserCommand::SetRole { name, role } => {
            store.set_role(&name, role, event("user.set_role", &name, json!({ "role": role }))).wait()?;
            format!("The account {name} has the role {role} now.")
        }
        UserCommand::SetPassword { name, password, must_change } => {
            let hash = checked_hash(context, &password, &name)?;
            let event = event("user.set_password", &name, json!({ "must_change": must_change }));
            store.set_password(&name, hash, must_change, None, event).wait()?;
            store.forget_first_password(&name);
            format!("The account {name} has a new password; its tokens are void.")
        }
        UserCommand::Enable { name } => {
            store.set_enabled(&name, true, event("user.enable", &name, json!({}))).wait()?;
            format!("The account {name} is enabled.")
        }
        UserCommand::Disable { name } => {
            store.set_enabled(&name, false, event("user.disable", &name, json!({}))).wait()?;
            format!("The account {name} is disabled; its tokens are void.")
        }
        UserCommand::Delete { name } => {
            store.delete_user(&name, event("user.delete", &name, json!({}))).wait()?;
            store.forget_first_password(&name);
            format!("The account {name} was deleted.")
        }
    })
}

fn checked_hash(context: &Context, source: &PasswordSource, name: &str) -> Result<String> {
    let password = source.read()?;
    PasswordRules { length_min: context.loaded.config.auth.password_length_min }.check(&password, name)?;
    hash(&password)
}
