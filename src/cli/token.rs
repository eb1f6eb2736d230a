//! `token issue|list|revoke`: long-lived tokens for machines such as Prometheus.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use crate::auth::Signer;
use crate::cli::table::table;
use crate::cli::{Context, ListArguments, json_lines, say, warn};
use crate::clock::{Clock, synchronised};
use crate::error::Result;
use crate::place;
use crate::record::{Scope, ServiceToken};
use crate::store::Store;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Issues a token and prints it, once
    Issue {
        /// What the token is for, for example `prometheus`; must be new
        #[arg(long)]
        name: String,
        /// What it may do: metrics, read or classify; may be repeated
        #[arg(long, required = true, value_delimiter = ',')]
        scope: Vec<Scope>,
        /// Days until it expires
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: u32,
    },
    /// Lists the tokens, without the tokens themselves
    List(ListArguments),
    /// Voids a token, at once
    Revoke { name: String },
}

pub fn run(command: TokenCommand, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let done = apply(command, context, &store);
    store.close();
    say(&done?)?;
    Ok(ExitCode::SUCCESS)
}

fn apply(command: TokenCommand, context: &Context, store: &Store) -> Result<String> {
    let now = context.clock.wall();
    match command {
        TokenCommand::Issue { name, mut scope, days } => {
            scope.sort_unstable();
            scope.dedup();
            let directory = context.state_directory()?;
            let key = crate::daemon::token_key(&context.loaded, &directory)?;
            let signer = Signer::new(&key, place::unit_id(&context.loaded.config.unit, &directory)?);
            let issued = signer.issue_service(&name, &scope, now, DAY * days)?;
            let event = context.audit("token.issue", &name, json!({ "scopes": scope, "days": days }));
            let token = ServiceToken {
                id: issued.id,
                name,
                scopes: scope,
                created_at: now,
                expires_at: issued.expires_at,
                revoked_at: None,
            };
            store.add_service_token(token, event).wait()?;
            if !synchronised() {
                warn(&unsynchronised(now, issued.expires_at));
            }
            Ok(issued.token)
        }
        TokenCommand::List(ListArguments { json: true }) => {
            json_lines(store.service_tokens().wait()?.into_iter().map(|token| {
                json!({
                    "id": token.id, "name": token.name, "scopes": token.scopes, "created_at": token.created_at,
                    "expires_at": token.expires_at, "revoked_at": token.revoked_at,
                })
            }))
        }
        TokenCommand::List(_) => {
            let row = |token: ServiceToken| {
                let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
                let state = match token.revoked_at {
                    Some(at) => format!("revoked {at}"),
                    None if token.expires_at <= now => "expired".to_owned(),
                    None => "valid".to_owned(),
                };
                vec![token.name, scopes.join(","), token.created_at.to_string(), token.expires_at.to_string(), state]
            };
            let rows: Vec<_> = store.service_tokens().wait()?.into_iter().map(row).collect();
            Ok(table(&["NAME", "SCOPES", "CREATED", "EXPIRES", "STATE"], &rows))
        }
        TokenCommand::Revoke { name } => {
            store.revoke_service_token(&name, now, context.audit("token.revoke", &name, json!({}))).wait()?;
            Ok(format!("The token {name} is void."))
        }
    }
}

/// A token that is issued while the clock is wrong ends at another time than its days say, or is refused as not yet valid.
fn unsynchronised(now: Timestamp, expires_at: Timestamp) -> String {
    format!(
        "warning: the clock is not synchronised and says {now}; the token ends on {}. If that is wrong, set the clock, revoke \
         the token and issue another.",
        expires_at.strftime("%F")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_an_unset_clock_is_told_with_its_end() {
        let now: Timestamp = "1970-01-01T00:05:00Z".parse().unwrap();
        let said = unsynchronised(now, now + DAY * 2);
        assert!(said.contains("not synchronised") && said.contains("1970-01-03") && !said.contains('\n'), "{said}");
    }
}
