//! The cookie of a browser that has logged in: it lets the right password through while others guess from the same address.
//! It opens nothing and is of use for one account only.

use std::time::Duration;

use salvo::http::header::{COOKIE, HeaderValue, SET_COOKIE};
use salvo::http::uri::Scheme;
use salvo::prelude::*;

use crate::api::state::AppState;
use crate::error::{Error, Result};

/// As long as an address counts as known.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Several units may be behind one host name.
fn name(api: &AppState) -> String {
    format!("vc_device_{}", api.unit_id)
}

/// The id of the device, when it has logged in as the account.
pub fn known(api: &AppState, req: &Request, account: &str) -> Option<String> {
    let name = name(api);
    let lines = req.headers().get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, cookie) = pairs.find(|(key, _)| *key == name)?;
    api.accounts.signer.device(cookie, account, api.clock.wall())
}

/// Gives the device its cookie.
///
/// # Errors
/// Internal when it cannot be made.
pub fn remember(api: &AppState, req: &Request, res: &mut Response, account: &str) -> Result<()> {
    let cookie = api.accounts.signer.issue_device(account, api.clock.wall(), LIFETIME)?;
    let secure = if *req.scheme() == Scheme::HTTPS || api.config.api.behind_tls_proxy { "; Secure" } else { "" };
    let (name, seconds) = (name(api), LIFETIME.as_secs());
    let text = format!("{name}={cookie}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let value = HeaderValue::from_str(&text)
        .map_err(|cause| Error::internal("The device's cookie could not be made.").because(cause))?;
    res.headers_mut().append(SET_COOKIE, value);
    Ok(())
}
