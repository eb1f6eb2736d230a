//! Tokens: the service tokens of machines, and the access tokens that were given back before they expired.

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, Row, params};

use crate::error::{Error, ErrorKind, Result};
use crate::record::{AuditEvent, Scope, ServiceToken, User};
use crate::store::columns::Micros;
use crate::store::failure::{is_duplicate, optional};
use crate::store::{Pending, Store, users};

pub(super) const ALL: &str = "SELECT * FROM service_tokens ORDER BY name";

impl Store {
    /// Conflict when the name is taken, be it by a revoked or expired token or by an account: records name both alike. The
    /// first account's name is kept for it.
    pub fn add_service_token(&self, token: ServiceToken, event: AuditEvent) -> Pending<()> {
        self.record(event, move |connection, _| {
            let sql = "SELECT ?1 = ?2 COLLATE NOCASE OR EXISTS (SELECT 1 FROM users WHERE name = ?1)";
            if connection.prepare_cached(sql)?.query_row([token.name.as_str(), users::FIRST_ADMIN], |row| row.get(0))? {
                let text = format!("{:?} is the name of a user: choose another name for the token.", token.name);
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
            let sql = "INSERT INTO service_tokens (id, name, scopes, created_at, expires_at, revoked_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let values = params![
                token.id,
                token.name,
                scopes.join(" "),
                Micros(token.created_at),
                Micros(token.expires_at),
                token.revoked_at.map(Micros),
            ];
            match connection.prepare_cached(sql)?.execute(values) {
                Err(cause) if is_duplicate(&cause) => {
                    let text = format!("There is or was a token {:?}: choose another name.", token.name);
                    Err(Error::new(ErrorKind::Conflict, text))
                }
                result => Ok(result.map(drop)?),
            }
        })
    }

    /// All service tokens by name, revoked and expired ones included.
    pub fn service_tokens(&self) -> Pending<Vec<ServiceToken>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(ALL)?;
            Ok(statement.query_map([], service_token)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Revokes by name; NotFound without such a token, Conflict when it is revoked already.
    pub fn revoke_service_token(&self, name: &str, now: Timestamp, event: AuditEvent) -> Pending<()> {
        let name = name.to_owned();
        self.record(event, move |connection, _| {
            let sql = "UPDATE service_tokens SET revoked_at = ?2 WHERE name = ?1 AND revoked_at IS NULL";
            if connection.prepare_cached(sql)?.execute(params![name, Micros(now)])? == 1 {
                return Ok(());
            }
            let sql = "SELECT EXISTS (SELECT 1 FROM service_tokens WHERE name = ?1)";
            Err(if connection.query_row(sql, [&name], |row| row.get(0))? {
                Error::new(ErrorKind::Conflict, format!("The token {name:?} is revoked already."))
            } else {
                Error::new(ErrorKind::NotFound, format!("There is no token {name:?}."))
            })
        })
    }

    /// Remembers that an access token was given back, until it expires by itself; forgets those that have.
    pub fn revoke_access(&self, jti: &str, expires_at: Timestamp, event: AuditEvent) -> Pending<()> {
        let jti = jti.to_owned();
        self.record(event, move |connection, event| {
            // A wrong clock must not bring a token back: without a synchronised one nothing counts as expired.
            if event.at.synced {
                let sql = "DELETE FROM revoked_tokens WHERE expires_at < ?1";
                connection.prepare_cached(sql)?.execute([Micros(event.at.at)])?;
            }
            let sql = "INSERT INTO revoked_tokens (jti, expires_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            connection.prepare_cached(sql)?.execute(params![jti, Micros(expires_at)])?;
            Ok(())
        })
    }
}

/// The account of that name, and whether the access token with that id was given back.
pub(super) fn bearer(connection: &Connection, user_name: &str, jti: &str) -> Result<Option<(User, bool)>> {
    let sql = "SELECT *, EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = ?2) AS revoked FROM users WHERE name = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    optional(statement.query_row([user_name, jti], |row| Ok((users::user(row)?, row.get("revoked")?))))
}

/// The service token with that id (`jti`), revoked and expired ones included.
pub(super) fn service(connection: &Connection, id: &str) -> Result<Option<ServiceToken>> {
    let mut statement = connection.prepare_cached("SELECT * FROM service_tokens WHERE id = ?1")?;
    optional(statement.query_row([id], service_token))
}

fn service_token(row: &Row<'_>) -> rusqlite::Result<ServiceToken> {
    Ok(ServiceToken {
        id: row.get("id")?,
        name: row.get("name")?,
        scopes: row.get::<_, Scopes>("scopes")?.0,
        created_at: row.get::<_, Micros>("created_at")?.0,
        expires_at: row.get::<_, Micros>("expires_at")?.0,
        revoked_at: row.get::<_, Option<Micros>>("revoked_at")?.map(|at| at.0),
    })
}

/// TEXT: names, separated by spaces.
struct Scopes(Vec<Scope>);

impl FromSql for Scopes {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let scopes = value.as_str()?.split_whitespace().map(str::parse).collect::<Result<_>>();
        scopes.map(Self).map_err(|cause| FromSqlError::Other(cause.into()))
    }
}
