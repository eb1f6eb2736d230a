//! The capture thread: opens the source, hands every frame on, and opens the source anew when it breaks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::capture::{FrameSource, Replay, SourceSpec};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::metrics::Metrics;

/// First pause before a broken source is opened again; doubled each time up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What the capture side is doing, for health and diagnostics.
#[derive(Clone, Debug, PartialEq)]
pub enum CameraState {
    /// `capture.source = "none"`.
    Off,
    /// Opening, or between two attempts; with the last error.
    Disconnected(Option<String>),
    Connected,
    /// Frames come, but the picture stands still; the camera is opened anew.
    Frozen,
    /// Frames come and show nothing to count by.
    Obscured(Obscurity),
    /// A replay came to its end.
    Ended,
}

/// Why a picture shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obscurity {
    /// Black: no light, or a lens cap.
    Dark,
    /// White: overexposed.
    Bright,
    /// One even grey: something is in front of the lens.
    Covered,
}

/// The capture thread and how to stop it.
pub struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    stop: Condvar,
}

struct State {
    camera: CameraState,
    stopping: bool,
    last_frame: Option<Instant>,
    /// Since when the present frame is being handed on.
    handing_since: Option<Instant>,
}

impl Supervisor {
    /// Starts the thread (none for [`SourceSpec::None`]); `take` gets every frame.
    ///
    /// # Errors
    /// Internal when the thread cannot be started.
    pub fn start(
        spec: SourceSpec,
        fps_default: f64,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        take: impl Fn(Frame) + Send + 'static,
    ) -> Result<Self> {
        let off = spec == SourceSpec::None;
        let camera = if off { CameraState::Off } else { CameraState::Disconnected(None) };
        let state = Mutex::new(State { camera, stopping: false, last_frame: None, handing_since: None });
        let shared = Arc::new(Shared { state, stop: Condvar::new() });
        if off {
            return Ok(Self { shared, thread: None });
        }
        let run = Run { spec, fps_default, clock, metrics, shared: shared.clone() };
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || run.run(&take));
        let thread = thread.map_err(|cause| Error::internal("The capture thread cannot be started.").because(cause))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A handle for those who ask how the camera is.
    #[must_use]
    pub fn watch(&self) -> CameraWatch {
        CameraWatch { shared: self.shared.clone() }
    }

    /// Stops the thread and joins it.
    pub fn stop(self) {
        self.shared.lock().stopping = true;
        self.shared.stop.notify_all();
        if self.thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the capture thread had panicked");
        }
    }
}

/// Tells how the camera is.
#[derive(Clone)]
pub struct CameraWatch {
    shared: Arc<Shared>,
}

impl CameraWatch {
    #[must_use]
    pub fn state(&self) -> CameraState {
        self.shared.lock().camera.clone()
    }

    /// Whether the thread has been handing on one frame for longer than `limit`.
    #[must_use]
    pub fn stuck(&self, limit: Duration) -> bool {
        self.shared.lock().handing_since.is_some_and(|since| since.elapsed() > limit)
    }

    /// Time since the newest frame; none before the first.
    #[must_use]
    pub fn since_frame(&self) -> Option<Duration> {
        self.shared.lock().last_frame.map(|at| at.elapsed())
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `time` unless the unit stops; false when it does.
    fn wait(&self, time: Duration) -> bool {
        let state = self.lock();
        let waited = self.stop.wait_timeout_while(state, time, |state| !state.stopping);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    fn note(&self, last_frame: Option<Instant>, handing_since: Option<Instant>) {
        let mut state = self.lock();
        state.last_frame = last_frame;
        state.handing_since = handing_since;
    }

    fn show(&self, camera: CameraState) {
        let mut state = self.lock();
        if state.camera != camera {
            match &camera {
                CameraState::Disconnected(Some(why)) => tracing::warn!("camera: {why}"),
                CameraState::Connected => tracing::info!("camera: frames are coming"),
                CameraState::Frozen => tracing::warn!("camera: the picture stands still"),
                CameraState::Obscured(why) => tracing::warn!("camera: the picture shows nothing ({why:?})"),
                CameraState::Ended => tracing::info!("camera: the replay has ended"),
                CameraState::Off | CameraState::Disconnected(None) => {}
            }
            state.camera = camera;
        }
    }
}

struct Run {
    spec: SourceSpec,
    fps_default: f64,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
}

impl Run {
    fn run(&self, take: &dyn Fn(Frame)) {
        let mut pause = PAUSE_MIN;
        loop {
            let before = self.shared.lock().last_frame;
            // A camera library that panics must cost one connection, not the thread.
            let ended = catch_unwind(AssertUnwindSafe(|| self.stream(take)))
                .unwrap_or_else(|_| Err(Error::internal("the camera library failed")));
            if self.shared.lock().stopping {
                return;
            }
            match ended {
                Ok(()) => return self.shared.show(CameraState::Ended),
                Err(error) => self.shared.show(CameraState::Disconnected(Some(error.chain()))),
            }
            if self.shared.lock().last_frame != before {
                pause = PAUSE_MIN;
            }
            if !self.shared.wait(pause) {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Hands on frames until the source ends (Ok) or breaks.
    fn stream(&self, take: &dyn Fn(Frame)) -> Result<()> {
        let Some(mut source) = self.open()? else { return Ok(()) };
        while let Some(frame) = source.next()? {
            self.metrics.frames.with_label_values(&["captured"]).inc();
            let now = Instant::now();
            self.shared.note(Some(now), Some(now));
            self.shared.show(CameraState::Connected);
            take(frame);
            self.shared.note(Some(now), None);
        }
        Ok(())
    }

    fn open(&self) -> Result<Option<Box<dyn FrameSource>>> {
        match &self.spec {
            SourceSpec::None => Ok(None),
            SourceSpec::Replay(spec) => {
                let shared = self.shared.clone();
                let wait = Box::new(move |time| shared.wait(time));
                Ok(Some(Box::new(Replay::open(spec.clone(), self.fps_default, self.clock.clone(), wait)?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn start(source: &str, take: impl Fn(Frame) + Send + 'static) -> Supervisor {
        let metrics = Arc::new(Metrics::new().unwrap());
        Supervisor::start(source.parse().unwrap(), 2.0, Arc::new(SystemClock::new()), metrics, take).unwrap()
    }

    #[test]
    fn frames_come_until_the_replay_ends() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png"] {
            std::fs::write(directory.path().join(name), name).unwrap();
        }
        let (send, receive) = std::sync::mpsc::channel();
        let supervisor = start(&format!("replay:{}?fps=0", directory.path().display()), move |frame| {
            send.send(frame.sequence).unwrap();
        });
        // The channel closes when the thread, which owns its sending end, has ended.
        assert_eq!(receive.into_iter().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(supervisor.watch().state(), CameraState::Ended);
        supervisor.stop();
    }

    #[test]
    fn a_missing_source_is_reported_and_stopping_does_not_wait_for_the_pause() {
        let supervisor = start("replay:/nonexistent", |_| {});
        let watch = supervisor.watch();
        while !matches!(watch.state(), CameraState::Disconnected(Some(_))) {
            std::thread::yield_now();
        }
        let CameraState::Disconnected(Some(why)) = watch.state() else { panic!("connected to nothing") };
        assert!(why.contains("/nonexistent"), "{why}");
        let begun = Instant::now();
        supervisor.stop();
        assert!(begun.elapsed() < PAUSE_MIN, "the pause was slept through");
    }
}
