//! What is known of a request itself: its id, the caller's address and what it was admitted with.

use std::net::IpAddr;
use std::sync::Arc;

use salvo::http::header::{HeaderMap, HeaderName};
use salvo::prelude::*;

use crate::auth::Warrant;
use crate::record::Authority;

/// The header that carries the id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A caller's request id is taken over up to this length.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The id of a request: the caller's if it is a sane one, else a new one.
#[derive(Clone, Debug)]
pub struct RequestId(String);

impl RequestId {
    /// The id that the headers give, or a new one.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let sane = |id: &&str| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        };
        let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane);
        Self(given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the request that `depot` belongs to.
    #[must_use]
    pub fn of(depot: &Depot) -> &str {
        depot.get_typed::<Self>().map_or("", |id| &id.0)
    }
}

/// The caller's address.
#[must_use]
pub fn peer(req: &Request) -> Option<IpAddr> {
    req.remote_addr().clone().into_std().map(|address| address.ip().to_canonical())
}

/// What the request was admitted with; none on a public route. Whatever it writes is checked against it once more.
#[must_use]
pub fn authority(req: &Request) -> Option<Arc<dyn Authority>> {
    let warrant = req.extensions().get::<Arc<Warrant>>()?;
    Some(warrant.clone())
}
