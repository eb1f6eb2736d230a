//! A camera that cannot see, as health, metrics and the doctor tell it. The faults of a driver are tried beside the
//! supervisor, and on a real one in the emulated unit (`make test-device`).

use std::time::Instant;

use image::{GrayImage, ImageFormat};

use crate::pictures::generated;
use crate::traffic::{intervals, last_days};
use crate::unit::{PASSWORD, Unit, run};
use crate::waiting::{PATIENCE, pause, until};

fn until_health_says(unit: &Unit, reason: &str) -> serde_json::Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let health = unit.get("/health", "").json();
        if health["reasons"].as_array().unwrap().iter().any(|said| said.as_str().unwrap().contains(reason)) {
            return health;
        }
        assert!(Instant::now() < deadline, "{reason:?} never came: {health}\n{}", unit.log.text());
        pause();
    }
}

fn replayed(picture: &[u8], settings: &[(&str, &str)]) -> (Unit, tempfile::TempDir) {
    let recording = tempfile::tempdir().unwrap();
    std::fs::write(recording.path().join("0.jpg"), picture).unwrap();
    let source = format!("replay:{}?fps=10&loop=true", recording.path().display());
    (Unit::with(&[&[("CAPTURE__SOURCE", source.as_str())], settings].concat()), recording)
}

/// Waits until the unit has not watched for a second, for this reason.
fn until_unwatched(unit: &Unit, reason: &str) {
    let series = format!("vehicle_classifier_watch_seconds_total{{state=\"{reason}\"}}");
    let admin = unit.token("alma", PASSWORD);
    until(reason, || unit.metric(&admin, &series) >= 1.0);
}

/// Dashboards learn from the counts that the unit was not watching, and why.
fn assert_told(unit: Unit, reason: &str) {
    // What is not stored yet is, when it stops.
    let unit = unit.stop_and_restart();
    let days = intervals(&unit, &unit.token("alma", PASSWORD), &last_days());
    let seconds: f64 = days.iter().filter_map(|day| day["reasons"][reason].as_f64()).sum();
    assert!(seconds >= 1.0, "{reason}: {days:?}");
}

#[test]
fn a_picture_that_stands_still_degrades_the_unit() {
    let still = generated(320, 240, 1, ImageFormat::Jpeg);
    let (unit, recording) = replayed(&still, &[("CAPTURE__FROZEN_AFTER_MS", "1000")]);
    let health = until_health_says(&unit, "picture stands still");
    assert_eq!((&health["status"], &health["camera_connected"]), (&"degraded".into(), &true.into()));
    let admin = unit.account("alma", "admin");
    assert_eq!(unit.metric(&admin, "vehicle_classifier_camera_state{state=\"frozen\"}"), 1.0);
    assert_eq!(unit.metric(&admin, "vehicle_classifier_camera_faults_total{fault=\"frozen\"}"), 1.0);
    until_unwatched(&unit, "frozen");
    // Something else comes before the camera.
    std::fs::write(recording.path().join("1.jpg"), generated(320, 240, 2, ImageFormat::Jpeg)).unwrap();
    until("well again", || unit.metric(&admin, "vehicle_classifier_camera_state{state=\"connected\"}") >= 1.0);
    assert_told(unit, "frozen");
}

#[test]
fn a_black_picture_degrades_the_unit() {
    let mut black = std::io::Cursor::new(Vec::new());
    GrayImage::from_pixel(320, 240, image::Luma([12])).write_to(&mut black, ImageFormat::Jpeg).unwrap();
    let (unit, _recording) = replayed(black.get_ref(), &[]);
    until_health_says(&unit, "picture is black");
    let admin = unit.account("alma", "admin");
    assert_eq!(unit.metric(&admin, "vehicle_classifier_camera_state{state=\"dark\"}"), 1.0);
    until_unwatched(&unit, "obscured");
    assert_told(unit, "obscured");
}

