//! Every fault of a camera, with a source that has it on demand: what metric, health and recovery make of it.

use std::os::fd::AsFd;
use std::sync::Condvar;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;
use crate::capture::{Obscurity, format::RequestedMode};
use crate::clock::Stamp;
use crate::config::RequestedFormat;
use crate::frame::{Encoding, PixelLayout};

/// What the fake camera does with the next frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Live,
    Still,
    Level(u8),
    /// Frames with an old time: a driver that hands out the same buffer again and again.
    Old,
    /// Bytes that are no picture.
    Garbage,
    Unplugged,
    /// The driver blocks until it is interrupted, as `poll` is.
    Blocked,
    /// The driver blocks whatever happens, until the plan changes.
    Deaf,
    Panic,
    End,
}

/// A fake camera, its clock and what it was asked. The clock jumps by a second with each frame, so that nothing here takes real
/// time.
struct Rig {
    plan: Mutex<Plan>,
    changed: Condvar,
    seconds: AtomicU64,
    opened: AtomicU64,
    taken: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Rig {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            plan: Mutex::new(Plan::Live),
            changed: Condvar::new(),
            seconds: AtomicU64::new(100),
            opened: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            metrics: Arc::new(Metrics::new().unwrap()),
        })
    }

    fn set(&self, plan: Plan) {
        *self.plan.lock().unwrap() = plan;
        self.changed.notify_all();
    }

    fn start(self: &Arc<Self>, source: SourceSpec) -> Supervisor {
        let milliseconds = Duration::from_millis;
        let pauses = Pauses {
            shortest: milliseconds(1),
            longest: milliseconds(10),
            // Longer than the tests wait for anything: what happens after opening must not wait for it.
            opening: Duration::from_secs(900),
            farewell: milliseconds(60),
        };
        let settings = CaptureSettings {
            source,
            requested: RequestedMode { size: None, fps: 15.0, format: RequestedFormat::Auto },
            // Longer than a busy machine holds up a thread: a camera that is well must not miss it.
            frame_deadline: Duration::from_secs(1),
            frozen_after: Duration::from_secs(5),
            frame_age_max: Duration::from_secs(2),
            picture_pixels_max: 1 << 20,
            pauses,
        };
        let (camera, taker) = (self.clone(), self.clone());
        let open: Opener = Box::new(move |_| {
            camera.opened.fetch_add(1, Ordering::Relaxed);
            match *camera.plan.lock().unwrap() {
                Plan::Unplugged => Err(gone()),
                _ => Ok(Box::new(FakeCamera { rig: camera.clone(), sequence: 0 })),
            }
        });
        let take: Taker = Box::new(move |_| {
            taker.taken.fetch_add(1, Ordering::Relaxed);
        });
        Supervisor::with_source(settings, open, self.clone(), self.metrics.clone(), take).unwrap()
    }

    fn camera(self: &Arc<Self>) -> Supervisor {
        self.start(SourceSpec::V4l2("/dev/fake".into()))
    }

    fn metric(&self, series: &str) -> u64 {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("vehicle_classifier_{series} ")));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }
}

impl Clock for Rig {
    fn now(&self) -> Stamp {
        let seconds = self.seconds.load(Ordering::Relaxed);
        Stamp {
            at: jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(seconds),
            monotonic: Duration::from_secs(seconds),
            synced: true,
            boot_id: "".into(),
        }
    }
}

struct FakeCamera {
    rig: Arc<Rig>,
    sequence: u64,
}

impl FakeCamera {
    fn frame(&mut self, captured: Stamp, value: impl Fn(usize) -> u8) -> Frame {
        let bytes: Vec<u8> = (0..64 * 48).map(value).chain([128; 64 * 24]).collect();
        let encoding = Encoding::Raw { layout: PixelLayout::Nv12, width: 64, height: 48 };
        self.sequence += 1;
        Frame { sequence: self.sequence, captured, bytes: bytes.into(), encoding, label: "fake".into() }
    }
}

