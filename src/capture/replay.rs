//! Replays recorded pictures as if a camera took them: a directory of image files in name order, or one `.mjpeg` file.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::jpeg_stream::next_jpeg;
use crate::capture::{FrameSource, ReplaySpec};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::frame::{Encoding, Frame, PictureFormat};

/// Larger files of a replayed directory are passed over.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// A source that is late by more than this starts its beat anew instead of hurrying to catch up.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Interruptible waiting: gives back false when the unit stops.
pub(super) type Wait = Box<dyn Fn(Duration) -> bool + Send>;

/// A replay source with its place in the recording.
pub struct Replay {
    spec: ReplaySpec,
    clock: Arc<dyn Clock>,
    wait: Wait,
    /// Zero: as fast as frames are taken.
    period: Duration,
    next_due: Option<Instant>,
    sequence: u64,
    pictures: Pictures,
}

enum Pictures {
    Files { paths: Vec<PathBuf>, next: usize },
    Stream(BufReader<File>),
}

impl Replay {
    /// Opens the recording; `fps_default` serves a specification without `fps`.
    ///
    /// # Errors
    /// Unavailable when there is nothing to replay at the path.
    pub fn open(spec: ReplaySpec, fps_default: f64, clock: Arc<dyn Clock>, wait: Wait) -> Result<Self> {
        let fps = spec.fps.unwrap_or(fps_default);
        let period = if fps > 0.0 { Duration::from_secs_f64(1.0 / fps) } else { Duration::ZERO };
        let pictures = open_pictures(&spec.path)?;
        Ok(Self { spec, clock, wait, period, next_due: None, sequence: 0, pictures })
    }

    fn picture(&mut self) -> Result<Option<(Vec<u8>, String)>> {
        let broken = |cause: std::io::Error| unusable(&self.spec.path, &cause.to_string());
        match &mut self.pictures {
            Pictures::Stream(stream) => {
                let label = format!("{}#{}", name(&self.spec.path), self.sequence);
                Ok(next_jpeg(stream).map_err(broken)?.map(|bytes| (bytes, label)))
            }
            Pictures::Files { paths, next } => {
                let Some(path) = paths.get(*next) else { return Ok(None) };
                *next += 1;
                Ok(Some((fs::read(path).map_err(|cause| unusable(path, &cause.to_string()))?, name(path))))
            }
        }
    }

    /// Waits for the next beat; false when the unit stops.
    fn keep_pace(&mut self) -> bool {
        if self.period.is_zero() {
            return (self.wait)(Duration::ZERO);
        }
        let now = Instant::now();
        let due = self.next_due.filter(|due| now.saturating_duration_since(*due) < LATE_MAX).unwrap_or(now);
        self.next_due = Some(due + self.period);
        (self.wait)(due.saturating_duration_since(now))
    }
}

impl FrameSource for Replay {
    fn next(&mut self) -> Result<Option<Frame>> {
        if !self.keep_pace() {
            return Ok(None);
        }
        let mut picture = self.picture()?;
        if picture.is_none() && self.spec.repeat && self.sequence > 0 {
            self.pictures = open_pictures(&self.spec.path)?;
            picture = self.picture()?;
        }
        let Some((bytes, label)) = picture else { return Ok(None) };
        let frame = Frame {
            sequence: self.sequence,
            captured: self.clock.now(),
            bytes: bytes.into(),
            encoding: Encoding::File,
            label: label.into(),
        };
        self.sequence += 1;
        Ok(Some(frame))
    }
}

fn open_pictures(path: &Path) -> Result<Pictures> {
    let broken = |cause: std::io::Error| unusable(path, &cause.to_string());
    if !fs::metadata(path).map_err(broken)?.is_dir() {
        return Ok(Pictures::Stream(BufReader::new(File::open(path).map_err(broken)?)));
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(broken)? {
        let file = entry.map_err(broken)?.path();
        if is_picture(&file) {
            paths.push(file);
        }
    }
    if paths.is_empty() {
        return Err(unusable(path, "it holds no pictures"));
    }
    paths.sort();
    Ok(Pictures::Files { paths, next: 0 })
}

fn is_picture(path: &Path) -> bool {
    let known = path.extension().and_then(|end| end.to_str()).is_some_and(|end| {
        let end = end.to_ascii_lowercase();
        PictureFormat::ALL.iter().any(|format| format.extensions().contains(&end.as_str()))
    });
    known && fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.len() <= FILE_BYTES_MAX)
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn unusable(path: &Path, why: &str) -> Error {
    let message = format!("The replay source {} cannot be used: {why}. Check capture.source.", path.display());
    Error::unavailable(message, Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn replay(path: &Path, repeat: bool) -> Replay {
        let spec = ReplaySpec { path: path.into(), fps: Some(0.0), repeat };
        Replay::open(spec, 2.0, Arc::new(SystemClock::new()), Box::new(|_| true)).unwrap()
    }

    fn labels(source: &mut Replay, most: usize) -> Vec<String> {
        std::iter::from_fn(|| source.next().unwrap()).take(most).map(|frame| frame.label.to_string()).collect()
    }

    #[test]
    fn a_directory_is_replayed_in_name_order_and_repeated_on_request() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.png", "a.JPG", "notes.txt"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        assert_eq!(labels(&mut replay(directory.path(), false), 9), ["a.JPG", "b.png"]);
        assert_eq!(labels(&mut replay(directory.path(), true), 5), ["a.JPG", "b.png", "a.JPG", "b.png", "a.JPG"]);
    }

    #[test]
    fn a_stream_file_is_replayed_frame_by_frame() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clip.mjpeg");
        fs::write(&path, [0xFF, 0xD8, 0xFF, 0xD9].repeat(3)).unwrap();
        assert_eq!(labels(&mut replay(&path, false), 9), ["clip.mjpeg#0", "clip.mjpeg#1", "clip.mjpeg#2"]);
        fs::write(&path, b"no picture").unwrap();
        assert!(labels(&mut replay(&path, true), 9).is_empty(), "a recording without pictures must not loop for ever");
    }

    #[test]
    fn the_pace_is_the_one_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.png"), "a").unwrap();
        let waits = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = waits.clone();
        let spec = ReplaySpec { path: directory.path().into(), fps: None, repeat: true };
        let wait: Wait = Box::new(move |time| {
            seen.lock().unwrap().push(time);
            true
        });
        let mut source = Replay::open(spec, 0.5, Arc::new(SystemClock::new()), wait).unwrap();
        assert_eq!(labels(&mut source, 3).len(), 3);
        let waits = waits.lock().unwrap();
        assert_eq!(waits[0], Duration::ZERO);
        assert!(waits[1] > Duration::from_millis(1_500) && waits[2] > waits[1], "{waits:?}");
    }

    #[test]
    fn nothing_to_replay_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let spec = ReplaySpec { path: directory.path().into(), fps: None, repeat: true };
        let error = Replay::open(spec, 2.0, Arc::new(SystemClock::new()), Box::new(|_| true)).err().unwrap();
        assert!(error.to_string().contains("it holds no pictures"), "{error}");
    }
}
