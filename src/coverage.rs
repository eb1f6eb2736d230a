//! The watch keeper: writes down, second by second, whether the unit was watching the road, and why it was not. From this an
//! interval without vehicles is known to be one in which nobody passed.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::SignedDuration;

use crate::clock::{Clock, Stamp};
use crate::error::{Error, Result};
use crate::metrics::{Limit, Metrics};
use crate::record::{CoverageSpan, Gap};
use crate::store::{Pending, Store};

#[cfg(test)]
mod tests;

/// How often the state is looked at: the precision of what is written down.
const TICK: Duration = Duration::from_secs(1);
/// How often it is stored; a power cut costs this much at most.
const FLUSH_PERIOD: Duration = Duration::from_secs(10);
/// What `interval_coverage_ratio` looks back on.
const RECENT: Duration = Duration::from_secs(900);
/// The wall clock was set when it went this much further, or less far, than the monotonic one; less is slewing.
const STEP_MIN: SignedDuration = SignedDuration::from_secs(2);
/// A synchronised clock that jumps further leaves a hole instead of a stretch: what lies between did not happen.
const STEP_TOLD_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Who was not looked at for this long was not running: held by a debugger or starved of the processor.
const STARVED: Duration = Duration::from_secs(10);
/// One stretch is not made longer than this.
const SPAN_MAX: SignedDuration = SignedDuration::from_hours(1);
/// Stretches kept while the store does not take them; then the oldest go.
const SPANS_MAX: usize = 4_096;

/// The thread that keeps watch over the watching.
pub struct CoverageKeeper {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    stopping: Mutex<bool>,
    stop: Condvar,
}

impl CoverageKeeper {
    /// Starts the thread. `gap` says why the unit is not watching at this moment; none: it is.
    ///
    /// # Errors
    /// Internal when the thread cannot be started.
    pub fn start(
        store: Store,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        gap: impl Fn() -> Option<Gap> + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mine = shared.clone();
        let mut log = CoverageLog::new(clock.now(), store, metrics);
        let thread = std::thread::Builder::new().name("coverage".into()).spawn(move || {
            while mine.wait(TICK) {
                log.tick(clock.now(), gap());
            }
            log.tick(clock.now(), gap());
            log.end();
        });
        let thread = thread.map_err(|cause| Error::internal("The watch keeper cannot be started.").because(cause))?;
        Ok(Self { shared, thread })
    }

    /// Stores what is not stored yet and ends the thread.
    pub fn stop(self) {
        *self.shared.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stop.notify_all();
        if self.thread.join().is_err() {
            tracing::error!("the watch keeper had panicked");
        }
    }
}

