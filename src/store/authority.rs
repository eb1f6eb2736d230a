//! Writes on behalf of a caller. One place for all of them: it checks the caller's authority in the transaction of the write.

use rusqlite::Connection;

use crate::error::Result;
use crate::record::{AuditEvent, Principal, Standing};
use crate::store::{Pending, Store, audit, tokens};

impl Store {
    /// Checks the authority of the event, does the work and appends the event, all in one transaction. The check comes
    /// first: the work may end the very authority, as logging out does.
    pub(super) fn record<T, W>(&self, event: AuditEvent, work: W) -> Pending<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection, &AuditEvent) -> Result<T> + Send + 'static,
    {
        self.write(move |connection| {
            if let Some(authority) = &event.authority {
                authority.check(&standing(connection, authority.principal())?, event.at.at)?;
            }
            let done = work(connection, &event)?;
            audit::append(connection, &event)?;
            Ok(done)
        })
    }

    /// What the store holds of a principal now.
    pub fn standing(&self, principal: Principal<'_>) -> Pending<Standing> {
        match principal {
            Principal::User { name, jti } => {
                let (name, jti) = (name.to_owned(), jti.to_owned());
                self.read(move |connection| standing(connection, Principal::User { name: &name, jti: &jti }))
            }
            Principal::Service { id } => {
                let id = id.to_owned();
                self.read(move |connection| standing(connection, Principal::Service { id: &id }))
            }
        }
    }
}

fn standing(connection: &Connection, principal: Principal<'_>) -> Result<Standing> {
    match principal {
        Principal::User { name, jti } => {
            let (user, revoked) = tokens::bearer(connection, name, jti)?.unzip();
            Ok(Standing::User { user, token_revoked: revoked == Some(true) })
        }
        Principal::Service { id } => Ok(Standing::Service(tokens::service(connection, id)?)),
    }
}