impl FrameSource for FakeCamera {
    fn next(&mut self) -> Result<Option<Frame>> {
        let plan = *self.rig.plan.lock().unwrap();
        let second = self.rig.seconds.fetch_add(1, Ordering::Relaxed);
        let now = self.rig.now();
        let old = Stamp { monotonic: Duration::from_secs(90), ..now.clone() };
        Ok(Some(match plan {
            Plan::Live => self.frame(now, |at| (at % 64 * 3) as u8 ^ (second % 8) as u8),
            Plan::Still => self.frame(now, |at| (at % 64 * 3) as u8),
            Plan::Level(level) => self.frame(now, |at| level + (at % 2) as u8),
            Plan::Old => self.frame(old, |at| (at % 64) as u8),
            Plan::Garbage => {
                Frame { encoding: Encoding::File, bytes: Arc::from(&b"\xff\xd8"[..]), ..self.frame(now, |_| 0) }
            }
            Plan::Unplugged => return Err(gone()),
            Plan::Blocked => {
                // The same wait as in the driver, on a descriptor that never has anything to read.
                let (reader, _writer) = std::io::pipe().unwrap();
                let mut waited = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
                let cause = poll(&mut waited, PollTimeout::NONE).unwrap_err();
                return Err(Error::unavailable("interrupted", Duration::ZERO).because(cause));
            }
            Plan::Deaf => {
                let plan = self.rig.plan.lock().unwrap();
                drop(self.rig.changed.wait_while(plan, |plan| *plan == Plan::Deaf).unwrap());
                return Err(gone());
            }
            Plan::Panic => panic!("a camera library that panics"),
            Plan::End => return Ok(None),
        }))
    }
}

fn gone() -> Error {
    Error::unavailable("No such device (os error 19)", Duration::ZERO)
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(300);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came to this: {what}");
        std::thread::yield_now();
    }
}

/// Frames come, the fault comes, it is shown as it must be, it goes, and frames come again.
fn fault(plan: Plan, shown: impl Fn(&CameraState) -> bool, label: &str) -> Arc<Rig> {
    let rig = Rig::new();
    let supervisor = rig.camera();
    let watch = supervisor.status();
    until("connected", || watch.state() == CameraState::Connected && rig.taken.load(Ordering::Relaxed) > 2);
    rig.set(plan);
    until(&format!("{plan:?} is shown"), || shown(&watch.state()));
    assert!(rig.metric(&format!("camera_faults_total{{fault=\"{label}\"}}")) >= 1, "{plan:?}");
    until("the gauge follows", || {
        let name = watch.state().name();
        rig.metric(&format!("camera_state{{state=\"{name}\"}}")) == 1
            && rig.metric("camera_state{state=\"connected\"}") == 0
    });
    assert!(!watch.stuck(Duration::ZERO) || plan != Plan::Deaf, "a blocked camera must not look like a hung unit");
    rig.set(Plan::Live);
    until("connected again", || watch.state() == CameraState::Connected);
    let before = rig.taken.load(Ordering::Relaxed);
    until("frames come again", || rig.taken.load(Ordering::Relaxed) > before + 2);
    assert_eq!(rig.metric("camera_state{state=\"connected\"}"), 1);
    supervisor.stop();
    rig
}

fn disconnected(state: &CameraState, why: &str) -> bool {
    matches!(state, CameraState::Disconnected(Some(said)) if said.contains(why))
}

#[test]
fn an_unplugged_camera_is_opened_again_when_it_is_back() {
    let rig = fault(Plan::Unplugged, |state| disconnected(state, "No such device"), "disconnected");
    assert!(rig.opened.load(Ordering::Relaxed) >= 2);
}

#[test]
fn a_frozen_picture_is_shown_and_the_camera_opened_again() {
    let rig = Rig::new();
    let supervisor = rig.camera();
    let watch = supervisor.status();
    rig.set(Plan::Still);
    until("frozen", || watch.state() == CameraState::Frozen);
    until("opened again and again", || rig.opened.load(Ordering::Relaxed) >= 3);
    assert_eq!(watch.state(), CameraState::Frozen, "reopening alone does not make it well");
    assert_eq!(rig.metric("camera_faults_total{fault=\"frozen\"}"), 1, "one fault, however often it is opened");
    rig.set(Plan::Live);
    until("well again", || watch.state() == CameraState::Connected);
    supervisor.stop();
}

#[test]
fn a_picture_that_shows_nothing_is_shown_and_the_camera_left_open() {
    for (level, why, label) in
        [(17, Obscurity::Dark, "dark"), (240, Obscurity::Bright, "bright"), (128, Obscurity::Covered, "covered")]
    {
        let rig = fault(Plan::Level(level), |state| *state == CameraState::Obscured(why), label);
        assert_eq!(rig.opened.load(Ordering::Relaxed), 1, "reopening uncovers no lens");
    }
}

