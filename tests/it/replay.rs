//! A replayed camera: frames become stored classifications at the set rate.

use std::path::Path;

use image::ImageFormat;

use crate::pictures::generated;
use crate::unit::{Unit, golden};
use crate::waiting::until;

fn camera_rows(unit: &Unit) -> u32 {
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
    // A busy machine that takes longer for a picture than the next one needs to come drops pictures, as it should: then slower.
    let slower = [3.0, 1.0, 0.3, 0.1].into_iter().find(|fps| stored_frame_by_frame(recording.path(), *fps));
    assert!(slower.is_some(), "pictures are dropped however slowly they come");
}

/// Replays the eight files at that rate; false when the unit dropped one.
fn stored_frame_by_frame(recording: &Path, fps: f64) -> bool {
    let source = format!("replay:{}?fps={fps}", recording.display());
    let unit = Unit::with(&[("CAPTURE__SOURCE", source.as_str()), ("CAPTURE__FRAME_AGE_MAX_MS", "300000")]);
    let admin = unit.account("alma", "admin");
    until("the replay ends", || unit.get("/health", "").text().contains("replay has ended"));
    let frames = |result| unit.metric(&admin, &format!("vehicle_classifier_frames_total{{result=\"{result}\"}}"));
    assert_eq!(frames("captured"), 8.0);
    // Every frame ends in exactly one place. The last ones may still be at a worker or at the writer.
    let lost = || frames("dropped") + frames("stale") + frames("invalid");
    until("eight frames have come to their end", || lost() + f64::from(camera_rows(&unit)) == 8.0);
    let (stored, dropped) = (f64::from(camera_rows(&unit)), frames("dropped"));
    assert_eq!((stored + dropped, frames("invalid"), frames("stale")), (7.0, 1.0, 0.0), "{stored} stored");
    dropped == 0.0
}

#[test]
fn a_looping_recording_keeps_the_camera_connected_and_uploads_go_on() {
    let recording = tempfile::tempdir().unwrap();
    let frames: Vec<u8> = (0..4).flat_map(|seed| generated(320, 240, seed, ImageFormat::Jpeg)).collect();
    let clip = recording.path().join("clip.mjpeg");
    std::fs::write(&clip, frames).unwrap();
    let unit = Unit::with(&[("CAPTURE__SOURCE", &format!("replay:{}?fps=240&loop=true", clip.display()))]);
    let admin = unit.account("alma", "admin");
    until("frames come", || unit.get("/health", "").json()["camera_connected"] == true);
    for _ in 0..20 {
        assert_eq!(
            unit.classify(&admin, "golden.jpg", &golden()).status,
            201,
            "a flooding camera must not starve uploads"
        );
    }
    until("the newest frame wins", || unit.metric(&admin, "vehicle_classifier_frames_total{result=\"dropped\"}") > 0.0);
}
