//! Both queues behind one lock: a bounded queue of uploads and one place for the newest frame.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::Span;

use crate::classifier::PictureAnswer;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::inference::Upload;
use crate::metrics::{Limit, Metrics};

pub(super) type AnswerSender = oneshot::Sender<Result<PictureAnswer>>;

/// A frame and when it was offered.
pub(super) struct WaitingFrame {
    pub frame: Frame,
    pub arrived: Instant,
}

pub(super) enum Work {
    /// With the span of the request it came in.
    Upload(Upload, AnswerSender, Span),
    Frame(WaitingFrame),
}

#[derive(Default)]
struct State {
    uploads: VecDeque<(Upload, AnswerSender, Span)>,
    camera: Option<WaitingFrame>,
    /// Whose turn it was last, when both queues had work.
    camera_was_last: bool,
    closed: bool,
    busy_since: Vec<Option<Instant>>,
}

pub(super) struct Queues {
    state: Mutex<State>,
    work: Condvar,
    queue_depth_max: usize,
    metrics: Arc<Metrics>,
}

impl Queues {
    pub fn new(queue_depth_max: usize, workers: usize, metrics: Arc<Metrics>) -> Self {
        let state = State { busy_since: vec![None; workers], ..State::default() };
        Self { state: Mutex::new(state), work: Condvar::new(), queue_depth_max, metrics }
    }

    pub fn push_upload(&self, upload: Upload, reply: AnswerSender) -> Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::unavailable("The unit is stopping; try again in a minute.", Duration::from_secs(30)));
        }
        if state.uploads.len() >= self.queue_depth_max {
            // Clients that have left give their places to those who are here.
            state.uploads.retain(|(_, reply, _)| !reply.is_closed());
        }
        if state.uploads.len() >= self.queue_depth_max {
            self.metrics.count_limit(Limit::UploadQueue);
            let message = format!("All {} places for uploads are taken; try again in a second.", self.queue_depth_max);
            return Err(Error::unavailable(message, Duration::from_secs(1)));
        }
        state.uploads.push_back((upload, reply, Span::current()));
        self.show_depth(&state);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    pub fn put_frame(&self, camera: WaitingFrame) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if state.camera.replace(camera).is_some() {
            self.metrics.frames.with_label_values(&["dropped"]).inc();
        }
        self.show_depth(&state);
        drop(state);
        self.work.notify_one();
    }

    /// Waits for work; none when the queues are closed and the accepted uploads are done.
    pub fn next(&self, worker: usize) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.take() {
                state.busy_since[worker] = Some(Instant::now());
                self.show_depth(&state);
                return Some(work);
            }
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn done(&self, worker: usize) {
        self.lock().busy_since[worker] = None;
    }

    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.camera = None;
        drop(state);
        self.work.notify_all();
    }

    pub fn busiest(&self) -> Option<Duration> {
        self.lock().busy_since.iter().flatten().map(Instant::elapsed).max()
    }

    fn show_depth(&self, state: &State) {
        for (queue, depth) in [("uploads", state.uploads.len()), ("pictures", usize::from(state.camera.is_some()))] {
            self.metrics.queue_depth.with_label_values(&[queue]).set(i64::try_from(depth).unwrap_or(i64::MAX));
        }
    }

    /// A panic while the lock was held leaves nothing half done here: each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Option<Work> {
        let camera_first = self.camera.is_some() && (self.uploads.is_empty() || !self.camera_was_last);
        self.camera_was_last = camera_first;
        if camera_first {
            return self.camera.take().map(Work::Frame);
        }
        self.uploads.pop_front().map(|(upload, reply, span)| Work::Upload(upload, reply, span))
    }
}