impl Shared {
    /// Waits; false when the unit stops.
    fn wait(&self, time: Duration) -> bool {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stop.wait_timeout_while(stopping, time, |stopping| !*stopping);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What is written down, without the thread.
pub struct CoverageLog {
    store: Store,
    metrics: Arc<Metrics>,
    /// Up to here everything is written down.
    last: Stamp,
    /// The state then; none before the first look.
    state: Option<Option<Gap>>,
    spans: Vec<CoverageSpan>,
    /// On its way into the store, which may keep it in memory for as long as the disk is full: nobody waits for that.
    sent: Option<(Vec<CoverageSpan>, Pending<()>)>,
    flushed: Duration,
    /// When each stretch of the last quarter of an hour ended (monotonic), how long it was, and whether it was watched.
    recent: VecDeque<(Duration, Duration, bool)>,
}

impl CoverageLog {
    #[must_use]
    pub fn new(now: Stamp, store: Store, metrics: Arc<Metrics>) -> Self {
        let flushed = now.monotonic;
        // A dashboard sees a zero instead of nothing.
        for state in Gap::ALL.into_iter().map(Gap::name).chain(["watching"]) {
            metrics.watch_seconds.with_label_values(&[state]);
        }
        Self { store, metrics, last: now, state: None, spans: Vec::new(), sent: None, flushed, recent: VecDeque::new() }
    }

    /// Writes down the time since the last look. `gap` is the state now; a second that began or ended badly is not counted
    /// as watched.
    pub fn tick(&mut self, now: Stamp, gap: Option<Gap>) {
        let passed = now.monotonic.saturating_sub(self.last.monotonic);
        let state = if passed > STARVED { Some(Gap::Overload) } else { gap.or(self.state.flatten()) };
        self.write_down(&now, passed, state);
        self.note(now.monotonic, passed, state);
        self.last = now;
        self.state = Some(gap);
        if self.last.monotonic.saturating_sub(self.flushed) >= FLUSH_PERIOD {
            self.flush();
        }
    }

    /// The wall clock may have been set in between: the stretch then lies where it began, and what the clock skipped is told.
    fn write_down(&mut self, now: &Stamp, passed: Duration, state: Option<Gap>) {
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::ZERO);
        let step = now.at.duration_since(self.last.at) - passed;
        if step.abs() < STEP_MIN {
            return self.push(self.last.clone(), now.clone(), state);
        }
        let until = Stamp { at: self.last.at + passed, synced: self.last.synced, ..now.clone() };
        self.push(self.last.clone(), until.clone(), state);
        // What was written before the clock was right moves later, and leaves no hole.
        if step.is_positive() && step <= STEP_TOLD_MAX && self.last.synced && now.synced {
            self.push(until, now.clone(), Some(Gap::Clock));
        }
        tracing::warn!(step_seconds = step.as_secs(), "the wall clock was set");
    }

    fn push(&mut self, from: Stamp, until: Stamp, gap: Option<Gap>) {
        if let Some(last) = self.spans.last_mut()
            && last.gap == gap
            && last.until == from
            && until.at.duration_since(last.from.at) <= SPAN_MAX
        {
            last.until = until;
            return;
        }
        self.spans.push(CoverageSpan { from, until, gap });
        self.let_go();
    }

    /// The oldest go when there are too many.
    fn let_go(&mut self) {
        let excess = self.spans.len().saturating_sub(SPANS_MAX);
        if excess > 0 {
            self.metrics.count_limit(Limit::WatchSpans);
            self.spans.drain(..excess);
        }
    }

    fn note(&mut self, now: Duration, passed: Duration, state: Option<Gap>) {
        let name = state.map_or("watching", Gap::name);
        self.metrics.watch_seconds.with_label_values(&[name]).inc_by(passed.as_secs_f64());
        self.recent.push_back((now, passed, state.is_none()));
        while self.recent.front().is_some_and(|(at, ..)| now.saturating_sub(*at) > RECENT) {
            self.recent.pop_front();
        }
        let sum = |watched: bool| -> f64 {
            self.recent.iter().filter(|part| part.2 || !watched).map(|part| part.1.as_secs_f64()).sum()
        };
        let (watched, all) = (sum(true), sum(false));
        self.metrics.interval_coverage_ratio.set(if watched > 0.0 { watched / all } else { 0.0 });
    }

    /// Stores what is not stored yet: the unit stops. What the disk does not take, the store tries once more when it is closed.
    fn end(&mut self) {
        self.take_answer();
        if !self.spans.is_empty() {
            drop(self.store.record_coverage(std::mem::take(&mut self.spans)));
        }
        if let Err(error) = self.store.end_coverage().wait() {
            tracing::warn!("the central site is told of the last stretch after the next start: {}", error.chain());
        }
    }

    /// Hands over what is not stored yet; what the store does not take is kept for the next time.
    pub fn flush(&mut self) {
        self.flushed = self.last.monotonic;
        self.take_answer();
        if self.sent.is_none() && !self.spans.is_empty() {
            let spans = std::mem::take(&mut self.spans);
            self.sent = Some((spans.clone(), self.store.record_coverage(spans)));
        }
    }

    /// What became of what was handed over last, if that is known.
    fn take_answer(&mut self) {
        let Some((spans, mut pending)) = self.sent.take() else { return };
        match pending.answer() {
            None => self.sent = Some((spans, pending)),
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!("the coverage is not stored yet: {}", error.chain());
                let newer = std::mem::replace(&mut self.spans, spans);
                newer.into_iter().for_each(|span| self.push(span.from, span.until, span.gap));
            }
        }
    }
}
