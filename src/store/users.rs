//! Accounts. Each change writes its audit row in the same transaction, and none can leave the unit without an enabled
//! administrator.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::error::{Error, ErrorKind, Result};
use crate::record::{AuditEvent, Role, User};
use crate::store::columns::{Micros, Named};
use crate::store::failure::{is_duplicate, optional};
use crate::store::{Pending, Store, audit};

pub(super) const ALL: &str = "SELECT * FROM users ORDER BY name";

/// Name of the account that the first start makes.
pub const FIRST_ADMIN: &str = "admin";
/// In the state directory: the first password of [`FIRST_ADMIN`], until it is changed.
pub const FIRST_PASSWORD_FILE: &str = "initial-admin-password";

/// An account to be made, enabled.
#[derive(Clone)]
pub struct NewUser {
    /// Unique whatever the case of its letters.
    pub name: String,
    pub role: Role,
    /// PHC string, argon2id.
    pub password_hash: String,
    pub must_change_password: bool,
    /// Tokens of an earlier account of this name, issued before this moment, stay void.
    pub created_at: Timestamp,
}

impl Store {
    /// The account of that name, in whatever case.
    pub fn user(&self, name: &str) -> Pending<Option<User>> {
        let name = name.to_owned();
        self.read(move |connection| find(connection, &name))
    }

    /// All accounts by name.
    pub fn users(&self) -> Pending<Vec<User>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(ALL)?;
            Ok(statement.query_map([], user)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Makes an account; Conflict when the name is taken, be it by a service token, also a revoked one: records name both
    /// alike.
    pub fn add_user(&self, new: NewUser, event: AuditEvent) -> Pending<User> {
        self.record(event, move |connection, _| {
            let sql = "SELECT EXISTS (SELECT 1 FROM service_tokens WHERE name = ?1)";
            if connection.prepare_cached(sql)?.query_row([&new.name], |row| row.get(0))? {
                let text = format!("There is or was a service token {:?}: choose another name.", new.name);
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            insert(connection, &new)?;
            existing(connection, &new.name)
        })
    }

    /// Makes the account [`FIRST_ADMIN`], whose password must be changed, if there is no account at all; false otherwise.
    pub fn add_first_admin(&self, password_hash: String, event: AuditEvent) -> Pending<bool> {
        self.write(move |connection| {
            if connection.query_row("SELECT EXISTS (SELECT 1 FROM users)", [], |row| row.get(0))? {
                return Ok(false);
            }
            let new = NewUser {
                name: FIRST_ADMIN.into(),
                role: Role::Admin,
                password_hash,
                must_change_password: true,
                created_at: event.at.at,
            };
            insert(connection, &new)?;
            audit::append(connection, &event)?;
            Ok(true)
        })
    }

    /// NotFound without such an account; Conflict when it is the last enabled administrator and would be none.
    pub fn set_role(&self, name: &str, role: Role, event: AuditEvent) -> Pending<User> {
        self.change_user(name, UserChange { role: Some(role), ..UserChange::default() }, event)
    }

    /// Changes the password and voids every token of the account, save the one with the id `kept`. NotFound without such an
    /// account.
    pub fn set_password(
        &self,
        name: &str,
        password_hash: String,
        must_change: bool,
        kept: Option<String>,
        event: AuditEvent,
    ) -> Pending<User> {
        let password = Some(NewPassword { hash: password_hash, must_change, kept, checked: None });
        self.change_user(name, UserChange { password, ..UserChange::default() }, event)
    }

    /// Enables or disables; disabling voids every token of the account. NotFound without such an account; Conflict when it
    /// is the last enabled administrator.
    pub fn set_enabled(&self, name: &str, enabled: bool, event: AuditEvent) -> Pending<User> {
        self.change_user(name, UserChange { enabled: Some(enabled), ..UserChange::default() }, event)
    }

    /// The first password's file goes once the password is changed or the account is gone: it opens nothing any more, but
    /// tells how passwords are made here, and people take old files for valid ones.
    pub fn forget_first_password(&self, name: &str) {
        let path = self.path().with_file_name(FIRST_PASSWORD_FILE);
        if !name.eq_ignore_ascii_case(FIRST_ADMIN) || !path.exists() {
            return;
        }
        match std::fs::remove_file(&path) {
            Ok(()) => tracing::info!("the first password was changed: {} is gone", path.display()),
            Err(cause) => tracing::warn!("{} opens nothing any more and cannot be removed: {cause}", path.display()),
        }
    }

    /// Several changes of one account at once: all or none. The errors are those of the single ones.
    pub fn change_user(&self, name: &str, change: UserChange, event: AuditEvent) -> Pending<User> {
        let name = name.to_owned();
        self.record(event, move |connection, _| {
            change.apply(connection, &existing(connection, &name)?)?;
            existing(connection, &name)
        })
    }

    /// Deletes; what the account did stays. NotFound without such an account; Conflict when it is the last enabled
    /// administrator.
    pub fn delete_user(&self, name: &str, event: AuditEvent) -> Pending<()> {
        let name = name.to_owned();
        self.record(event, move |connection, _| {
            let user = existing(connection, &name)?;
            keep_an_admin(connection, &user)?;
            connection.prepare_cached("DELETE FROM users WHERE id = ?1")?.execute([user.id])?;
            Ok(())
        })
    }
}

/// What to change of an account; none stays as it is.
#[derive(Clone, Default)]
pub struct UserChange {
    pub role: Option<Role>,
    pub enabled: Option<bool>,
    pub password: Option<NewPassword>,
}

#[derive(Clone)]
pub struct NewPassword {
    /// PHC string, argon2id.
    pub hash: String,
    pub must_change: bool,
    /// `jti` of the one token that stays in force.
    pub kept: Option<String>,
    /// Hash of the password that was given as the current one; Authentication when it is not the current one any more.
    pub checked: Option<String>,
}

impl UserChange {
    fn apply(&self, connection: &Connection, user: &User) -> Result<()> {
        if self.role.is_some_and(|role| role != Role::Admin) || self.enabled == Some(false) {
            keep_an_admin(connection, user)?;
        }
        if let Some(role) = self.role {
            let sql = "UPDATE users SET role = ?2 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute(params![user.id, role.name()])?;
        }
        if let Some(enabled) = self.enabled {
            let sql = "UPDATE users SET enabled = ?2, token_generation = token_generation + (?2 = 0),
                    kept_token = CASE WHEN ?2 THEN kept_token END
                WHERE id = ?1";
            connection.prepare_cached(sql)?.execute(params![user.id, enabled])?;
        }
        if let Some(password) = &self.password {
            if password.checked.as_ref().is_some_and(|checked| *checked != user.password_hash) {
                let text = "The password was changed meanwhile; log in again.";
                return Err(Error::new(ErrorKind::Authentication, text));
            }
            let sql = "UPDATE users SET password_hash = ?2, must_change_password = ?3, kept_token = ?4,
                    token_generation = token_generation + 1
                WHERE id = ?1";
            let values = params![user.id, password.hash, password.must_change, password.kept];
            connection.prepare_cached(sql)?.execute(values)?;
        }
        Ok(())
    }
}

pub(super) fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get("id")?,
        name: row.get("name")?,
        role: row.get::<_, Named<Role>>("role")?.0,
        enabled: row.get("enabled")?,
        must_change_password: row.get("must_change_password")?,
        password_hash: row.get("password_hash")?,
        created_at: row.get::<_, Micros>("created_at")?.0,
        token_generation: row.get("token_generation")?,
        kept_token: row.get("kept_token")?,
    })
}

