//! The first start: an admin account with a random password, told through a file that only the owner can read.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::auth::password;
use crate::clock::Clock;
use crate::error::Result;
use crate::files::write_new;
use crate::record::{AuditEvent, Outcome};
use crate::store::{FIRST_ADMIN, Store};

const PASSWORD_FILE: &str = "initial-admin-password";

/// Creates the account `admin` when there is no account at all.
///
/// The file is written before the account: a power cut between the two leaves a file that opens nothing, never an account
/// whose password nobody knows.
///
/// # Errors
/// When the file or the account cannot be written.
pub fn create_admin(store: &Store, state_directory: &Path, clock: &dyn Clock) -> Result<()> {
    if !store.users().wait()?.is_empty() {
        return Ok(());
    }
    let password = password::generate()?;
    let path = state_directory.join(PASSWORD_FILE);
    write_new(&path, format!("{password}\n").as_bytes(), 0o600)?;
    let event = AuditEvent {
        user: None,
        action: "user.add".into(),
        resource: FIRST_ADMIN.into(),
        outcome: Outcome::Success,
        details: json!({ "role": "admin", "reason": "first start" }),
        ip_address: None,
        at: clock.now(),
        authority: None,
    };
    if store.add_first_admin(password::hash(&password)?, event).wait()? {
        tracing::info!("first start: the account {FIRST_ADMIN} was created; its password is in {}", path.display());
    } else {
        // Another process was first; its file has its password.
        let _ = fs::remove_file(&path);
    }
    Ok(())
}
