//! Where frames wait for the pipeline: a few places, and who gives way when they are taken.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::frame::Frame;

/// Frames that may wait: enough for a hiccup of the scheduler, too few for a delay that anybody sees.
const FRAMES_MAX: usize = 4;

/// A frame and when it was handed over.
pub(super) struct Waiting {
    pub frame: Frame,
    pub arrived: Instant,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    closed: bool,
    busy_since: Option<Instant>,
}

/// The places, shared by the capture thread and the pipeline's.
#[derive(Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    changed: Condvar,
}

/// What became of an offered frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    Taken,
    /// Taken, and the oldest waiting one was dropped for it.
    Displaced,
    Closed,
}

impl Mailbox {
    /// Puts a frame in. `wait`: until there is a place, instead of dropping the oldest.
    pub fn offer(&self, frame: Frame, wait: bool) -> Offered {
        let mut state = self.lock();
        while wait && !state.closed && state.waiting.len() >= FRAMES_MAX {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Offered::Closed;
        }
        let displaced = state.waiting.len() >= FRAMES_MAX;
        if displaced {
            state.waiting.pop_front();
        }
        state.waiting.push_back(Waiting { frame, arrived: Instant::now() });
        drop(state);
        self.changed.notify_all();
        if displaced { Offered::Displaced } else { Offered::Taken }
    }

    /// Waits for a frame; none when nothing came within `time` or, with true, when no more will.
    pub fn next(&self, time: Duration) -> (Option<Waiting>, bool) {
        let mut state = self.lock();
        state.busy_since = None;
        if state.waiting.is_empty() && !state.closed {
            let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
            let waited = self.changed.wait_timeout_while(state, time, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let next = state.waiting.pop_front();
        state.busy_since = next.as_ref().map(|_| Instant::now());
        let ended = next.is_none() && state.closed;
        drop(state);
        self.changed.notify_all();
        (next, ended)
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub fn depth(&self) -> usize {
        self.lock().waiting.len()
    }

    /// How long the present frame has been looked at.
    pub fn busy(&self) -> Option<Duration> {
        self.lock().busy_since.map(|since| since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
