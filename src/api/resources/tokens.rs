//! Logging in and out, and changing the own password.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use salvo::oapi::ToSchema;
use salvo::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::http::access::Caller;
use crate::api::http::body::read_fields;
use crate::api::http::device;
use crate::api::http::error::{Answer, ApiError};
use crate::api::http::request::peer;
use crate::api::resources::wire::{TokenAnswer, Written};
use crate::api::state::AppState;
use crate::auth::{Admission, LoginSource};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Limit;
use crate::record::{Outcome, User};
use crate::store::{NewPassword, UserChange};

/// Credentials, as JSON or as an OAuth2 password form (RFC 6749, 4.3.2).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "OAuth2 clients send fields that a unit has no use for; what is not listed here is refused"
)]
pub struct Credentials {
    /// Account name.
    username: String,
    #[salvo(schema(format = "password"))]
    password: String,
    /// The only grant there is; may be absent.
    #[salvo(schema(value_type = String, required = false, pattern = "^(password)$"))]
    grant_type: Option<Grant>,
    /// Taken and ignored: an access token opens what its account's role opens.
    #[salvo(schema(value_type = String, required = false))]
    scope: Option<String>,
    /// Taken and ignored.
    #[salvo(schema(value_type = String, required = false))]
    client_id: Option<String>,
    /// Taken and ignored.
    #[salvo(schema(value_type = String, required = false))]
    client_secret: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Grant {
    Password,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    #[serde(alias = "old_password")]
    #[salvo(schema(format = "password"))]
    current_password: String,
    #[salvo(schema(format = "password"))]
    new_password: String,
}

impl AppState {
    /// Whether the password is the one behind the hash; without a hash it takes as long and is false.
    async fn password_opens(&self, admission: Admission, password: String, hash: Option<String>) -> Result<bool> {
        self.accounts.passwords.verify(admission, password, hash).await.inspect_err(|error| self.count_gate(error))
    }

    /// The hash of a password that was checked against the rules, for somebody who is logged in.
    pub(super) async fn password_hash(&self, caller: &str, password: String) -> Result<String> {
        let admission = self.accounts.logins.insider(caller);
        self.accounts.passwords.hash(admission, password).await.inspect_err(|error| self.count_gate(error))
    }

    fn count_gate(&self, error: &Error) {
        if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::RateLimit) {
            self.metrics.count_limit(Limit::PasswordChecks);
        }
    }
}

/// Log in
///
/// Exchanges a name and a password for an access token.
#[endpoint(
    tags("auth"),
    request_body(content = Credentials, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status_code = 200, description = "The token", body = TokenAnswer),
        (status_code = 401, description = "AUTHENTICATION_ERROR: wrong name or password, or a disabled account")
    ),
    security(())
)]
pub async fn log_in(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Json<TokenAnswer>> {
    let api = AppState::of(depot)?;
    let credentials: Credentials = read_fields(req, depot, &api).await?;
    let device = device::known(&api, req, &credentials.username);
    let checked = check_credentials(&api, &credentials, source(req, device.as_deref())).await;
    let outcome = match &checked {
        Ok(_) => Outcome::Success,
        Err(error) if error.kind() == ErrorKind::Unavailable => Outcome::Failure,
        Err(_) => Outcome::Denied,
    };
    // What was typed as a name may be a password: only names of existing accounts are kept.
    let known = match &checked {
        Ok(user) => Some(user.name.clone()),
        Err(_) => api.store.user(&credentials.username).await?.map(|user| user.name),
    };
    let event = api.audit(req, known.as_deref(), "auth.token", "/auth/token", outcome, Value::Null);
    api.store.record_audit(event).await?;
    let user = checked?;
    if device.is_none() {
        device::remember(&api, req, res, &user.name)?;
    }
    let issued = api.accounts.signer.issue_access(
        &user,
        api.clock.wall(),
        Duration::from_secs(u64::from(api.config.auth.token_minutes) * 60),
    )?;
    Ok(Json(TokenAnswer {
        access_token: issued.token,
        token_type: "bearer",
        expires_in: i64::from(api.config.auth.token_minutes) * 60,
        must_change_password: user.must_change_password,
        role: user.role.name(),
        unit: api.unit_id.clone(),
    }))
}

fn source<'a>(req: &Request, device: Option<&'a str>) -> LoginSource<'a> {
    LoginSource { address: peer(req).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), device }
}

