//! The address of Redis: one URL, in which several servers (of a Sentinel group or a Cluster) may stand.

use std::fmt;

use percent_encoding::percent_decode_str;

use serde::{Deserialize, Serialize, Serializer};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// `redis[s]://[user[:password]@]host[:port][,host[:port]…][/database]` or `redis+unix:///path/to.sock`; empty: none. It is
/// shown without its password.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RedisUrl(String);

/// What a URL says.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    pub tls: bool,
    pub user: Option<String>,
    pub password: Option<String>,
    /// At least one.
    pub servers: Vec<RedisServer>,
    pub database: i64,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServer {
    Tcp {
        host: String,
        /// None: the usual one of whatever listens there.
        port: Option<u16>,
    },
    Unix(String),
}

impl RedisUrl {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its parts.
    ///
    /// # Errors
    /// What is wrong with it and how it should look.
    pub fn parse(&self) -> Result<RedisAddress, String> {
        if let Some(path) = self.0.strip_prefix("redis+unix://").filter(|path| path.starts_with('/')) {
            let servers = vec![RedisServer::Unix(path.to_owned())];
            return Ok(RedisAddress { tls: false, user: None, password: None, servers, database: 0 });
        }
        let (tls, rest) = match self.0.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            _ => return Err("write redis://host:6379, rediss://host:6379 (TLS) or redis+unix:///path".to_owned()),
        };
        let (credentials, place) = rest.rsplit_once('@').map_or((None, rest), |(before, place)| (Some(before), place));
        let (user, password) = credentials.map_or(Ok((None, None)), credentials_of)?;
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let database = if database.is_empty() { Ok(0) } else { database.parse() };
        let database = database.map_err(|_| "behind the host stands a database number or nothing".to_owned())?;
        let servers = hosts.split(',').map(server).collect::<Result<_, _>>()?;
        Ok(RedisAddress { tls, user, password, servers, database })
    }

    /// Without password, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return if self.0.contains('@') { "***".to_owned() } else { self.0.clone() };
        };
        match rest.rsplit_once('@') {
            Some((credentials, place)) => {
                let user = credentials.split(':').next().unwrap_or_default();
                let secret = if credentials.contains(':') { ":***" } else { "" };
                format!("{scheme}://{user}{secret}@{place}")
            }
            None => self.0.clone(),
        }
    }
}

impl RedisServer {
    /// The port, or the usual one of a server or of a sentinel.
    #[must_use]
    pub fn port_or_usual(port: Option<u16>, sentinel: bool) -> u16 {
        port.unwrap_or(if sentinel { SENTINEL_PORT } else { PORT })
    }

    /// From `host:port` as servers name each other; IPv6 with or without brackets.
    #[must_use]
    pub fn from_host_port(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self::Tcp { host, port: Some(port.parse().ok()?) })
    }
}

impl fmt::Display for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port: Some(port) } => write!(f, "{host}:{port}"),
            Self::Tcp { host, port: None } => f.write_str(host),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

fn credentials_of(text: &str) -> Result<(Option<String>, Option<String>), String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decoded = |part: &str| (!part.is_empty()).then(|| percent_decoded(part)).transpose();
    Ok((decoded(user)?, decoded(password)?))
}

/// RFC 3986, 2.1: a password may hold `@`, `:` and `/` this way.
fn percent_decoded(text: &str) -> Result<String, String> {
    let wrong = || "a % in user or password begins a percent-encoded character, such as %40 for @".to_owned();
    // The decoder leaves a % as it is that begins no such character; a password must not be guessed at.
    let sound = |behind: &str| behind.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !text.split('%').skip(1).all(sound) {
        return Err(wrong());
    }
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| wrong())
}

fn server(text: &str) -> Result<RedisServer, String> {
    let wrong = || format!("{text:?} is no host:port");
    let (host, port) = if let Some(behind) = text.strip_prefix('[') {
        let (host, port) = behind.split_once(']').ok_or_else(wrong)?;
        (host, port.strip_prefix(':'))
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    if host.is_empty() || host.contains([' ', '?', '#']) {
        return Err(wrong());
    }
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)).transpose()?;
    Ok(RedisServer::Tcp { host: host.to_owned(), port })
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAddress").field("tls", &self.tls).field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RedisUrl {
        RedisUrl(text.to_owned())
    }

    fn tcp(host: &str, port: Option<u16>) -> RedisServer {
        RedisServer::Tcp { host: host.into(), port }
    }

    #[test]
    fn every_part_of_a_url_is_found() {
        let address = url("rediss://unit:p%40ss%3Aword@a.example:7000,b,[::1]:7002/3").parse().unwrap();
        assert!(address.tls);
        assert_eq!(address.user.as_deref(), Some("unit"));
        assert_eq!(address.password.as_deref(), Some("p@ss:word"));
        assert_eq!(address.database, 3);
        assert_eq!(address.servers, [tcp("a.example", Some(7000)), tcp("b", None), tcp("::1", Some(7002))]);
        let plain = url("redis://localhost").parse().unwrap();
        assert_eq!((plain.tls, plain.user, plain.password, plain.database), (false, None, None, 0));
        let socket = url("redis+unix:///run/redis.sock").parse().unwrap();
        assert_eq!(socket.servers, [RedisServer::Unix("/run/redis.sock".into())]);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "localhost:6379",
            "http://a",
            "redis://",
            "redis://a:b",
            "redis://a/x",
            "redis://u:%zz@a",
            "redis://u:%+4@a",
            "redis://a:0",
        ] {
            assert!(url(text).parse().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let with = url("redis://unit:secret@a:1/2");
        assert_eq!(with.shown(), "redis://unit:***@a:1/2");
        assert!(!format!("{with:?}{:?}", with.parse().unwrap()).contains("secret"));
        assert_eq!(url("redis://:secret@a").shown(), "redis://:***@a");
        assert_eq!(url("secret@a").shown(), "***");
        assert_eq!(serde_json::to_string(&with).unwrap(), "\"redis://unit:***@a:1/2\"");
    }

    #[test]
    fn servers_name_each_other() {
        assert_eq!(RedisServer::from_host_port("10.0.0.1:7001"), Some(tcp("10.0.0.1", Some(7001))));
        assert_eq!(RedisServer::from_host_port("::1:7001"), Some(tcp("::1", Some(7001))));
        assert_eq!(RedisServer::from_host_port(":7001"), Some(tcp("", Some(7001))));
        assert_eq!(RedisServer::from_host_port("nothing"), None);
    }
}
