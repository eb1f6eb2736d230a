//! Web pages of other sites: what they may ask for in the browser of somebody who can reach the unit.

use salvo::http::Method;
use salvo::http::header::{self, HeaderName};
use salvo::prelude::*;

use crate::api::state::Reloadable;
use crate::error::{Error, ErrorKind, Result};

/// Fetch Metadata (W3C): browsers send it to https and localhost, and no page can set it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The origin that the browser names.
pub fn origin(req: &Request) -> Option<&str> {
    req.headers().get(header::ORIGIN)?.to_str().ok()
}

/// Whether pages of that origin may call the unit.
pub fn allowed(settings: &Reloadable, origin: &str) -> bool {
    settings.cors_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

/// Refuses what would change something and comes from a page of another site. The browser keeps the answer from such a page,
/// but a wrong password, for one, would count against the browser's owner. Clients other than browsers send neither header.
///
/// # Errors
/// Authorization, naming the setting that admits the page.
pub fn check(settings: &Reloadable, req: &Request) -> Result<()> {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(req.method()) {
        return Ok(());
    }
    let origin = req.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    if origin.is_some_and(|origin| allowed(settings, origin)) {
        return Ok(());
    }
    let site = req.headers().get(SEC_FETCH_SITE).map(|site| site.to_str().unwrap_or("cross-site"));
    let own = match (site, origin) {
        (Some(site), _) => ["same-origin", "none"].contains(&site),
        (None, Some(origin)) => is_own(req, origin),
        (None, None) => true,
    };
    if own {
        return Ok(());
    }
    let text = "A page of another site may not ask this unit for changes; api.cors_origins lists the sites that may.";
    Err(Error::new(ErrorKind::Authorization, text))
}

/// Whether the page came from the host that the request goes to. The scheme does not count: a proxy may have taken TLS off.
fn is_own(req: &Request, origin: &str) -> bool {
    let host = req.uri().authority().map(|authority| authority.as_str());
    let host = host.or_else(|| req.headers().get(header::HOST)?.to_str().ok());
    let page = origin.split_once("://").map(|(_, authority)| authority);
    host.is_some() && page.zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ApiConfig;

    #[test]
    fn only_pages_of_the_unit_and_of_named_sites_ask_for_changes() {
        let config = ApiConfig { cors_origins: vec!["https://dashboard.example".into()], ..ApiConfig::default() };
        let settings = Reloadable::new(&config);
        for (origin, site, admitted) in [
            (None, None, true),
            (Some("http://unit.example:8000"), None, true),
            (Some("https://unit.example:8000"), Some("same-origin"), true),
            // A proxy that names another host to the unit.
            (Some("https://outside.example"), Some("same-origin"), true),
            (Some("https://dashboard.example"), Some("cross-site"), true),
            (Some("http://evil.example"), None, false),
            (Some("http://unit.example"), None, false),
            (Some("null"), None, false),
            (Some("http://evil.example"), Some("cross-site"), false),
            (Some("http://other.example:8000"), Some("same-site"), false),
            (None, Some("cross-site"), false),
        ] {
            let mut req = Request::new();
            *req.method_mut() = Method::POST;
            req.headers_mut().insert(header::HOST, "unit.example:8000".parse().unwrap());
            for (name, value) in [(header::ORIGIN, origin), (SEC_FETCH_SITE, site)] {
                if let Some(value) = value {
                    req.headers_mut().insert(name, value.parse().unwrap());
                }
            }
            assert_eq!(check(&settings, &req).is_ok(), admitted, "{origin:?} {site:?}");
            *req.method_mut() = Method::GET;
            assert!(check(&settings, &req).is_ok(), "reading is the browser's affair");
        }
    }
}
