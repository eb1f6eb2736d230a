//! The central site: carries the outbox into a Redis stream, exactly once and in order, and gives signs of life.
//!
//! Nothing in the unit waits for it, and nothing is lost to it: events stay in the store until Redis was seen to have them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::store::Store;

pub mod backoff;
mod delivery;
mod redis;
pub mod resume;
pub mod uplink;
mod wire;

#[cfg(test)]
mod tests;

pub use redis::{RedisSettings, RedisUplink};
pub use uplink::Trouble;
pub use wire::{encoder, example};

use delivery::Delivery;
use uplink::Uplink;

/// How often the backlog is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// How to deliver, apart from where.
#[derive(Clone, Debug)]
pub struct SyncSettings {
    pub batch_events_max: usize,
    /// Between an event and its batch while there is little to send: several share an acknowledgement, which is a disk write.
    pub linger: Duration,
    /// Between two signs of life.
    pub health_interval: Duration,
    /// Longest wait between two tries.
    pub backoff_max: Duration,
    /// About how many events the stream keeps; 0: all.
    pub stream_events_max: u64,
    /// How long the stream keeps them; none: for ever.
    pub stream_age_max: Option<Duration>,
    /// Delivered events kept for a Redis that loses its data.
    pub resend_events_max: u64,
    pub resend_age_max: Duration,
}

/// How delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncStatus {
    /// It has not tried yet.
    Starting,
    Connected,
    Trouble(Trouble),
}

/// A view of the status for whoever shows it.
#[derive(Clone, Debug)]
pub struct SyncStatusReader(watch::Receiver<SyncStatus>);

impl SyncStatusReader {
    #[must_use]
    pub fn status(&self) -> SyncStatus {
        *self.0.borrow()
    }
}

/// The running delivery.
pub struct Sync {
    status: watch::Receiver<SyncStatus>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    measuring: JoinHandle<()>,
}

/// What delivery works with.
pub struct SyncParts {
    pub store: Store,
    /// Fields of the unit's state that do not change: who it is, which version runs.
    pub about: Vec<(&'static str, String)>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
}

impl Sync {
    /// Starts delivering over Redis, in the runtime that this is called in. Redis need not be there.
    ///
    /// # Errors
    /// Config, when the CA file cannot be used.
    pub fn start(parts: SyncParts, settings: SyncSettings, redis: RedisSettings) -> Result<Self> {
        let uplink = RedisUplink::new(redis, parts.metrics.clone())?;
        Ok(Self::over(parts, settings, uplink))
    }

    /// The same over any uplink.
    pub fn over(parts: SyncParts, settings: SyncSettings, uplink: impl Uplink + 'static) -> Self {
        let (status_sender, status) = watch::channel(SyncStatus::Starting);
        let (stop, stop_receiver) = watch::channel(false);
        let measuring = tokio::spawn(measure(parts.store.clone(), parts.clock.clone(), parts.metrics.clone()));
        let delivery = Delivery {
            store: parts.store,
            uplink,
            settings,
            about: parts.about,
            process: uuid::Uuid::new_v4().to_string(),
            clock: parts.clock,
            metrics: parts.metrics,
            status: status_sender,
            stop: stop_receiver,
        };
        Self { status, stop, task: tokio::spawn(delivery.run()), measuring }
    }

    #[must_use]
    pub fn status_reader(&self) -> SyncStatusReader {
        SyncStatusReader(self.status.clone())
    }

    /// Delivers what waits while the connection stands, for at most that long, and ends.
    pub async fn stop(mut self, patience: Duration) {
        self.measuring.abort();
        self.stop.send_replace(true);
        if tokio::time::timeout(patience, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Keeps the gauges of the backlog true, whatever delivery is at.
async fn measure(store: Store, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) {
    let mut beat = tokio::time::interval(MEASURE_INTERVAL);
    loop {
        beat.tick().await;
        if let Ok(head) = store.outbox_head().await {
            metrics.sync.outbox_rows.set(head.waiting());
            let age = head.waiting_since.map_or(0.0, |since| clock.wall().duration_since(since).as_secs_f64());
            metrics.sync.oldest_seconds.set(age.max(0.0));
        }
    }
}

/// Tries the connection once, without writing anything: what was found there, or what is wrong.
///
/// # Errors
/// Config, when the CA file cannot be used; internal, when nothing can be tried.
pub fn probe(redis: RedisSettings) -> Result<std::result::Result<String, uplink::Problem>> {
    let mut uplink = RedisUplink::new(redis, Arc::new(Metrics::new()?))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Error::internal("The connection cannot be tried.").because(cause))?;
    Ok(runtime.block_on(uplink.probe()))
}
