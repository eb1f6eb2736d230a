//! Accounts: who there is, who may do what. Each change writes its audit row in the same transaction.

use salvo::oapi::ToSchema;
use salvo::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::http::access::Caller;
use crate::api::http::body::read_fields;
use crate::api::http::error::Answer;
use crate::api::http::query;
use crate::api::resources::wire::{Created, Reply, UserList, UserWire, Written};
use crate::api::state::AppState;
use crate::auth::check_account_name;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Outcome, Role, User};
use crate::store::{NewPassword, NewUser, UserChange};

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(example = json!({ "name": "ada", "role": "user", "password": "a long walk by the river" })))]
pub struct UserForm {
    /// At most 64 letters, digits, `.`, `_`, `@` and `-`; unique whatever the case.
    #[salvo(schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._@-]*$"))]
    name: String,
    /// `user` or `admin`.
    #[salvo(schema(value_type = String, pattern = "^(user|admin)$"))]
    role: Role,
    /// 15 to 128 characters unless configured otherwise, and none that is guessed first.
    #[salvo(schema(format = "password", min_length = 15, max_length = 128))]
    password: String,
    /// The account opens nothing until its owner has changed the password; true when absent.
    must_change_password: Option<bool>,
}

/// What to change of an account; at least one of these.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(example = json!({ "enabled": false })))]
pub struct UserPatch {
    /// `user` or `admin`.
    #[salvo(schema(value_type = Option<String>, pattern = "^(user|admin)$"))]
    role: Option<Role>,
    /// A disabled account's tokens are void at once.
    enabled: Option<bool>,
    /// A new password; every token of the account becomes void.
    #[salvo(schema(format = "password", min_length = 15, max_length = 128))]
    password: Option<String>,
    /// Only with `password`; true when absent.
    must_change_password: Option<bool>,
}

/// All accounts
///
/// By name.
#[endpoint(tags("users"), security(["bearer" = []]))]
pub async fn list(req: &mut Request, depot: &mut Depot) -> Answer<Reply<UserList>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let users = api.store.users().await?;
    Ok(Reply(UserList { users: users.iter().map(Into::into).collect() }))
}

/// Make an account
#[endpoint(
    tags("users"),
    request_body(content = UserForm, content_type = "application/json"),
    responses((status_code = 409, description = "CONFLICT_ERROR: the name is taken")),
    security(["bearer" = []])
)]
pub async fn create(req: &mut Request, depot: &mut Depot) -> Answer<Created<UserWire>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let caller = Caller::of(depot)?.name().to_owned();
    let form: UserForm = read_fields(req, depot, &api).await?;
    check_account_name(&form.name)?;
    api.accounts.rules.check(&form.password, &form.name)?;
    let must_change_password = form.must_change_password.unwrap_or(true);
    let details = json!({ "role": form.role, "must_change_password": must_change_password });
    let event = api.audit(req, Some(&caller), "user.add", &form.name, Outcome::Success, details);
    let new = NewUser {
        name: form.name,
        role: form.role,
        password_hash: api.password_hash(&caller, form.password).await?,
        must_change_password,
        created_at: api.clock.wall(),
    };
    let name = new.name.clone();
    let made = api.store.add_user(new, event).await;
    Ok(Created((&denied(&api, req, &caller, "user.add", &name, made).await?).into()))
}

/// The own account
///
/// Of the token's owner; service tokens have none.
#[endpoint(tags("users"), security(["bearer" = []]))]
pub async fn me(req: &mut Request, depot: &mut Depot) -> Answer<Reply<UserWire>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    Ok(Reply((&found(&api, Caller::of(depot)?.name()).await?).into()))
}

/// One account
#[endpoint(tags("users"), parameters(("name" = String, Path, description = "Account name")), security(["bearer" = []]))]
pub async fn one(req: &mut Request, depot: &mut Depot) -> Answer<Reply<UserWire>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    Ok(Reply((&found(&api, &named(req)?).await?).into()))
}

