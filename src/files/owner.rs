//! Accounts of the operating system: root puts the rights of the state directory's owner on before anything is written there.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgroups, setresgid, setresuid};

use crate::error::{Error, Result};

pub(super) fn present_account() -> Uid {
    geteuid()
}

/// The account's name, or its number where it has none.
pub(super) fn name_of(uid: u32) -> String {
    let known = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    known.map_or_else(|| uid.to_string(), |account| account.name)
}

/// The process goes on with the rights of the state directory's owner: whatever it makes there belongs to the unit, and it can
/// touch nothing that the unit cannot. Root changes for good; an account that neither owns nor made the database is refused.
///
/// A directory of root's that holds another account's database is a volume that was mounted for that account.
///
/// # Errors
/// Config, with the account to use.
pub fn act_as_owner(directory: &Path, database: &str) -> Result<()> {
    let unknown = |cause: std::io::Error| {
        Error::config(format!("Cannot find out whom {} belongs to: {cause}.", directory.display()))
    };
    let own = fs::metadata(directory).map_err(unknown)?;
    let database = fs::symlink_metadata(directory.join(database)).ok().filter(|found| !found.is_symlink());
    if geteuid().is_root() {
        let owner = if own.uid() == 0 { database.as_ref().unwrap_or(&own) } else { &own };
        return become_account(directory, owner.uid(), owner.gid());
    }
    // A database of root's in an own directory is told with its own remedy when it is opened.
    match database.filter(|found| found.uid() != geteuid().as_raw() && own.uid() != geteuid().as_raw()) {
        Some(foreign) => {
            let (owner, present) = (name_of(foreign.uid()), name_of(geteuid().as_raw()));
            Err(Error::config(format!(
                "{} holds the database of {owner}, this command runs as {present}: run it as {owner} or as root.",
                directory.display()
            )))
        }
        None => Ok(()),
    }
}

fn become_account(directory: &Path, uid: u32, gid: u32) -> Result<()> {
    if uid == 0 {
        return Ok(());
    }
    let account = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    // Cameras belong to a group of the account's.
    let groups = match account.as_ref().map(|account| CString::new(account.name.as_str())) {
        Some(Ok(name)) => initgroups(&name, account.as_ref().map_or(gid, |account| account.gid)),
        _ => setgroups(&[gid]),
    };
    let changed = groups.and_then(|()| setresgid(gid, gid, gid)).and_then(|()| setresuid(uid, uid, uid));
    changed.map_err(|cause| {
        let (named, owner) = (directory.display(), name_of(uid.as_raw()));
        Error::config(format!(
            "{named} belongs to {owner}, whose rights cannot be taken on ({cause}): run this as {owner}."
        ))
    })
}

/// Whether the file that a path names lies, or would lie, where the state directory's owner may put it: root then must not
/// read or write it with more rights than that owner has.
#[must_use]
pub fn is_in_owners_hands(path: &Path, state_directory: &Path) -> bool {
    let uid = |path: &Path| fs::metadata(path).ok().map(|found| found.uid());
    let place = super::directory_of(path);
    uid(place).is_some_and(|owner| owner != 0 && Some(owner) == uid(state_directory))
}
