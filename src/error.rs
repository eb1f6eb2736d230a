//! One error type for the whole unit, and the one table that says what each kind means outside: the HTTP status and code
//! a client sees, the exit code a shell sees, whether trying again may help, and the label of the error metric.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

/// What went wrong, in the terms that decide how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller sent something that cannot be used.
    Validation,
    /// Nobody is known to be asking: no token, a bad one, or wrong credentials.
    Authentication,
    /// The caller is known and may not do this.
    Authorization,
    NotFound,
    MethodNotAllowed,
    /// The request contradicts what is stored.
    Conflict,
    RateLimit,
    PayloadTooLarge,
    UnsupportedMediaType,
    /// A bounded place is full, or a part the request needs is down; trying again later may help.
    Unavailable,
    /// The configuration cannot be used.
    Config,
    /// Everything else: a fault of the unit itself. Its cause goes to the log, never to a client.
    Internal,
}

/// One row of the error table.
#[derive(Clone, Copy, Debug)]
pub struct ErrorFacts {
    /// `error_code` of the HTTP error body.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Process exit code (sysexits where it has one).
    pub exit: u8,
    /// Whether the same request may succeed later.
    pub retry: bool,
    /// Value of the metric label `error_type`.
    pub label: &'static str,
}

impl ErrorKind {
    /// Every kind, for tests and for metrics that must exist from the start.
    pub const ALL: [Self; 12] = [
        Self::Validation,
        Self::Authentication,
        Self::Authorization,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::RateLimit,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::Unavailable,
        Self::Config,
        Self::Internal,
    ];

    /// The row of the table.
    #[must_use]
    pub const fn facts(self) -> ErrorFacts {
        let (code, status, exit, retry, label) = match self {
            Self::Validation => ("VALIDATION_ERROR", 400, 1, false, "validation"),
            Self::Authentication => ("AUTHENTICATION_ERROR", 401, 1, false, "authentication"),
            Self::Authorization => ("AUTHORIZATION_ERROR", 403, 1, false, "authorization"),
            Self::NotFound => ("NOT_FOUND", 404, 1, false, "not_found"),
            Self::MethodNotAllowed => ("METHOD_NOT_ALLOWED", 405, 1, false, "method_not_allowed"),
            Self::Conflict => ("CONFLICT_ERROR", 409, 1, false, "conflict"),
            Self::RateLimit => ("RATE_LIMIT_ERROR", 429, 1, true, "rate_limit"),
            Self::PayloadTooLarge => ("PAYLOAD_TOO_LARGE", 413, 1, false, "payload_too_large"),
            Self::UnsupportedMediaType => ("UNSUPPORTED_MEDIA_TYPE", 415, 1, false, "unsupported_media_type"),
            Self::Unavailable => ("SERVICE_UNAVAILABLE", 503, 1, true, "unavailable"),
            Self::Config => ("INTERNAL_ERROR", 500, 78, false, "config"),
            Self::Internal => ("INTERNAL_ERROR", 500, 1, false, "internal"),
        };
        ErrorFacts { code, status, exit, retry, label }
    }
}

/// An error with a message fit for whoever caused it, and a cause fit for the log.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    details: Map<String, Value>,
    retry_after: Option<Duration>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// `message` says what, where and what to do; it is shown to the caller whatever the kind, so for
    /// [`ErrorKind::Internal`] it must not hold internals: those belong into the cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: Map::new(), retry_after: None, cause: None }
    }

    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Validation, message)
    }

    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// A full or absent part; the caller may try again after `retry_after`.
    pub fn unavailable(message: impl Into<String>, retry_after: Duration) -> Self {
        let mut error = Self::new(ErrorKind::Unavailable, message);
        error.retry_after = Some(retry_after);
        error
    }

    /// Adds one machine-readable detail.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Keeps what caused this, for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    #[must_use]
    pub fn details(&self) -> &Map<String, Value> {
        &self.details
    }

    #[must_use]
    pub fn retry_after_hint(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The message with all causes behind it: for the log and the command line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

/// How alike two words are (Jaro and Winkler) from which on one may be meant for the other.
const ALIKE_MIN: f64 = 0.7;

/// The known word that `word` is most likely meant for; none when no word is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let alike = |other: &str| strsim::jaro_winkler(&word, &other.to_lowercase());
    let scored = known.into_iter().map(|other| (alike(other), other));
    let (likeness, found) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (likeness >= ALIKE_MIN).then_some(found)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_and_the_message_none() {
        let error = Error::internal("The store is down.").because(std::io::Error::other("disk on fire"));
        assert_eq!(error.to_string(), "The store is down.");
        assert_eq!(error.chain(), "The store is down.: disk on fire");
    }

    #[test]
    fn only_what_may_pass_by_itself_asks_for_a_retry() {
        let retried: Vec<_> = ErrorKind::ALL.into_iter().filter(|kind| kind.facts().retry).collect();
        assert_eq!(retried, [ErrorKind::RateLimit, ErrorKind::Unavailable]);
    }
}
