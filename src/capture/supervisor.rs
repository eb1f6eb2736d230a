//! Keeps the source running: one connection after another, each on a thread of its own.
//!
//! A camera driver can block a thread for ever, so the thread that reads frames is never waited for: the supervising thread
//! watches it by the clock, interrupts it when no fresh frame came within the deadline, and goes on without it if that does
//! not help. The number of threads left behind is bounded.

use std::os::unix::thread::JoinHandleExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::pthread::pthread_kill;
use nix::sys::signal::Signal;

use crate::capture::picture_health::{PictureHealth, PictureMonitor};
use crate::capture::replay::Wait;
use crate::capture::status::{Activity, CameraState, CameraStatus, Shared};
use crate::capture::{FrameSource, Replay, RequestedMode, SourceSpec, V4l2};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::imaging::Limits;
use crate::metrics::Metrics;

/// Interrupts a thread that waits for a driver. Nothing else in the unit uses it.
const INTERRUPT: Signal = Signal::SIGUSR1;
/// Connections whose thread did not come back. With so many, no further one is begun until one of them ends.
const ABANDONED_MAX: usize = 3;

/// How the source is kept.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    pub source: SourceSpec,
    pub requested: RequestedMode,
    /// A camera that gives no fresh frame for so long is opened anew.
    pub frame_deadline: Duration,
    /// A picture that stands still for so long is frozen.
    pub frozen_after: Duration,
    /// A frame older than this when it comes is dropped as stale.
    pub frame_age_max: Duration,
    pub picture_pixels_max: u64,
    pub pauses: Pauses,
}

/// The waits of the supervisor.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// Before a broken source is opened again; doubled each time it gave no frame, up to the longest.
    pub shortest: Duration,
    pub longest: Duration,
    /// Opening may take so long: some cameras boot then.
    pub opening: Duration,
    /// An interrupted thread gets so long to come back.
    pub farewell: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { shortest: seconds(1), longest: seconds(30), opening: seconds(15), farewell: seconds(1) }
    }
}

/// Opens the source; called on the connection's own thread.
pub(super) type Opener = Box<dyn Fn(Wait) -> Result<Box<dyn FrameSource>> + Send + Sync>;
/// Gets every fresh frame.
pub(super) type Taker = Box<dyn Fn(Frame) + Send + Sync>;

/// The supervising thread and how to stop it.
pub struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the thread (none for [`SourceSpec::None`]); `take` gets every fresh frame.
    ///
    /// # Errors
    /// Internal when the thread cannot be started.
    pub fn start(
        settings: CaptureSettings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        take: impl Fn(Frame) + Send + Sync + 'static,
    ) -> Result<Self> {
        let (spec, requested, opening_clock) = (settings.source.clone(), settings.requested.clone(), clock.clone());
        let open: Opener = match spec {
            SourceSpec::None => {
                let shared = Arc::new(Shared::new(CameraState::Off, metrics));
                return Ok(Self { shared, thread: None });
            }
            SourceSpec::Replay(spec) => Box::new(move |wait| {
                Ok(Box::new(Replay::open(spec.clone(), requested.fps, opening_clock.clone(), wait)?))
            }),
            SourceSpec::V4l2(path) => {
                Box::new(move |_| Ok(Box::new(V4l2::open(&path, &requested, opening_clock.clone())?)))
            }
        };
        Self::with_source(settings, open, clock, metrics, Box::new(take))
    }

    /// The same with any source.
    pub(super) fn with_source(
        settings: CaptureSettings,
        open: Opener,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        take: Taker,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::new(CameraState::Disconnected(None), metrics.clone()));
        // Interrupting works by the handler's mere presence; the flag is nobody's.
        signal_hook::flag::register(INTERRUPT as i32, Arc::new(AtomicBool::new(false)))
            .map_err(|cause| Error::internal("Blocked cameras cannot be interrupted.").because(cause))?;
        let monitor =
            Mutex::new(PictureMonitor::new(settings.frozen_after, Limits { pixels_max: settings.picture_pixels_max }));
        let reader = Reader { settings, open, clock, metrics, monitor, take, shared: shared.clone() };
        let run = Run { reader: Arc::new(reader), shared: shared.clone(), abandoned: Vec::new() };
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || run.run());
        let thread = thread.map_err(|cause| Error::internal("The capture thread cannot be started.").because(cause))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A handle for those who ask how the camera is.
    #[must_use]
    pub fn status(&self) -> CameraStatus {
        CameraStatus { shared: self.shared.clone() }
    }

    /// Stops the thread and joins it. A blocked driver cannot hold this up.
    pub fn stop(self) {
        self.shared.stop();
        if self.thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the capture thread had panicked");
        }
    }
}

