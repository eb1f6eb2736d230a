//! What a request was admitted with: a verified token and the permission that its route asks for.

use jiff::Timestamp;

use super::identity::{Identity, Permission};
use super::token::{Claims, Grant};
use crate::error::Result;
use crate::record::{Authority, Principal, Standing};

/// A verified token for one purpose. It holds nothing the store knows: that is asked when it matters.
#[derive(Clone, Debug)]
pub struct Warrant {
    pub claims: Claims,
    pub permission: Permission,
}

impl Warrant {
    /// Who the token speaks for, when they may do this.
    ///
    /// # Errors
    /// Authentication, authorization.
    pub fn identity(&self, standing: &Standing, now: Timestamp) -> Result<Identity> {
        let identity = match standing {
            Standing::User { user, token_revoked } => {
                Identity::user(&self.claims, user.as_ref().filter(|_| !token_revoked))?
            }
            Standing::Service(stored) => Identity::service(&self.claims, stored.as_ref(), now)?,
        };
        identity.may(self.permission).map(|()| identity)
    }
}

impl Authority for Warrant {
    fn principal(&self) -> Principal<'_> {
        match &self.claims.grant {
            Grant::Access { .. } => Principal::User { name: &self.claims.subject, jti: &self.claims.id },
            Grant::Service { .. } => Principal::Service { id: &self.claims.id },
        }
    }

    fn check(&self, standing: &Standing, now: Timestamp) -> Result<()> {
        self.identity(standing, now).map(drop)
    }
}
