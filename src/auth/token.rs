//! Signed tokens: JWT (RFC 7519), HS256 only, hardened after RFC 8725.
//!
//! The crate `jsonwebtoken` parses, checks the signature with the pinned algorithm, and compares issuer and audience. Its
//! clock checks are off, because it reads the system clock itself and allows 60 s; they are made here against the time the
//! caller gives. With one cryptographic back end compiled in (aws-lc), the crate picks it by itself; none is installed.
//!
//! A verified token says who it was issued to; whether it still counts (revoked, disabled, role changed) the store
//! decides: see [`super::Identity`].

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::Key;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Role, Scope, User};

/// Claim `aud`: what the tokens are for.
pub const AUDIENCE: &str = "vehicle-classifierd";
/// Of a device's cookie, so that neither passes for the other.
const DEVICE_AUDIENCE: &str = "vehicle-classifierd device";
/// Longer tokens are refused unread; ours have about 400 bytes.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;
/// How far `nbf` and `iat` may lie ahead: a clock that was stepped back a little. `exp` gets no such grace.
const CLOCK_LEEWAY_SECONDS: i64 = 5;

/// What a token opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "use", rename_all = "lowercase")]
pub enum Grant {
    /// A user's login.
    Access {
        #[serde(rename = "uid")]
        user_id: i64,
        /// Private claim: [`User::token_generation`] at the time of issue.
        #[serde(rename = "gen")]
        generation: i64,
        /// At the time of issue; the store's is the one that counts.
        role: Role,
    },
    /// A machine's long-lived token.
    Service { scopes: Vec<Scope> },
}

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `jti`, a UUID.
    pub id: String,
    /// User name, or name of the service token.
    pub subject: String,
    pub expires_at: Timestamp,
    pub grant: Grant,
}

/// A new token. It has no `Debug`, so that it cannot slip into a log.
#[derive(Clone)]
pub struct Issued {
    pub token: String,
    /// `jti`, a UUID.
    pub id: String,
    pub expires_at: Timestamp,
}

/// The claims as they are written; each one is required.
#[derive(Serialize, Deserialize)]
struct Payload {
    iss: String,
    aud: String,
    sub: String,
    jti: String,
    /// Seconds since 1970, as `nbf` and `exp`.
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(flatten)]
    grant: Grant,
}

/// The claims of a device's cookie; each one is required.
#[derive(Serialize, Deserialize)]
struct Device {
    iss: String,
    aud: String,
    sub: String,
    jti: String,
    exp: i64,
}

/// Issues and verifies tokens with one key.
#[derive(Clone)]
pub struct Signer {
    issuer: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    device_validation: Validation,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Signer {
    /// `issuer`: the unit's id; tokens of another unit are refused even under the same key.
    #[must_use]
    pub fn new(key: &Key, issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let mut device_validation = validation.clone();
        device_validation.set_audience(&[DEVICE_AUDIENCE]);
        device_validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        Self {
            issuer,
            device_validation,
            encoding: EncodingKey::from_secret(key.bytes()),
            decoding: DecodingKey::from_secret(key.bytes()),
            validation,
        }
    }

    /// A login's token.
    ///
    /// # Errors
    /// Internal: the token cannot be signed, or its expiry lies beyond what can be written.
    pub fn issue_access(&self, user: &User, now: Timestamp, lifetime: Duration) -> Result<Issued> {
        self.issue(
            &user.name,
            Grant::Access { user_id: user.id, generation: user.token_generation, role: user.role },
            now,
            lifetime,
        )
    }

    /// A machine's token; it is shown once, and only [`Issued::id`] is to be stored.
    ///
    /// # Errors
    /// As [`Self::issue_access`].
    pub fn issue_service(&self, name: &str, scopes: &[Scope], now: Timestamp, lifetime: Duration) -> Result<Issued> {
        self.issue(name, Grant::Service { scopes: scopes.to_vec() }, now, lifetime)
    }

    fn issue(&self, subject: &str, grant: Grant, now: Timestamp, lifetime: Duration) -> Result<Issued> {
        let failed = || Error::internal("The token could not be issued.");
        let end = now.checked_add(lifetime).map_err(|cause| failed().because(cause))?;
        let expires_at = Timestamp::from_second(end.as_second()).map_err(|cause| failed().because(cause))?;
        let id = Uuid::new_v4().to_string();
        let payload = Payload {
            iss: self.issuer.clone(),
            aud: AUDIENCE.into(),
            sub: subject.into(),
            jti: id.clone(),
            iat: now.as_second(),
            nbf: now.as_second(),
            exp: expires_at.as_second(),
            grant,
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &payload, &self.encoding)
            .map_err(|cause| failed().because(cause))?;
        Ok(Issued { token, id, expires_at })
    }

    /// What a device keeps once the account has logged in from it. It opens nothing.
    ///
    /// # Errors
    /// Internal: it cannot be signed.
    pub fn issue_device(&self, account: &str, now: Timestamp, lifetime: Duration) -> Result<String> {
        let device = Device {
            iss: self.issuer.clone(),
            aud: DEVICE_AUDIENCE.into(),
            sub: account.to_lowercase(),
            jti: Uuid::new_v4().to_string(),
            exp: now.as_second().saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &device, &self.encoding)
            .map_err(|cause| Error::internal("The device's cookie could not be made.").because(cause))
    }

    /// The id of a device that has logged in as the account.
    #[must_use]
    pub fn device(&self, cookie: &str, account: &str, now: Timestamp) -> Option<String> {
        let cookie = Some(cookie).filter(|cookie| cookie.len() <= TOKEN_BYTES_MAX)?;
        let device = jsonwebtoken::decode::<Device>(cookie, &self.decoding, &self.device_validation).ok()?.claims;
        (device.sub == account.to_lowercase() && now.as_second() < device.exp).then_some(device.jti)
    }

    /// Checks a token as of `now` and reads it.
    ///
    /// # Errors
    /// Authentication; the message tells an honest caller what to do and an attacker nothing but whether a token that
    /// carries our signature is too old or too new.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(invalid());
        }
        let verified = jsonwebtoken::decode::<Payload>(token, &self.decoding, &self.validation)
            .map_err(|cause| invalid().because(cause))?;
        // No critical extension is understood here, so each one forbids the token (RFC 7515, 4.1.11).
        if verified.header.typ.as_deref() != Some("JWT") || verified.header.crit.is_some() {
            return Err(invalid());
        }
        let payload = verified.claims;
        let second = now.as_second();
        if second >= payload.exp {
            return Err(refused("The token has expired; log in again."));
        }
        if payload.nbf.max(payload.iat) > second.saturating_add(CLOCK_LEEWAY_SECONDS) {
            return Err(refused("The token is not valid yet: the unit's clock was set back; log in again."));
        }
        Ok(Claims {
            expires_at: Timestamp::from_second(payload.exp).map_err(|cause| invalid().because(cause))?,
            id: payload.jti,
            subject: payload.sub,
            grant: payload.grant,
        })
    }
}

/// The answer to every token that is not one of ours in force, whatever the reason.
pub(super) fn invalid() -> Error {
    refused("The token is not valid; log in again.")
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::Authentication, message)
}

#[cfg(test)]
mod tests;
