//! A replayed camera: frames become stored classifications at the set rate.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{GrayImage, ImageFormat, Luma};

use crate::pictures::generated;
use crate::unit::{Unit, golden, run};
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

/// The configuration of a road whose vehicles cross an upright line.
const LINE: &str = "[traffic]\nclip_fps = 8\ndetector = \"none\"\n[[traffic.lines]]\nname = \"gate\"\nfrom = [0.5, 1.0]\nto = [0.5, 0.0]\n\
                    forward = \"right\"\nbackward = \"left\"\n";

/// Frames of a vehicle that passes from the left to the right.
fn road() -> Vec<Vec<u8>> {
    let frame = |step: u32| {
        let frame = GrayImage::from_fn(320, 240, |x, y| {
            let vehicle = (step * 9).checked_sub(60).is_some_and(|left| (left..left + 60).contains(&x));
            Luma([if vehicle && (100..140).contains(&y) { 230 } else { 90 + (x / 8 % 4 + y / 8 % 4) as u8 }])
        });
        let mut jpeg = Cursor::new(Vec::new());
        frame.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        jpeg.into_inner()
    };
    // The empty road first, so that the unit learns it.
    std::iter::repeat_n(0, 30).chain(0..60).map(frame).collect()
}

/// Writes the road as a recording that is cut in its last frame and lost half of another one, with its configuration.
fn cut_recording(directory: &Path) -> (PathBuf, PathBuf) {
    let mut frames = road();
    for number in [50, 89] {
        let half = frames[number].len() / 2;
        frames[number].truncate(half);
    }
    let (clip, config) = (directory.join("road.mjpeg"), directory.join("config.toml"));
    std::fs::write(&clip, frames.concat()).unwrap();
    std::fs::write(&config, LINE).unwrap();
    (clip, config)
}

#[test]
fn a_recording_cut_in_its_last_frame_is_counted_once_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (clip, config) = cut_recording(directory.path());
    let count = |format: &[&str]| {
        let arguments = ["--config", config.to_str().unwrap(), "count", clip.to_str().unwrap(), "--fps", "8"];
        let output = run(directory.path(), &[&arguments[..], format].concat(), "");
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{err}");
        assert_eq!(err.lines().count(), 2, "one line for each of the two frames: {err}");
        assert!(err.contains("road.mjpeg#50") && err.contains("ends within its last frame"), "{err}");
        out
    };
    let table = count(&[]);
    assert!(table.contains("1 passages in 90 frames") && table.contains("2 could not be read"), "{table}");
    assert_eq!(count(&["--json"]).lines().count(), 1);
}

#[test]
fn a_cut_recording_is_replayed_once_and_its_vehicle_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let (clip, config) = cut_recording(directory.path());
    let source = format!("replay:{}?fps=0", clip.display());
    let unit = Unit::with(&[("--config", config.to_str().unwrap()), ("CAPTURE__SOURCE", &source)]);
    let admin = unit.account("alma", "admin");
    until("the replay ends", || unit.get("/health", "").text().contains("replay has ended"));
    let frames = |result| unit.metric(&admin, &format!("vehicle_classifier_frames_total{{result=\"{result}\"}}"));
    until("every frame was looked at", || frames("analysed") + frames("still") + frames("invalid") == 90.0);
    assert_eq!((frames("captured"), frames("invalid")), (90.0, 2.0));
    let mut passages = 0;
    until("the vehicle is in the ledger", || {
        let page = unit.get("/api/traffic/passages", &admin).json();
        passages = page["data"]["passages"].as_array().unwrap().len();
        passages > 0
    });
    assert_eq!(passages, 1);
}

#[test]
fn video_that_is_no_mjpeg_is_refused_with_the_command_that_converts_it() {
    let directory = tempfile::tempdir().unwrap();
    let clip = directory.path().join("drive.mp4");
    std::fs::write(&clip, b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41").unwrap();
    let counted = run(directory.path(), &["count", clip.to_str().unwrap()], "");
    let said = String::from_utf8(counted.stderr).unwrap();
    assert_eq!((counted.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("MP4") && said.contains("ffmpeg -i"), "{said}");
    let config = directory.path().join("config.toml");
    std::fs::write(&config, format!("[capture]\nsource = \"replay:{}\"\n", clip.display())).unwrap();
    let doctor = run(directory.path(), &["doctor", "--json", "--config", config.to_str().unwrap()], "");
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.status.code() == Some(1) && said.contains("ffmpeg -i"), "{said}");
}
