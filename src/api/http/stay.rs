//! What the streams that stay open have in common: places are limited, an ended session ends them, and they end at once when
//! the unit stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use salvo::prelude::*;
use tokio::sync::watch;

use crate::api::http::access::{Caller, still};
use crate::api::http::shares::{Share, Shares};
use crate::api::state::AppState;
use crate::auth::{Claims, Permission};
use crate::error::{Error, Result};
use crate::metrics::Limit;

/// How often it is asked whether the caller may still read.
const CHECK_PERIOD: Duration = Duration::from_secs(10);

/// The place of one client, for as long as its stream lasts.
pub struct Place {
    api: Arc<AppState>,
    claims: Claims,
    checked: Instant,
    stopping: watch::Receiver<bool>,
    _share: Share,
}

impl Place {
    /// Takes a place among `places`.
    ///
    /// # Errors
    /// Unavailable when all are taken, or all that the account may have; the limit is counted under `limit`.
    pub fn take(api: &Arc<AppState>, depot: &Depot, places: &Shares, limit: Limit) -> Result<Self> {
        let caller = Caller::of(depot)?;
        let mut share = places.of(caller.name());
        if !share.grow(1) {
            api.metrics.count_limit(limit);
            let text = format!(
                "All places for such streams are taken (api.{}_max); close one, or try again later.",
                limit.name()
            );
            return Err(Error::unavailable(text, Duration::from_secs(10)));
        }
        Ok(Self {
            api: api.clone(),
            claims: caller.claims.clone(),
            checked: Instant::now(),
            stopping: api.streams.stopping(),
            _share: share,
        })
    }

    /// Whether the stream may go on: the unit is not stopping, and the caller may still read.
    pub async fn goes_on(&mut self) -> bool {
        if *self.stopping.borrow() {
            return false;
        }
        if self.checked.elapsed() >= CHECK_PERIOD {
            self.checked = Instant::now();
            // A store that does not answer is no reason to send anybody away.
            let refused = still(Permission::Read, &self.api, &self.claims).await.err();
            return refused.is_none_or(|error| error.kind().facts().retry);
        }
        true
    }

    /// Waits; shorter when the unit stops.
    pub async fn pause(&mut self, time: Duration) {
        // It ends either way; which one it was, `goes_on` asks.
        let _ = tokio::time::timeout(time, self.stopping.wait_for(|stopping| *stopping)).await;
    }
}
