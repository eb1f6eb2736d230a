//! What SQLite's failures mean to whoever asked.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use rusqlite::ErrorCode;

use crate::error::{Error, Result};

/// After a full queue or a short lock.
pub(super) const RETRY_SOON: Duration = Duration::from_secs(1);
/// After trouble with the disk, which somebody has to see to.
const RETRY_DISK: Duration = Duration::from_secs(30);

impl From<rusqlite::Error> for Error {
    fn from(cause: rusqlite::Error) -> Self {
        explain(&cause)
    }
}

/// By reference, because one failed commit is the failure of every job in it.
pub(super) fn explain(cause: &rusqlite::Error) -> Error {
    let error = match cause.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            Error::unavailable("The disk is full: nothing was stored. Free space on the state directory.", RETRY_DISK)
        }
        Some(
            ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::OperationAborted,
        ) => Error::unavailable(
            "The disk is full or failing: nothing was stored. Check the state directory's file system.",
            RETRY_DISK,
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::unavailable("Another process holds the database; try again.", RETRY_SOON)
        }
        // By the time limit of short reads; who stops the long ones knows why.
        Some(ErrorCode::OperationInterrupted) => Error::unavailable(
            "The answer takes too long to find: narrow the question, for example by from and to.",
            RETRY_DISK,
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            let text = "The database is damaged: a running unit sets it aside and goes on with an empty one; `vehicle-classifierd \
                store check` says more, `restore` brings a backup back.";
            return Error::unavailable(text, RETRY_SOON).because(Damage(cause.to_string()));
        }
        _ => Error::internal("The store failed; the log of the unit says more."),
    };
    error.because(cause.to_string())
}

/// What SQLite says of a file that is not, or no longer, a sound database.
#[derive(Debug)]
struct Damage(String);

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Damage {}

/// Whether the operation met a damaged database.
pub(super) fn is_damage(error: &Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<Damage>())
}

/// The same failure for one more job of the group.
pub(super) fn again(failure: &Error) -> Error {
    let mut error = Error::new(failure.kind(), failure.message());
    if let Some(after) = failure.retry_after_hint() {
        error = error.retry_after(after);
    }
    match failure.source() {
        Some(cause) => error.because(cause.to_string()),
        None => error,
    }
}

/// While there is no database to work on.
pub(super) fn no_database() -> Error {
    Error::unavailable(
        "The database cannot be opened: nothing is read or stored. The log of the unit says why.",
        RETRY_DISK,
    )
}

pub(super) fn stopping() -> Error {
    Error::unavailable("The unit is stopping; try again once it is back.", RETRY_SOON)
}

/// `None` for a query without a row.
pub(super) fn optional<T>(result: rusqlite::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(row) => Ok(Some(row)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

/// Whether a row would have repeated a value that must be unique.
pub(super) fn is_duplicate(cause: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
    cause
        .sqlite_extended_error_code()
        .is_some_and(|code| code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY)
}
