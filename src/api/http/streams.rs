//! Places for clients that stay, and the sign for them to go.

use tokio::sync::watch;

use crate::api::http::shares::Shares;

/// Places for clients that stay, and the sign for them to go.
pub struct Streams {
    pub events: Shares,
    pub pictures: Shares,
    stopping: watch::Sender<bool>,
}

impl Streams {
    #[must_use]
    pub fn new(event_clients_max: usize, stream_clients_max: usize) -> Self {
        Self {
            events: Shares::new(event_clients_max as u64, 1),
            pictures: Shares::new(stream_clients_max as u64, 1),
            stopping: watch::Sender::new(false),
        }
    }

    /// Becomes true when the unit stops.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Ends every stream; new ones end at once.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }
}
