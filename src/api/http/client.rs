//! Who the client is when a trusted proxy stands between: the rightmost address that is not a trusted proxy's. Proxies append
//! the address they were called from, so everything to the left of it is what the client itself claims.

use std::net::{IpAddr, SocketAddr};

use salvo::conn::addr::SocketAddr as Remote;
use salvo::http::header::{FORWARDED, HeaderMap, HeaderName};
use salvo::http::uri::Scheme;
use salvo::prelude::*;

use crate::config::Network;
use crate::error::{Error, Result};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Gives the request the client's address and scheme, when it comes from a trusted proxy. Headers of everybody else count
/// for nothing.
///
/// # Errors
/// Validation when two headers name different clients: a proxy sets one of them and lets the client's own other one pass.
pub fn identify(req: &mut Request, trusted: &[Network]) -> Result<()> {
    let Some(peer) = req.remote_addr().clone().into_std().map(|peer| peer.ip().to_canonical()) else { return Ok(()) };
    if !is_trusted(trusted, peer) {
        return Ok(());
    }
    let headers = req.headers();
    let listed = client(&values(headers, &X_FORWARDED_FOR), trusted, |hop| hop);
    let forwarded = client(&values(headers, &FORWARDED), trusted, |hop| parameter(hop, "for").unwrap_or_default());
    if let (Some(listed), Some(forwarded)) = (listed, forwarded)
        && listed != forwarded
    {
        return Err(Error::validation(
            "X-Forwarded-For and Forwarded name different clients. Let the proxy remove the one that it does not set.",
        ));
    }
    let secure = is_secure(headers);
    if let Some(client) = listed.or(forwarded) {
        *req.remote_addr_mut() = Remote::from(SocketAddr::new(client, 0));
    }
    if let Some(secure) = secure {
        *req.scheme_mut() = if secure { Scheme::HTTPS } else { Scheme::HTTP };
    }
    Ok(())
}

fn is_trusted(trusted: &[Network], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// The members of a list header in their order; repeated headers are one list (RFC 9110, 5.3).
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    lines.flat_map(|line| line.split(',')).map(str::trim).collect()
}

/// The rightmost address that is no trusted proxy's. What cannot be read ends the walk: what is left of it was not written
/// by a trusted proxy.
fn client<'a>(hops: &[&'a str], trusted: &[Network], named: impl Fn(&'a str) -> &'a str) -> Option<IpAddr> {
    let mut nearest = None;
    for hop in hops.iter().rev() {
        let Some(address) = address(named(hop)) else { break };
        nearest = Some(address);
        if !is_trusted(trusted, address) {
            break;
        }
    }
    nearest
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` and `"[2001:db8::1]:80"` (RFC 7239, 6).
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// A parameter of one element of Forwarded.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Whether the client came over TLS, as the nearest proxy says.
fn is_secure(headers: &HeaderMap) -> Option<bool> {
    let forwarded = values(headers, &FORWARDED);
    let scheme = values(headers, &X_FORWARDED_PROTO).last().copied();
    let scheme = scheme.or_else(|| parameter(forwarded.last()?, "proto"))?;
    Some(scheme.trim_matches('"').eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, headers: &[(HeaderName, &str)]) -> Result<String> {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut req = Request::new();
        *req.remote_addr_mut() = Remote::from(SocketAddr::new(peer.parse().unwrap(), 7));
        for (name, value) in headers {
            req.headers_mut().append(name, value.parse().unwrap());
        }
        identify(&mut req, &trusted)?;
        Ok(crate::api::http::request::peer(&req).unwrap().to_string())
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_proxys() {
        let listed = |peer: &str, text: &str| found(peer, &[(X_FORWARDED_FOR, text)]).unwrap();
        assert_eq!(listed("10.0.0.1", "203.0.113.7"), "203.0.113.7");
        assert_eq!(listed("10.0.0.1", "1.2.3.4, 203.0.113.7, 10.0.0.2"), "203.0.113.7", "the left one is a claim");
        assert_eq!(listed("10.0.0.1", "203.0.113.7:4711"), "203.0.113.7");
        assert_eq!(listed("10.0.0.1", "2001:db8::7"), "2001:db8::7");
        assert_eq!(listed("10.0.0.1", "10.0.0.3, 10.0.0.2"), "10.0.0.3", "all of them are ours");
        assert_eq!(
            listed("10.0.0.1", "203.0.113.7, unknown, 10.0.0.2"),
            "10.0.0.2",
            "nothing behind what is unreadable"
        );
        assert_eq!(listed("10.0.0.1", ""), "10.0.0.1");
        assert_eq!(listed("203.0.113.9", "127.0.0.1"), "203.0.113.9", "a stranger's header counts for nothing");
        let twice = [(X_FORWARDED_FOR, "1.2.3.4"), (X_FORWARDED_FOR, "203.0.113.7")];
        assert_eq!(found("10.0.0.1", &twice).unwrap(), "203.0.113.7");
    }

    #[test]
    fn forwarded_is_read_like_the_older_header() {
        let forwarded = |text: &str| found("fd00::1", &[(FORWARDED, text)]).unwrap();
        assert_eq!(forwarded("for=203.0.113.7;proto=https"), "203.0.113.7");
        assert_eq!(forwarded("for=1.2.3.4, by=x;For=\"[2001:db8::7]:4711\""), "2001:db8::7");
        assert_eq!(forwarded("for=1.2.3.4, for=_hidden"), "fd00::1");
    }

    #[test]
    fn two_headers_that_disagree_are_refused() {
        let both = |listed: &str| found("10.0.0.1", &[(X_FORWARDED_FOR, listed), (FORWARDED, "for=203.0.113.7")]);
        assert_eq!(both("203.0.113.7").unwrap(), "203.0.113.7");
        assert!(both("198.51.100.1").unwrap_err().message().contains("different clients"));
    }

    #[test]
    fn only_a_trusted_proxy_says_that_the_client_came_over_tls() {
        for (peer, headers, secure) in [
            ("10.0.0.1", vec![(X_FORWARDED_PROTO, "https")], true),
            ("10.0.0.1", vec![(X_FORWARDED_PROTO, "https, http")], false),
            ("10.0.0.1", vec![(FORWARDED, "for=1.2.3.4;proto=https")], true),
            ("203.0.113.9", vec![(X_FORWARDED_PROTO, "https")], false),
        ] {
            let mut req = Request::new();
            *req.remote_addr_mut() = Remote::from(SocketAddr::new(peer.parse().unwrap(), 7));
            *req.scheme_mut() = Scheme::HTTP;
            for (name, value) in headers {
                req.headers_mut().append(name, value.parse().unwrap());
            }
            identify(&mut req, &["10.0.0.0/8".parse().unwrap()]).unwrap();
            assert_eq!(*req.scheme() == Scheme::HTTPS, secure, "{peer}");
        }
    }
}
