//! Takes secrets out of text that goes to a log or to an error: bearer tokens and JWTs, passwords in URLs, and values
//! behind names that say they are secret.

use std::borrow::Cow;

const MASK: &str = "***";
/// Names whose value is a secret when `=` or `:` follows.
const SECRET_NAMES: [&str; 6] = ["password", "passwd", "secret_key", "access_token", "authorization", "client_secret"];

/// Ways to authenticate that stand before the secret in an `Authorization` header (RFC 9110, 11.4).
const SCHEMES: [&str; 4] = ["bearer ", "basic ", "digest ", "token "];

/// `text` with every secret replaced by `***`.
#[must_use]
pub fn mask(text: &str) -> Cow<'_, str> {
    let mut spans = Vec::new();
    find_jwts(text, &mut spans);
    find_bearers(text, &mut spans);
    find_url_passwords(text, &mut spans);
    find_named(text, &mut spans);
    if spans.is_empty() {
        return Cow::Borrowed(text);
    }
    spans.sort_unstable();
    let mut masked = String::with_capacity(text.len());
    let mut end = 0;
    for (from, to) in spans {
        if to <= end {
            continue;
        }
        if from >= end {
            masked.push_str(&text[end..from]);
            masked.push_str(MASK);
        }
        end = to;
    }
    masked.push_str(&text[end..]);
    Cow::Owned(masked)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte)
}

/// First index from `from` on whose byte fails `keep`.
fn end_of(text: &str, from: usize, keep: impl Fn(u8) -> bool) -> usize {
    text.as_bytes()[from..].iter().position(|&byte| !keep(byte)).map_or(text.len(), |length| from + length)
}

/// A JWT's header always starts with `{"`, in base64url `eyJ`.
fn find_jwts(text: &str, spans: &mut Vec<(usize, usize)>) {
    for (from, _) in text.match_indices("eyJ") {
        let to = end_of(text, from, is_token_byte);
        if text[from..to].contains('.') {
            spans.push((from, to));
        }
    }
}

fn find_bearers(text: &str, spans: &mut Vec<(usize, usize)>) {
    let lower = text.to_ascii_lowercase();
    for (at, word) in lower.match_indices("bearer ") {
        let from = at + word.len();
        let to = end_of(text, from, is_token_byte);
        if to - from >= 16 {
            spans.push((from, to));
        }
    }
}

/// `scheme://user:password@host`.
fn find_url_passwords(text: &str, spans: &mut Vec<(usize, usize)>) {
    for (at, mark) in text.match_indices("://") {
        let from = at + mark.len();
        let authority =
            &text[from..end_of(text, from, |byte| !byte.is_ascii_whitespace() && !b"/?#\"'<>".contains(&byte))];
        let Some((user, _)) = authority.rsplit_once('@') else { continue };
        if let Some((name, password)) = user.split_once(':') {
            let start = from + name.len() + 1;
            spans.push((start, start + password.len()));
        }
    }
}

fn find_named(text: &str, spans: &mut Vec<(usize, usize)>) {
    let lower = text.to_ascii_lowercase();
    for name in SECRET_NAMES {
        for (at, _) in lower.match_indices(name) {
            let behind = end_of(text, at + name.len(), |byte| byte == b'"' || byte == b'\\' || byte == b' ');
            if !matches!(text.as_bytes().get(behind), Some(b'=' | b':')) {
                continue;
            }
            let value = end_of(text, behind + 1, |byte| byte == b'"' || byte == b'\\' || byte == b' ');
            let scheme = SCHEMES.iter().find(|scheme| lower[value..].starts_with(**scheme));
            let from = value + scheme.map_or(0, |scheme| scheme.len());
            // A place for a secret, as hints write it.
            if text[from..].starts_with('<') {
                continue;
            }
            let to = end_of(text, from, |byte| !byte.is_ascii_whitespace() && !b"\"\\,;&}".contains(&byte));
            if to > from {
                spans.push((from, to));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (text, masked) in [
            ("login of ann failed", "login of ann failed"),
            ("Authorization: Bearer abcdefghijklmnop0123", "Authorization: Bearer ***"),
            ("Authorization: Basic YW5uOng=", "Authorization: Basic ***"),
            ("Authorization: hunter2", "Authorization: ***"),
            ("send Authorization: Bearer <token>.", "send Authorization: Bearer <token>."),
            ("token eyJhbGciOi.eyJzdWIi.c2ln was refused", "token *** was refused"),
            ("redis://unit:s3cr:et@central:6379/0 is down", "redis://unit:***@central:6379/0 is down"),
            ("{\"username\":\"ann\",\"password\":\"hunter2\"}", "{\"username\":\"ann\",\"password\":\"***\"}"),
            ("password=hunter2&grant_type=password", "password=***&grant_type=password"),
            ("secret_key = \"0123456789\" in config", "secret_key = \"***\" in config"),
            ("the password must have 15 characters", "the password must have 15 characters"),
            ("größe password: é", "größe password: ***"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }
}