/// One connection at a time, on the supervising thread.
struct Run {
    reader: Arc<Reader>,
    shared: Arc<Shared>,
    abandoned: Vec<JoinHandle<()>>,
}

impl Run {
    fn run(mut self) {
        let pauses = self.reader.settings.pauses;
        let mut pause = pauses.shortest;
        loop {
            let before = self.shared.lock().last_frame;
            let ended = self.connect();
            let (stopping, framed, camera) = {
                let state = self.shared.lock();
                (state.stopping, state.last_frame != before, state.camera.clone())
            };
            match ended {
                Ok(()) if stopping => return,
                Ok(()) => return self.shared.show(CameraState::Ended),
                // A picture that stands still goes on being one until another comes.
                Err(_) if framed && camera == CameraState::Frozen => {}
                Err(error) => self.shared.show(CameraState::Disconnected(Some(error.chain()))),
            }
            if framed && matches!(camera, CameraState::Connected | CameraState::Obscured(_)) {
                pause = pauses.shortest;
            }
            if !self.shared.wait(pause) {
                return;
            }
            pause = (pause * 2).min(pauses.longest);
        }
    }

    /// Lives through one connection: Ok when the source ended or the unit stops.
    fn connect(&mut self) -> Result<()> {
        self.call_back_abandoned();
        if self.abandoned.len() >= ABANDONED_MAX {
            let message = "The camera's driver blocks every attempt. Cut the camera's power, or restart the unit.";
            return Err(Error::unavailable(message, self.reader.settings.pauses.longest));
        }
        let number = self.shared.begin();
        let reader = self.reader.clone();
        let thread = std::thread::Builder::new().name(format!("camera-{number}")).spawn(move || reader.run(number));
        let thread = thread.map_err(|cause| Error::internal("No thread for the camera.").because(cause))?;
        let ended = self.attend();
        self.part_with(thread);
        ended
    }

    /// Watches the connection until it ends, the unit stops, or the clock says that it blocks.
    fn attend(&self) -> Result<()> {
        let settings = &self.reader.settings;
        let mut state = self.shared.lock();
        loop {
            if state.stopping {
                return Ok(());
            }
            if let Some(ended) = state.ended.take() {
                return ended;
            }
            let limit = match state.activity {
                Activity::Opening => settings.pauses.opening.max(settings.frame_deadline),
                Activity::Waiting => settings.frame_deadline,
                // Not the camera's fault; the watchdog looks at that.
                Activity::Handing => {
                    state = self.shared.wait_change(state, settings.frame_deadline);
                    continue;
                }
            };
            let left = limit.saturating_sub(state.since.elapsed());
            if left.is_zero() {
                self.reader.metrics.camera_faults.with_label_values(&["stalled"]).inc();
                let seconds = limit.as_secs_f64();
                return Err(Error::unavailable(
                    format!("The camera gave no fresh frame for {seconds} s; it is opened anew."),
                    settings.pauses.shortest,
                ));
            }
            // Nobody tells when opening is over; a camera that gives nothing afterwards has only the deadline.
            state = self.shared.wait_change(state, left.min(settings.frame_deadline));
        }
    }

    /// The thread has ended or ends at the interruption; else it is left behind.
    fn part_with(&mut self, thread: JoinHandle<()>) {
        let farewell = std::time::Instant::now() + self.reader.settings.pauses.farewell;
        // From here on nothing that the thread says counts.
        let mut state = self.shared.lock();
        state.connection += 1;
        while !thread.is_finished() && std::time::Instant::now() < farewell {
            interrupt(&thread);
            state = self.shared.wait_change(state, INTERRUPT_PERIOD);
        }
        drop(state);
        self.abandoned.push(thread);
        self.call_back_abandoned();
        if !self.abandoned.is_empty() {
            tracing::warn!("camera: {} connection(s) still blocked in the driver", self.abandoned.len());
        }
    }

