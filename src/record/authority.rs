//! The right to cause a write, which the store checks again in the transaction of the write.

use std::fmt;

use jiff::Timestamp;

use super::{ServiceToken, User};
use crate::error::Result;

/// Whose record decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal<'a> {
    /// The account of that name, through the access token with that id (`jti`).
    User { name: &'a str, jti: &'a str },
    /// The service token with that id.
    Service { id: &'a str },
}

/// What the store holds of a principal at one moment.
#[derive(Clone, Debug)]
pub enum Standing {
    User { user: Option<User>, token_revoked: bool },
    Service(Option<ServiceToken>),
}

/// What a request was admitted with. A body can take a minute to arrive; whoever was deleted, disabled, demoted or logged
/// out meanwhile writes nothing any more.
pub trait Authority: fmt::Debug + Send + Sync {
    fn principal(&self) -> Principal<'_>;

    /// # Errors
    /// Authentication or authorization when the principal may not, or no longer, do what the request asks for.
    fn check(&self, standing: &Standing, now: Timestamp) -> Result<()>;
}
