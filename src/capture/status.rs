//! What the capture side is doing, as it tells health, diagnostics and the watchdog.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::metrics::Metrics;
use crate::record::Gap;

/// How the camera is.
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

impl CameraState {
    /// All values of the metric label `state`.
    pub const NAMES: [&'static str; 8] =
        ["off", "disconnected", "connected", "frozen", "dark", "bright", "covered", "ended"];

    /// Value of the metric label `state`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Disconnected(_) => "disconnected",
            Self::Connected => "connected",
            Self::Frozen => "frozen",
            Self::Obscured(Obscurity::Dark) => "dark",
            Self::Obscured(Obscurity::Bright) => "bright",
            Self::Obscured(Obscurity::Covered) => "covered",
            Self::Ended => "ended",
        }
    }

    /// Why the unit is not watching the road, as far as the camera is the reason; none when it is.
    #[must_use]
    pub const fn gap(&self) -> Option<Gap> {
        match self {
            Self::Connected => None,
            Self::Off | Self::Ended => Some(Gap::Off),
            // Opened for the first time.
            Self::Disconnected(None) => Some(Gap::Restart),
            Self::Disconnected(Some(_)) => Some(Gap::CameraDown),
            Self::Frozen => Some(Gap::Frozen),
            Self::Obscured(_) => Some(Gap::Obscured),
        }
    }

    /// Whether this is something to mend.
    const fn is_fault(&self) -> bool {
        matches!(self, Self::Disconnected(Some(_)) | Self::Frozen | Self::Obscured(_))
    }

    fn log(&self) {
        match self {
            Self::Off | Self::Disconnected(None) => {}
            Self::Disconnected(Some(why)) => tracing::warn!("camera: {why}"),
            Self::Connected => tracing::info!("camera: frames are coming"),
            Self::Frozen => tracing::warn!("camera: the picture stands still"),
            Self::Obscured(Obscurity::Dark) => tracing::warn!("camera: the picture is black"),
            Self::Obscured(Obscurity::Bright) => tracing::warn!("camera: the picture is overexposed"),
            Self::Obscured(Obscurity::Covered) => tracing::warn!("camera: something covers the lens"),
            Self::Ended => tracing::info!("camera: the replay has ended"),
        }
    }
}

/// Tells how the camera is.
#[derive(Clone)]
pub struct CameraStatus {
    pub(super) shared: Arc<Shared>,
}

impl CameraStatus {
    #[must_use]
    pub fn state(&self) -> CameraState {
        self.shared.lock().camera.clone()
    }

    /// Whether one frame has been handed on for longer than `limit`. A camera that gives no frames is not stuck in this
    /// sense: the unit works without it, and a restart does not mend it.
    #[must_use]
    pub fn stuck(&self, limit: Duration) -> bool {
        let state = self.shared.lock();
        state.activity == Activity::Handing && state.since.elapsed() > limit
    }

    /// Time since the newest frame, nothing while one is looked at; none before the first.
    #[must_use]
    pub fn since_frame(&self) -> Option<Duration> {
        let state = self.shared.lock();
        state.last_frame.map(|at| if state.activity == Activity::Handing { Duration::ZERO } else { at.elapsed() })
    }
}

/// What the present connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Opening,
    /// For a frame of the source.
    Waiting,
    /// Looking at a frame and giving it to whoever takes it.
    Handing,
}

pub(super) struct CaptureState {
    pub camera: CameraState,
    pub stopping: bool,
    /// Which connection's word counts; an abandoned one may still come to life.
    pub connection: u64,
    pub activity: Activity,
    /// Since when it does that; for waiting, when the last fresh frame was done with.
    pub since: Instant,
    pub last_frame: Option<Instant>,
    /// How the present connection ended.
    pub ended: Option<Result<()>>,
}

/// What the capture threads share.
pub(super) struct Shared {
    state: Mutex<CaptureState>,
    /// Stopping, or a connection ended.
    changed: Condvar,
    metrics: Arc<Metrics>,
}

impl Shared {
    pub fn new(camera: CameraState, metrics: Arc<Metrics>) -> Self {
        show(&metrics, &camera);
        let (activity, since) = (Activity::Opening, Instant::now());
        let state =
            CaptureState { camera, stopping: false, connection: 0, activity, since, last_frame: None, ended: None };
        Self { state: Mutex::new(state), changed: Condvar::new(), metrics }
    }

    /// A panic while the lock was held leaves nothing half done here: each change is one assignment.
    pub fn lock(&self) -> MutexGuard<'_, CaptureState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, at most for `time`.
    pub fn wait_change<'a>(&self, state: MutexGuard<'a, CaptureState>, time: Duration) -> MutexGuard<'a, CaptureState> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for `time` unless the unit stops; false when it does.
    pub fn wait(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |state| !state.stopping);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    pub fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Begins another connection, whose number it gives.
    pub fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.connection += 1;
        state.activity = Activity::Opening;
        state.since = Instant::now();
        state.ended = None;
        state.connection
    }

    /// Notes what the connection does now; false when it no longer counts.
    pub fn turn(&self, connection: u64, activity: Activity) -> bool {
        let mut state = self.lock();
        if state.connection != connection || state.stopping {
            return false;
        }
        let handed = state.activity == Activity::Handing && activity == Activity::Waiting;
        state.activity = activity;
        state.since = Instant::now();
        // One that cannot be read was none.
        if handed {
            state.last_frame = Some(state.since);
        }
        true
    }

    pub fn is_present(&self, connection: u64) -> bool {
        let state = self.lock();
        state.connection == connection && !state.stopping
    }

    /// The connection's last word.
    pub fn end(&self, connection: u64, how: Result<()>) {
        let mut state = self.lock();
        if state.connection == connection {
            state.ended = Some(how);
            drop(state);
            self.changed.notify_all();
        }
    }

    pub fn show(&self, camera: CameraState) {
        let mut state = self.lock();
        if state.camera == camera {
            return;
        }
        // Another attempt that fails for another reason is the same fault.
        let before = &state.camera;
        if camera.is_fault() && !(before.is_fault() && before.name() == camera.name()) {
            self.metrics.camera_faults.with_label_values(&[camera.name()]).inc();
        }
        show(&self.metrics, &camera);
        state.camera = camera;
        state.camera.log();
    }
}

fn show(metrics: &Metrics, camera: &CameraState) {
    for name in CameraState::NAMES {
        metrics.camera_state.with_label_values(&[name]).set(i64::from(name == camera.name()));
    }
}