    fn call_back_abandoned(&mut self) {
        for thread in std::mem::take(&mut self.abandoned) {
            if thread.is_finished() {
                // A panic was caught and reported where it happened.
                let _ = thread.join();
            } else {
                interrupt(&thread);
                self.abandoned.push(thread);
            }
        }
    }
}

/// How often a thread is interrupted that is to end: it may have been on its way into the driver the first time.
const INTERRUPT_PERIOD: Duration = Duration::from_millis(20);

/// Makes a thread's `poll` in the driver return.
fn interrupt(thread: &JoinHandle<()>) {
    // Only a thread that was not joined yet has a valid id, and those are the only ones there are handles of.
    if let Err(cause) = pthread_kill(thread.as_pthread_t(), INTERRUPT) {
        tracing::debug!("camera: a blocked thread cannot be interrupted: {cause}");
    }
}

/// What the threads of the connections do.
struct Reader {
    settings: CaptureSettings,
    open: Opener,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    monitor: Mutex<PictureMonitor>,
    take: Taker,
    shared: Arc<Shared>,
}

impl Reader {
    fn run(&self, number: u64) {
        // A camera library that panics must cost one connection, not the unit.
        let ended = catch_unwind(AssertUnwindSafe(|| self.stream(number)))
            .unwrap_or_else(|_| Err(Error::internal("The camera library failed; the camera is opened anew.")));
        self.shared.end(number, ended);
    }

    /// Hands on frames until the source ends (Ok) or breaks.
    fn stream(&self, number: u64) -> Result<()> {
        let shared = self.shared.clone();
        let mut source = (self.open)(Box::new(move |time| shared.wait(time)))?;
        if !self.shared.turn(number, Activity::Waiting) {
            return Ok(());
        }
        let mut first = None;
        while let Some(frame) = source.next()? {
            if !self.shared.is_present(number) {
                return Ok(());
            }
            self.count("captured");
            if self.is_stale(&frame) {
                self.count("stale");
                continue;
            }
            // The camera has done its part: what is slow from here on is the machine.
            if !self.shared.turn(number, Activity::Handing) {
                return Ok(());
            }
            let health = self.readable(self.monitor.lock().unwrap_or_else(PoisonError::into_inner).examine(&frame))?;
            // A camera just opened may give an old picture first.
            let open_for = frame.captured.monotonic.saturating_sub(*first.get_or_insert(frame.captured.monotonic));
            (self.take)(frame);
            if !self.shared.turn(number, Activity::Waiting) {
                return Ok(());
            }
            // Only now: who hears that frames are coming finds one.
            let frozen = self.shown(health);
            if frozen && open_for >= self.settings.frozen_after {
                return Err(Error::unavailable(
                    "The camera's picture stands still; it is opened anew.",
                    Duration::ZERO,
                ));
            }
        }
        Ok(())
    }

    fn recorded(&self) -> bool {
        matches!(self.settings.source, SourceSpec::Replay(_))
    }

    /// A camera whose picture cannot be read is opened anew; a recording goes on with the next one.
    fn readable(&self, health: Result<PictureHealth>) -> Result<PictureHealth> {
        if self.recorded() { Ok(health.unwrap_or(PictureHealth::Unreadable)) } else { health }
    }

    /// Shows what the monitor found; true when the camera has to be opened anew for it. A recording does not get better by
    /// being played from its beginning.
    fn shown(&self, health: PictureHealth) -> bool {
        match health {
            PictureHealth::Clear => self.shared.show(CameraState::Connected),
            PictureHealth::Frozen => self.shared.show(CameraState::Frozen),
            PictureHealth::Obscured(why) => self.shared.show(CameraState::Obscured(why)),
            PictureHealth::Unreadable => {}
        }
        health == PictureHealth::Frozen && !self.recorded()
    }

    fn is_stale(&self, frame: &Frame) -> bool {
        self.clock.now().monotonic.saturating_sub(frame.captured.monotonic) > self.settings.frame_age_max
    }

    fn count(&self, result: &str) {
        self.metrics.frames.with_label_values(&[result]).inc();
    }
}

#[cfg(test)]
mod tests;
