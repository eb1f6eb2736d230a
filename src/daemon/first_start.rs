//! The first start: an admin account with a random password, told through a file that only the owner can read.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::auth::password;
use crate::clock::Clock;
use crate::error::Result;
use crate::files::write_new;
use crate::record::{AuditEvent, Outcome};
use crate::store::{FIRST_ADMIN, FIRST_PASSWORD_FILE, Store};

/// Creates the account `admin` when there is no account at all.
///
/// The file is written before the account: a power cut between the two leaves a file that opens nothing, never an account
/// whose password nobody knows.
///
/// # Errors
/// When the file or the account cannot be written.
pub fn create_admin(store: &Store, state_directory: &Path, clock: &dyn Clock) -> Result<()> {
    let users = store.users().wait()?;
    if !users.is_empty() {
        // A power cut may have come between the change and the end of the file.
        if !users.iter().any(|user| user.name == FIRST_ADMIN && user.must_change_password) {
            store.forget_first_password(FIRST_ADMIN);
        }
        return Ok(());
    }
    let password = password::generate()?;
    let path = state_directory.join(FIRST_PASSWORD_FILE);
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