fn find(connection: &Connection, name: &str) -> Result<Option<User>> {
    optional(connection.prepare_cached("SELECT * FROM users WHERE name = ?1")?.query_row([name], user))
}

fn existing(connection: &Connection, name: &str) -> Result<User> {
    find(connection, name)?.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("There is no user {name:?}.")))
}

fn insert(connection: &Connection, new: &NewUser) -> Result<()> {
    let sql = "INSERT INTO users
        (name, role, enabled, must_change_password, password_hash, created_at, token_generation)
        VALUES (?1, ?2, TRUE, ?3, ?4, ?5, 0)";
    let values =
        params![new.name, new.role.name(), new.must_change_password, new.password_hash, Micros(new.created_at),];
    match connection.prepare_cached(sql)?.execute(values) {
        Err(cause) if is_duplicate(&cause) => {
            let text = format!("There is a user {:?} already: choose another name.", new.name);
            Err(Error::new(ErrorKind::Conflict, text))
        }
        result => Ok(result.map(drop)?),
    }
}

/// Refuses to lose the last account that can administer the unit.
fn keep_an_admin(connection: &Connection, user: &User) -> Result<()> {
    let sql = "SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin' AND enabled AND id <> ?1)";
    let others: bool = connection.prepare_cached(sql)?.query_row([user.id], |row| row.get(0))?;
    if user.role == Role::Admin && user.enabled && !others {
        let text = format!("{:?} is the last enabled administrator: make another one first.", user.name);
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    Ok(())
}