#[test]
fn a_camera_that_goes_silent_is_interrupted_and_opened_again() {
    let rig = fault(Plan::Blocked, |state| disconnected(state, "no fresh frame for 1 s"), "stalled");
    assert!(rig.opened.load(Ordering::Relaxed) >= 2);
}

#[test]
fn frames_that_do_not_advance_are_stale_and_end_the_connection() {
    let rig = fault(Plan::Old, |state| disconnected(state, "no fresh frame"), "stalled");
    assert!(rig.metric("frames_total{result=\"stale\"}") > 0);
}

#[test]
fn a_driver_that_never_lets_go_costs_a_bounded_number_of_threads() {
    let rig = fault(Plan::Deaf, |state| disconnected(state, "blocks every attempt"), "stalled");
    // Three were given up, and one more was begun when they had come back.
    assert!((4..=6).contains(&rig.opened.load(Ordering::Relaxed)), "{:?}", rig.opened);
}

#[test]
fn pictures_that_cannot_be_read_end_the_connection() {
    fault(Plan::Garbage, |state| disconnected(state, "fake"), "disconnected");
}

#[test]
fn a_library_that_panics_costs_one_connection() {
    fault(Plan::Panic, |state| disconnected(state, "The camera library failed"), "disconnected");
}

#[test]
fn a_blocked_camera_does_not_hold_up_the_end() {
    for plan in [Plan::Blocked, Plan::Deaf] {
        let rig = Rig::new();
        let supervisor = rig.camera();
        let watch = supervisor.status();
        until("connected", || watch.state() == CameraState::Connected);
        rig.set(plan);
        supervisor.stop();
        rig.set(Plan::End);
    }
}

#[test]
fn a_recording_that_stands_still_is_frozen_too_but_not_played_from_its_beginning() {
    let rig = Rig::new();
    let replay = crate::capture::ReplaySpec { path: "fake".into(), fps: Some(0.0), repeat: false };
    let supervisor = rig.start(SourceSpec::Replay(replay));
    let watch = supervisor.status();
    rig.set(Plan::Still);
    until("frozen", || watch.state() == CameraState::Frozen);
    let before = rig.taken.load(Ordering::Relaxed);
    until("it goes on", || rig.taken.load(Ordering::Relaxed) > before + 20);
    assert_eq!(rig.opened.load(Ordering::Relaxed), 1);
    rig.set(Plan::End);
    until("ended", || watch.state() == CameraState::Ended);
    assert_eq!(rig.metric("camera_state{state=\"ended\"}"), 1);
    supervisor.stop();
}

#[test]
fn frames_come_until_the_replay_ends_and_a_missing_one_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        std::fs::write(directory.path().join(name), name).unwrap();
    }
    let start = |source: String, take: Taker| {
        let settings = CaptureSettings {
            source: source.parse().unwrap(),
            requested: RequestedMode { size: None, fps: 15.0, format: RequestedFormat::Auto },
            frame_deadline: Duration::from_secs(5),
            frozen_after: Duration::from_secs(5),
            frame_age_max: Duration::from_secs(2),
            picture_pixels_max: 1 << 20,
            // Nobody who sleeps through the pause is back before the test is over.
            pauses: Pauses { shortest: Duration::from_secs(3_600), ..Pauses::default() },
        };
        let clock = Arc::new(crate::clock::SystemClock::new());
        Supervisor::start(settings, clock, Arc::new(Metrics::new().unwrap()), take).unwrap()
    };
    let (send, receive) = std::sync::mpsc::channel();
    let take: Taker = Box::new(move |frame: Frame| send.send(frame.sequence).unwrap());
    let supervisor = start(format!("replay:{}?fps=0", directory.path().display()), take);
    // The channel closes when the threads, which own its sending end, have ended.
    assert_eq!(receive.into_iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(supervisor.status().state(), CameraState::Ended);
    supervisor.stop();
    let supervisor = start("replay:/nonexistent".into(), Box::new(|_| {}));
    let watch = supervisor.status();
    until("the path is named", || disconnected(&watch.state(), "/nonexistent"));
    let begun = std::time::Instant::now();
    supervisor.stop();
    assert!(begun.elapsed() < Duration::from_secs(600), "the pause was slept through");
}