#[test]
fn a_camera_that_is_not_there_is_named_with_the_remedy_and_does_not_keep_the_unit_from_working() {
    let unit = Unit::with(&[("CAPTURE__SOURCE", "v4l2:/dev/video-of-no-machine")]);
    let health = until_health_says(&unit, "camera gives no frames");
    assert_eq!(health["camera_connected"], false);
    assert_eq!(unit.get("/health/ready", "").status, 200);
    let admin = unit.account("alma", "admin");
    let failing = || unit.metric(&admin, "vehicle_classifier_camera_faults_total{fault=\"disconnected\"}");
    until("counted as a fault", || failing() >= 1.0);
    unit.log.wait_for("Plug the camera in, or correct capture.source");
    let age = || unit.metric(&admin, "vehicle_classifier_frame_age_seconds");
    let before = age();
    until("the age of the newest frame grows", || age() > before);
    assert!(before > 0.0, "a camera that never gave a frame is no fresh one");
    let ratio = unit.metric(&admin, "vehicle_classifier_interval_coverage_ratio");
    assert!(ratio == 0.0 && ratio.is_sign_positive(), "{ratio}");
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("config.toml");
    std::fs::write(&file, "[capture]\nsource = \"v4l2:/dev/video-of-no-machine\"\n").unwrap();
    let sick = run(state.path(), &["doctor", "--config", file.to_str().unwrap()], "");
    let said = String::from_utf8(sick.stdout).unwrap();
    assert!(!sick.status.success() && said.contains("Plug the camera in"), "{said}");
    until_unwatched(&unit, "camera_down");
    assert_told(unit, "camera_down");
}

#[test]
fn wishes_that_make_no_sense_are_refused_by_their_key() {
    for (line, reason) in [
        ("source = \"v4l2:video0\"", "use none, v4l2:/dev/video0 or replay:PATH"),
        ("width = 640", "name width and height, or neither"),
        ("format = \"h264\"", "format"),
        ("frame_deadline_ms = 1", "at least 500"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("config.toml");
        std::fs::write(&file, format!("[capture]\n{line}\n")).unwrap();
        let refused = run(state.path(), &["config", "check", file.to_str().unwrap()], "");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(78), "{said}");
        assert!(said.contains(reason) && said.contains("capture"), "{said}");
    }
}

/// A camera with more pixels than the machine can look through: frames are left out, and it is told. As soon as it can keep
/// up, all is well.
#[test]
fn frames_that_take_longer_to_look_at_than_they_are_apart_are_an_overload() {
    // As tests are built, without optimisation, so many pixels take more than the half second until the next frame.
    let large: Vec<_> = (1..=3).map(|seed| generated(6_800, 6_800, seed, ImageFormat::Jpeg)).collect();
    let small: Vec<_> = (1..=3).map(|seed| generated(320, 240, seed, ImageFormat::Jpeg)).collect();
    let frames = large.iter().cycle().take(16).chain(small.iter().cycle().take(400));
    let recording = tempfile::tempdir().unwrap();
    let clip = recording.path().join("clip.mjpeg");
    std::fs::write(&clip, frames.map(Vec::as_slice).collect::<Vec<_>>().concat()).unwrap();
    let unit = Unit::with(&[("CAPTURE__SOURCE", &format!("replay:{}?fps=2", clip.display()))]);
    let health = until_health_says(&unit, "cannot keep up");
    assert_eq!((&health["status"], &health["camera_connected"]), (&"degraded".into(), &true.into()));
    let admin = unit.account("alma", "admin");
    until_unwatched(&unit, "overload");
    let frames = |result| unit.metric(&admin, &format!("vehicle_classifier_frames_total{{result=\"{result}\"}}"));
    let watching = || unit.metric(&admin, "vehicle_classifier_watch_seconds_total{state=\"watching\"}");
    until("it recovers", || !unit.get("/health", "").text().contains("cannot keep up"));
    assert!(frames("dropped") + frames("stale") > 0.0, "the newest frame wins");
    let before = watching();
    until("it watches again", || watching() >= before + 2.0);
    assert_told(unit, "overload");
}