/// The same words and the same time for an unknown account, a disabled one and a wrong password.
async fn check_credentials(api: &AppState, credentials: &Credentials, source: LoginSource<'_>) -> Result<User> {
    let now = api.clock.now().monotonic;
    let admission = api
        .accounts
        .logins
        .check(&credentials.username, source, now)
        .inspect_err(|_| api.metrics.count_limit(Limit::LoginRate))?;
    let user = api.store.user(&credentials.username).await?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let right = api.password_opens(admission, credentials.password.clone(), hash).await?;
    match user.filter(|user| right && user.enabled) {
        Some(user) => {
            api.accounts.logins.succeeded(&credentials.username, source, now);
            Ok(user)
        }
        None => {
            api.accounts.logins.failed(&credentials.username, source, api.clock.now().monotonic);
            Err(Error::new(ErrorKind::Authentication, "The name or the password is wrong, or the account is disabled."))
        }
    }
}

/// Log out
///
/// Revokes the presented token, also across restarts.
#[endpoint(tags("auth"), responses((status_code = 204, description = "The token is void")), security(["bearer" = []]))]
pub async fn log_out(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    let caller = Caller::of(depot)?;
    let event = api.audit(req, Some(caller.name()), "auth.logout", "/auth/logout", Outcome::Success, Value::Null);
    api.store.revoke_access(&caller.claims.id, caller.claims.expires_at, event).await?;
    res.status_code(StatusCode::NO_CONTENT);
    Ok(Written)
}

/// Change the own password
///
/// Every other token of the account becomes void; the presented one stays.
#[endpoint(
    tags("auth"),
    request_body(content = PasswordChange, content_type = "application/json"),
    responses((status_code = 204, description = "The password is changed")),
    security(["bearer" = []])
)]
pub async fn change_password(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    let caller = Caller::of(depot)?.clone();
    let gone = || Error::new(ErrorKind::Authentication, "The account is gone; log in again.");
    let user = api.store.user(caller.name()).await?.ok_or_else(gone)?;
    let source = source(req, Some(&caller.claims.id));
    let change: PasswordChange = read_fields(req, depot, &api).await?;
    let now = api.clock.now().monotonic;
    let admission = api
        .accounts
        .logins
        .check(&user.name, source, now)
        .inspect_err(|_| api.metrics.count_limit(Limit::LoginRate))?;
    if !api.password_opens(admission, change.current_password.clone(), Some(user.password_hash.clone())).await? {
        api.accounts.logins.failed(&user.name, source, api.clock.now().monotonic);
        let event = api.audit(req, Some(&user.name), "auth.password", &user.name, Outcome::Denied, Value::Null);
        api.store.record_audit(event).await?;
        return Err(ApiError(
            Error::new(ErrorKind::Authentication, "The current password is wrong.").detail("field", "current_password"),
        ));
    }
    if change.new_password == change.current_password {
        return Err(ApiError(Error::validation("The new password is the current one; choose another.")));
    }
    api.accounts.rules.check(&change.new_password, &user.name)?;
    let hash = api.password_hash(&user.name, change.new_password).await?;
    let details = json!({ "other_tokens": "revoked" });
    let event = api.audit(req, Some(&user.name), "auth.password", &user.name, Outcome::Success, details);
    let password =
        NewPassword { hash, must_change: false, kept: Some(caller.claims.id), checked: Some(user.password_hash) };
    let change = UserChange { password: Some(password), ..UserChange::default() };
    api.store.change_user(&user.name, change, event).await?;
    api.store.forget_first_password(&user.name);
    res.status_code(StatusCode::NO_CONTENT);
    Ok(Written)
}
