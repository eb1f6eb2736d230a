//! Both queues behind one lock: a bounded queue of uploads and one place for the newest frame.
//!
//! Accounts take turns in the queue of uploads, so that an account with many never delays an account with one. An upload leaves
//! the queue once the memory for decoded pictures has room for it; meanwhile no worker waits, and frames pass.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::Span;

use crate::classifier::PictureAnswer;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;
use crate::imaging;
use crate::inference::{InferenceSettings, Upload};
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

/// An upload that waits, and the memory that decoding it takes.
struct WaitingUpload {
    upload: Upload,
    reply: AnswerSender,
    /// Of the request it came in.
    span: Span,
    decode_bytes: u64,
}

/// What a worker is at.
#[derive(Clone, Copy)]
struct Busy {
    since: Instant,
    decode_bytes: u64,
}

/// The waiting uploads of each account, in the order in which accounts have their turns.
#[derive(Default)]
struct Turns {
    accounts: VecDeque<(String, VecDeque<WaitingUpload>)>,
}

impl Turns {
    fn len(&self) -> usize {
        self.accounts.iter().map(|(_, uploads)| uploads.len()).sum()
    }

    fn push(&mut self, account: &str, waiting: WaitingUpload) {
        match self.accounts.iter_mut().find(|(name, _)| name == account) {
            Some((_, uploads)) => uploads.push_back(waiting),
            None => self.accounts.push_back((account.to_owned(), VecDeque::from([waiting]))),
        }
    }

    /// The upload whose turn it is.
    fn next(&self) -> Option<&WaitingUpload> {
        self.accounts.front()?.1.front()
    }

    fn take(&mut self) -> Option<WaitingUpload> {
        let (account, mut uploads) = self.accounts.pop_front()?;
        let taken = uploads.pop_front();
        if !uploads.is_empty() {
            self.accounts.push_back((account, uploads));
        }
        taken
    }

    /// Clients that have left give their places to those who are here.
    fn forget_gone(&mut self) {
        for (_, uploads) in &mut self.accounts {
            uploads.retain(|waiting| !waiting.reply.is_closed());
        }
        self.accounts.retain(|(_, uploads)| !uploads.is_empty());
    }
}

#[derive(Default)]
struct State {
    uploads: Turns,
    camera: Option<WaitingFrame>,
    /// Whose turn it was last, when both queues had work.
    camera_was_last: bool,
    closed: bool,
    busy: Vec<Option<Busy>>,
    decode_bytes_max: u64,
}

pub(super) struct Queues {
    state: Mutex<State>,
    work: Condvar,
    queue_depth_max: usize,
    decode_bytes_max: u64,
    limits: imaging::Limits,
    metrics: Arc<Metrics>,
}

impl Queues {
    pub fn new(settings: &InferenceSettings, metrics: Arc<Metrics>) -> Self {
        let decode_bytes_max = settings.decode_bytes_max;
        let state = State { busy: vec![None; settings.worker_count()], decode_bytes_max, ..State::default() };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            queue_depth_max: settings.queue_depth_max,
            decode_bytes_max,
            limits: imaging::Limits { pixels_max: settings.picture_pixels_max },
            metrics,
        }
    }

    /// Queues an upload of `account`.
    pub fn push_upload(&self, account: &str, upload: Upload, reply: AnswerSender) -> Result<()> {
        let decode_bytes = self.decode_bytes(&upload)?;
        let mut state = self.lock();
        if state.closed {
            return Err(Error::unavailable("The unit is stopping; try again in a minute.", Duration::from_secs(30)));
        }
        if state.uploads.len() >= self.queue_depth_max {
            state.uploads.forget_gone();
        }
        if state.uploads.len() >= self.queue_depth_max {
            self.metrics.count_limit(Limit::UploadQueue);
            let message = format!("All {} places for uploads are taken; try again in a second.", self.queue_depth_max);
            return Err(Error::unavailable(message, Duration::from_secs(1)));
        }
        state.uploads.push(account, WaitingUpload { upload, reply, span: Span::current(), decode_bytes });
        self.show_depth(&state);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// What decoding it takes; an error when that is more than there is.
    fn decode_bytes(&self, upload: &Upload) -> Result<u64> {
        let bytes = imaging::decode_bytes(&upload.bytes, &self.limits).unwrap_or_default();
        if bytes <= self.decode_bytes_max {
            return Ok(bytes);
        }
        self.metrics.count_limit(Limit::DecodeMemory);
        let label = imaging::display_name(upload.file_name.as_deref());
        let (takes, most) = (bytes.div_ceil(1 << 20), self.decode_bytes_max >> 20);
        let message = format!(
            "{label}: decoding this picture takes {takes} MiB of memory, this unit has {most} MiB for it; send a smaller picture, or an 8-bit or baseline one."
        );
        Err(Error::new(ErrorKind::PayloadTooLarge, message)
            .detail("decode_bytes", bytes)
            .detail("decode_bytes_max", self.decode_bytes_max))
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
            if let Some((work, decode_bytes)) = state.take() {
                state.busy[worker] = Some(Busy { since: Instant::now(), decode_bytes });
                self.show_depth(&state);
                return Some(work);
            }
            if state.closed && state.uploads.len() == 0 {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn done(&self, worker: usize) {
        self.lock().busy[worker] = None;
        // An upload may have waited for the memory.
        self.work.notify_all();
    }

    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.camera = None;
        drop(state);
        self.work.notify_all();
    }

    pub fn busiest(&self) -> Option<Duration> {
        self.lock().busy.iter().flatten().map(|busy| busy.since.elapsed()).max()
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
    /// The next work, and the memory that decoding it takes of the uploads' budget.
    fn take(&mut self) -> Option<(Work, u64)> {
        let used: u64 = self.busy.iter().flatten().map(|busy| busy.decode_bytes).sum();
        let room = self.decode_bytes_max.saturating_sub(used);
        let upload_first = self.uploads.next().is_some_and(|waiting| waiting.decode_bytes <= room);
        if self.camera.is_some() && !(upload_first && self.camera_was_last) {
            self.camera_was_last = true;
            return self.camera.take().map(|frame| (Work::Frame(frame), 0));
        }
        if !upload_first {
            return None;
        }
        self.camera_was_last = false;
        let waiting = self.uploads.take()?;
        Some((Work::Upload(waiting.upload, waiting.reply, waiting.span), waiting.decode_bytes))
    }
}
