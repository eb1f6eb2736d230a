//! Who is asking, as the store knows them at this moment, and the table of what they may do.

use jiff::Timestamp;

use super::token::{Claims, Grant, invalid};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Role, Scope, ServiceToken, User};

/// Somebody whose token was verified and whose account or service token is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    User {
        id: i64,
        name: String,
        /// The store's, not the token's: a changed role counts at once.
        role: Role,
        /// Opens nothing but the own account until the password is changed.
        must_change_password: bool,
    },
    Service {
        /// `jti` of the service token.
        id: String,
        name: String,
        scopes: Vec<Scope>,
    },
}

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The own account: who am I, change the password, log out.
    Account,
    /// What only people do and every one of them may.
    User,
    /// GET routes of users.
    Read,
    /// Uploads: classify, classify-batch, report.
    Classify,
    /// GET /metrics.
    Metrics,
    /// Accounts, audit trail.
    Admin,
}

impl Identity {
    /// The user a verified access token speaks for; `user` is the account of that name as stored now, if there is one.
    ///
    /// # Errors
    /// Authentication: no such account any more (or a later one of the same name), disabled, or the token is of an
    /// earlier generation and not the one that was kept.
    pub fn user(claims: &Claims, user: Option<&User>) -> Result<Self> {
        let Grant::Access { user_id, generation, .. } = &claims.grant else { return Err(invalid()) };
        let user = user
            .filter(|user| user.id == *user_id && user.name == claims.subject)
            .filter(|user| user.enabled)
            .filter(|user| user.token_generation == *generation || user.kept_token.as_ref() == Some(&claims.id))
            .ok_or_else(invalid)?;
        Ok(Self::User {
            id: user.id,
            name: user.name.clone(),
            role: user.role,
            must_change_password: user.must_change_password,
        })
    }

    /// The machine a verified service token speaks for; `stored` is the record with the token's id, if there is one. Its
    /// scopes and expiry count, not the token's.
    ///
    /// # Errors
    /// Authentication: no such record, or it is revoked or expired at `now`.
    pub fn service(claims: &Claims, stored: Option<&ServiceToken>, now: Timestamp) -> Result<Self> {
        let Grant::Service { .. } = &claims.grant else { return Err(invalid()) };
        let stored = stored
            .filter(|stored| stored.id == claims.id && stored.name == claims.subject)
            .filter(|stored| stored.revoked_at.is_none() && now < stored.expires_at)
            .ok_or_else(invalid)?;
        Ok(Self::Service { id: stored.id.clone(), name: stored.name.clone(), scopes: stored.scopes.clone() })
    }

    /// Account or service token name, for the audit trail.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User { name, .. } | Self::Service { name, .. } => name,
        }
    }

    /// Checks one permission.
    ///
    /// # Errors
    /// Authorization, saying what is missing.
    pub fn may(&self, permission: Permission) -> Result<()> {
        let missing = match self {
            Self::User { role, must_change_password, .. } => user_lacks(*role, *must_change_password, permission),
            Self::Service { scopes, .. } => service_lacks(scopes, permission),
        };
        match missing {
            None => Ok(()),
            Some(message) => Err(Error::new(ErrorKind::Authorization, message)),
        }
    }
}

fn user_lacks(role: Role, must_change_password: bool, permission: Permission) -> Option<String> {
    match permission {
        Permission::Account => None,
        _ if must_change_password => {
            Some("The password was given by somebody else; change it first (POST /auth/password).".into())
        }
        Permission::User | Permission::Read | Permission::Classify => None,
        Permission::Metrics | Permission::Admin if role == Role::Admin => None,
        Permission::Metrics => Some("This needs the role admin or a service token with the scope metrics.".into()),
        Permission::Admin => Some("This needs the role admin.".into()),
    }
}