/// Change an account
///
/// Role, activation and password, all at once or not at all. It counts at the account's next request.
#[endpoint(
    tags("users"),
    parameters(("name" = String, Path, description = "Account name")),
    request_body(content = UserPatch, content_type = "application/json"),
    responses((status_code = 409, description = "CONFLICT_ERROR: it is the last enabled administrator")),
    security(["bearer" = []])
)]
pub async fn update(req: &mut Request, depot: &mut Depot) -> Answer<Reply<UserWire>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let caller = Caller::of(depot)?.name().to_owned();
    let name = named(req)?;
    let patch: UserPatch = read_fields(req, depot, &api).await?;
    let user = found(&api, &name).await?;
    let details = patch.details()?;
    let change = patch.change(&api, &caller, &user).await?;
    let event = api.audit(req, Some(&caller), "user.change", &user.name, Outcome::Success, details);
    let new_password = change.password.is_some();
    let changed = api.store.change_user(&user.name, change, event).await;
    let changed = denied(&api, req, &caller, "user.change", &user.name, changed).await?;
    if new_password {
        api.store.forget_first_password(&user.name);
    }
    Ok(Reply((&changed).into()))
}

/// Delete an account
///
/// Its tokens are void at once; what it did stays in the records.
#[endpoint(
    tags("users"),
    parameters(("name" = String, Path, description = "Account name")),
    responses(
        (status_code = 204, description = "The account is gone"),
        (status_code = 409, description = "CONFLICT_ERROR: it is the last enabled administrator")
    ),
    security(["bearer" = []])
)]
pub async fn delete(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let caller = Caller::of(depot)?.name().to_owned();
    let user = found(&api, &named(req)?).await?;
    let event = api.audit(req, Some(&caller), "user.delete", &user.name, Outcome::Success, Value::Null);
    let gone = api.store.delete_user(&user.name, event).await;
    denied(&api, req, &caller, "user.delete", &user.name, gone).await?;
    api.store.forget_first_password(&user.name);
    res.status_code(StatusCode::NO_CONTENT);
    Ok(Written)
}

impl UserPatch {
    /// What is asked for, as the audit trail keeps it.
    fn details(&self) -> Result<Value> {
        let mut details = Map::new();
        if let Some(role) = self.role {
            details.insert("role".into(), role.name().into());
        }
        if let Some(enabled) = self.enabled {
            details.insert("enabled".into(), enabled.into());
        }
        if self.password.is_some() {
            details.insert("must_change_password".into(), self.must_change_password.unwrap_or(true).into());
        } else if self.must_change_password.is_some() {
            return Err(Error::validation("`must_change_password` goes with a new `password` only."));
        }
        if details.is_empty() {
            return Err(Error::validation("Nothing to change: send `role`, `enabled` or `password`."));
        }
        Ok(details.into())
    }

    async fn change(self, api: &AppState, caller: &str, user: &User) -> Result<UserChange> {
        let must_change = self.must_change_password.unwrap_or(true);
        let password = match self.password {
            None => None,
            Some(password) => {
                api.accounts.rules.check(&password, &user.name)?;
                Some(NewPassword {
                    hash: api.password_hash(caller, password).await?,
                    must_change,
                    kept: None,
                    checked: None,
                })
            }
        };
        Ok(UserChange { role: self.role, enabled: self.enabled, password })
    }
}

/// The account's name in the path. One that could not have been given has no account.
fn named(req: &Request) -> Result<String> {
    let name = req.param::<String>("name").unwrap_or_default();
    check_account_name(&name).map(|()| name).map_err(|_| nobody())
}

fn nobody() -> Error {
    Error::new(ErrorKind::NotFound, "There is no such account; GET /api/users lists them.")
}

async fn found(api: &AppState, name: &str) -> Result<User> {
    api.store.user(name).await?.ok_or_else(nobody)
}

/// Keeps a refused change in the audit trail too: somebody tried.
async fn denied<T>(
    api: &AppState,
    req: &Request,
    caller: &str,
    action: &str,
    name: &str,
    done: Result<T>,
) -> Result<T> {
    if let Err(error) = &done
        && error.kind() == ErrorKind::Conflict
    {
        let event = api.audit(req, Some(caller), action, name, Outcome::Denied, json!({ "reason": error.message() }));
        api.store.record_audit(event).await?;
    }
    done
}
