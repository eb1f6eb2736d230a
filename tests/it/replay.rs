//! A replayed camera: frames become stored classifications at the set rate.

use image::ImageFormat;

use crate::pictures::generated;
use crate::unit::{Unit, golden};

fn camera_rows(unit: &Unit) -> i64 {
    let database = rusqlite::Connection::open(unit.state_directory().join("unit.db")).unwrap();
    database.query_row("SELECT count(*) FROM classifications WHERE origin = 'camera'", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_replayed_recording_is_classified_frame_by_frame() {
    let recording = tempfile::tempdir().unwrap();
    for seed in 0..6 {
        std::fs::write(recording.path().join(format!("{seed}.png")), generated(64, 48, seed, ImageFormat::Png))
            .unwrap();
    }
    std::fs::write(recording.path().join("7.jpg"), golden()).unwrap();
    std::fs::write(recording.path().join("8.jpg"), b"not a picture").unwrap();
    let source = format!("replay:{}?fps=20", recording.path().display());
    let unit = Unit::with(&[("CAPTURE__SOURCE", &source)]);
    let admin = unit.account("alma", "admin");
    let ended = |unit: &Unit| unit.get("/health", "").text().contains("replay has ended");
    while !ended(&unit) {
        std::thread::yield_now();
    }
    let captured = unit.metric(&admin, "vehicle_classifier_frames_total{result=\"captured\"}");
    assert_eq!(captured, 8.0);
    // The last frames may still be at a worker; stopping waits for what was begun.
    let unit = unit.stop_and_restart();
    let dropped_or_stored = camera_rows(&unit);
    assert!((6..=14).contains(&dropped_or_stored), "{dropped_or_stored} rows of 7 good frames, read once or twice");
}

#[test]
fn a_looping_recording_keeps_the_camera_connected_and_uploads_go_on() {
    let recording = tempfile::tempdir().unwrap();
    let frames: Vec<u8> = (0..4).flat_map(|seed| generated(320, 240, seed, ImageFormat::Jpeg)).collect();
    let clip = recording.path().join("clip.mjpeg");
    std::fs::write(&clip, frames).unwrap();
    let unit = Unit::with(&[("CAPTURE__SOURCE", &format!("replay:{}?fps=0&loop=true", clip.display()))]);
    let admin = unit.account("alma", "admin");
    while unit.get("/health", "").json()["camera_connected"] != true {
        std::thread::yield_now();
    }
    for _ in 0..20 {
        assert_eq!(
            unit.classify(&admin, "golden.jpg", &golden()).status,
            201,
            "a flooding camera must not starve uploads"
        );
    }
    assert!(unit.metric(&admin, "vehicle_classifier_frames_total{result=\"dropped\"}") > 0.0, "the newest frame wins");
}