fn service_lacks(scopes: &[Scope], permission: Permission) -> Option<String> {
    let needed = match permission {
        Permission::Read => Scope::Read,
        Permission::Classify => Scope::Classify,
        Permission::Metrics => Scope::Metrics,
        Permission::Account | Permission::User | Permission::Admin => {
            return Some("A service token cannot do this; log in as a user.".into());
        }
    };
    (!scopes.contains(&needed)).then(|| format!("This needs a service token with the scope {needed}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn account() -> User {
        User {
            id: 7,
            name: "ada".into(),
            role: Role::User,
            enabled: true,
            must_change_password: false,
            password_hash: String::new(),
            created_at: at(0),
            token_generation: 3,
            kept_token: Some("kept".into()),
        }
    }

    fn access(generation: i64, id: &str) -> Claims {
        Claims {
            id: id.into(),
            subject: "ada".into(),
            expires_at: at(10_000),
            // The token says admin; the store knows better.
            grant: Grant::Access { user_id: 7, generation, role: Role::Admin },
        }
    }

    #[test]
    fn the_store_decides_over_the_token() {
        let identity = Identity::user(&access(3, "a-1"), Some(&account())).unwrap();
        assert_eq!(identity.name(), "ada");
        assert!(matches!(identity, Identity::User { role: Role::User, .. }));

        let refused = [
            ("deleted", None),
            ("made anew under the same name", Some(User { id: 8, ..account() })),
            ("somebody else's", Some(User { name: "bob".into(), ..account() })),
            ("disabled", Some(User { enabled: false, ..account() })),
            ("password changed", Some(User { token_generation: 4, ..account() })),
        ];
        for (case, user) in refused {
            let error = Identity::user(&access(3, "a-1"), user.as_ref()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{case}");
        }
        assert!(Identity::user(&access(2, "kept"), Some(&account())).is_ok(), "the password was changed with this one");
    }

    #[test]
    fn a_service_token_counts_while_its_record_does() {
        let claims = Claims {
            id: "s-1".into(),
            subject: "prometheus".into(),
            expires_at: at(10_000),
            grant: Grant::Service { scopes: vec![Scope::Metrics, Scope::Classify] },
        };
        let stored = ServiceToken {
            id: "s-1".into(),
            name: "prometheus".into(),
            scopes: vec![Scope::Metrics],
            created_at: at(100),
            expires_at: at(5_000),
            revoked_at: None,
        };
        let identity = Identity::service(&claims, Some(&stored), at(200)).unwrap();
        assert!(identity.may(Permission::Metrics).is_ok());
        assert!(identity.may(Permission::Classify).is_err(), "a scope taken away in the store is gone");

        let revoked = ServiceToken { revoked_at: Some(at(150)), ..stored.clone() };
        for (case, record, now) in
            [("unknown", None, 200), ("revoked", Some(&revoked), 200), ("expired", Some(&stored), 5_000)]
        {
            let error = Identity::service(&claims, record, at(now)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{case}");
        }
        assert!(Identity::user(&claims, Some(&account())).is_err(), "a machine is nobody's account");
        assert!(Identity::service(&access(3, "a-1"), Some(&stored), at(200)).is_err(), "nor a user a machine");
    }

    #[test]
    fn everybody_may_exactly_what_the_table_says() {
        use Permission::{Account, Admin, Classify, Metrics, Read, User};
        let user = |role, must_change_password| Identity::User { id: 1, name: "u".into(), role, must_change_password };
        let service = |scope| Identity::Service { id: "s".into(), name: "s".into(), scopes: vec![scope] };
        let table = [
            (user(Role::User, false), vec![Account, User, Read, Classify]),
            (user(Role::Admin, false), vec![Account, User, Read, Classify, Metrics, Admin]),
            (user(Role::Admin, true), vec![Account]),
            (service(Scope::Metrics), vec![Metrics]),
            (service(Scope::Read), vec![Read]),
            (service(Scope::Classify), vec![Classify]),
        ];
        for (identity, allowed) in table {
            for permission in [Account, User, Read, Classify, Metrics, Admin] {
                match identity.may(permission) {
                    Ok(()) => assert!(allowed.contains(&permission), "{identity:?} {permission:?}"),
                    Err(error) => {
                        assert!(!allowed.contains(&permission), "{identity:?} {permission:?}");
                        assert_eq!(error.kind(), ErrorKind::Authorization);
                    }
                }
            }
        }
    }
}
