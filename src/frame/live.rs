//! The newest picture for people who watch: a place that capture and tracking fill and the API looks at. Nobody waits for
//! anybody here; who looks seldom sees the newest only.

use std::sync::Arc;

use tokio::sync::watch;

use crate::frame::{Frame, Rect};

/// A handle on the newest pictures; clones share them. Three frames at most are kept alive by it.
#[derive(Clone, Debug)]
pub struct LiveView {
    captured: Arc<watch::Sender<Option<Arc<Frame>>>>,
    analysed: Arc<watch::Sender<Option<Arc<Analysed>>>>,
}

/// A frame with what was found in it.
#[derive(Clone, Debug)]
pub struct Analysed {
    pub frame: Frame,
    pub tracks: Vec<TrackBox>,
}

/// Where a tracked vehicle is, in pixels of the upright picture.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackBox {
    /// Number of the track, for people who compare pictures.
    pub track: u64,
    pub rect: Rect,
    /// A class, or whatever else is to be read beside the box; may be empty.
    pub label: String,
    /// It has been counted.
    pub counted: bool,
}

impl LiveView {
    #[must_use]
    pub fn new() -> Self {
        Self { captured: Arc::new(watch::Sender::new(None)), analysed: Arc::new(watch::Sender::new(None)) }
    }

    /// Shows a frame as it came from the camera. Costs a reference count.
    pub fn show(&self, frame: Frame) {
        self.captured.send_replace(Some(Arc::new(frame)));
    }

    /// Shows a frame together with the tracks in it, once it has been looked through.
    pub fn show_tracks(&self, frame: Frame, tracks: Vec<TrackBox>) {
        self.analysed.send_replace(Some(Arc::new(Analysed { frame, tracks })));
    }

    /// The newest frame; none before the first.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<Frame>> {
        self.captured.borrow().clone()
    }

    /// The newest frame that was looked through; none before the first.
    #[must_use]
    pub fn newest_analysed(&self) -> Option<Arc<Analysed>> {
        self.analysed.borrow().clone()
    }

    /// Tells of every new frame, skipping those that nobody was quick enough for.
    #[must_use]
    pub fn frames(&self) -> watch::Receiver<Option<Arc<Frame>>> {
        self.captured.subscribe()
    }
}

impl Default for LiveView {
    fn default() -> Self {
        Self::new()
    }
}
