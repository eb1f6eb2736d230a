//! Replays recorded pictures as if a camera took them: a directory of image files in name order, or one `.mjpeg` file.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::jpeg_stream::{JpegStream, StreamPicture};
use crate::capture::{FrameSource, ReplaySpec};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::frame::{Encoding, Frame, PictureFormat};

/// Larger files of a replayed directory are passed over.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a recording by which its kind is recognised.
const HEAD_BYTES: u64 = 256;
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
    ends_cut: bool,
}

enum Pictures {
    Files { paths: Vec<PathBuf>, next: usize },
    Stream(JpegStream<File>),
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
        Ok(Self { spec, clock, wait, period, next_due: None, sequence: 0, pictures, ends_cut: false })
    }

    /// Whether the newest frame is cut; at the end of a recording, whether the recording ends within a frame.
    #[must_use]
    pub fn ends_cut(&self) -> bool {
        self.ends_cut
    }

    /// The next picture and its name; none at the end. What cannot be read ends a recording and costs a directory one file: a
    /// replay that began anew would count the same vehicles twice.
    fn picture(&mut self) -> Option<(Vec<u8>, String)> {
        match &mut self.pictures {
            Pictures::Stream(stream) => {
                let label = format!("{}#{}", name(&self.spec.path), self.sequence);
                let next = stream.next().or_else(|cause| {
                    tracing::warn!("replay: {} cannot be read to its end: {cause}", self.spec.path.display());
                    stream.next()
                });
                let next = next.ok().flatten();
                self.ends_cut = matches!(next, Some(StreamPicture::Cut(_)));
                let (StreamPicture::Whole(bytes) | StreamPicture::Cut(bytes)) = next?;
                Some((bytes, label))
            }
            Pictures::Files { paths, next } => loop {
                let path = paths.get(*next)?;
                *next += 1;
                match fs::read(path) {
                    Ok(bytes) => return Some((bytes, name(path))),
                    Err(cause) => tracing::warn!("replay: {} is passed over: {cause}", path.display()),
                }
            },
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
        let mut picture = self.picture();
        if picture.is_none() && self.spec.repeat && self.sequence > 0 {
            self.pictures = open_pictures(&self.spec.path)?;
            picture = self.picture();
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
        let mut file = File::open(path).map_err(broken)?;
        let mut head = Vec::new();
        file.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(broken)?;
        if let Some(container) = video_container(&head) {
            return Err(convertible(path, container));
        }
        file.rewind().map_err(broken)?;
        return Ok(Pictures::Stream(JpegStream::new(file)));
    }
    // A file that vanishes meanwhile, or an entry that cannot be read, costs nothing but itself.
    let entries = fs::read_dir(path).map_err(broken)?.flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_picture(path)).collect();
    if paths.is_empty() {
        return Err(unusable(path, "it holds no pictures"));
    }
    paths.sort();
    Ok(Pictures::Files { paths, next: 0 })
}

/// The kind of video file that begins with `head`; none for a stream of JPEGs.
fn video_container(head: &[u8]) -> Option<&'static str> {
    match head {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some("MP4"),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some("Matroska"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => Some("AVI"),
        // A packet of an MPEG transport stream begins with 0x47 and has 188 bytes.
        [0x47, ..] if head.get(188) == Some(&0x47) => Some("MPEG-TS"),
        [0, 0, 1, 0xba | 0xb3, ..] => Some("MPEG"),
        _ => None,
    }
}

fn convertible(path: &Path, container: &str) -> Error {
    let file = path.display();
    let target = path.with_extension("mjpeg");
    Error::validation(format!(
        "{file} is {container} video; only JPEG pictures and .mjpeg files are replayed. Convert it: \
         ffmpeg -i {file} -an -c:v mjpeg -q:v 2 -f mjpeg {}",
        target.display()
    ))
}

/// Hidden files are no pictures: other systems leave `._a.jpg` beside `a.jpg`.
fn is_picture(path: &Path) -> bool {
    if name(path).starts_with('.') {
        return false;
    }
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
    fn a_file_that_vanishes_or_is_hidden_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png", "c.png", ".hidden.png", "._a.png", ".#b.png"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let mut source = replay(directory.path(), false);
        assert_eq!(labels(&mut source, 1), ["a.png"]);
        fs::remove_file(directory.path().join("b.png")).unwrap();
        assert_eq!(labels(&mut source, 9), ["c.png"]);
        let mut source = replay(directory.path(), true);
        fs::remove_file(directory.path().join("a.png")).unwrap();
        assert_eq!(labels(&mut source, 3), ["c.png"; 3]);
    }

    #[test]
    fn a_cut_frame_is_a_frame_and_the_end_is_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clip.mjpeg");
        let frame = [0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 1, 2, 3, 0xFF, 0xD9];
        // One frame is cut in the middle of the recording, and the recording is cut in its last one.
        fs::write(&path, [&frame[..], &frame[..8], &frame, &frame[..7]].concat()).unwrap();
        let mut source = replay(&path, false);
        let lengths: Vec<_> = std::iter::from_fn(|| source.next().unwrap()).map(|frame| frame.bytes.len()).collect();
        assert_eq!(lengths, [11, 8, 11, 7]);
        assert!(source.next().unwrap().is_none() && source.next().unwrap().is_none());
    }

    #[test]
    fn a_video_container_is_refused_with_the_command_that_converts_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("drive.mp4");
        let packet = [&[0x47][..], &[0; 187]].concat().repeat(2);
        let kinds: [(&[u8], &str); 4] = [
            (b"\0\0\0\x20ftypisom", "MP4"),
            (b"\x1a\x45\xdf\xa3", "Matroska"),
            (b"RIFF\0\0\0\0AVI LIST", "AVI"),
            (&packet, "MPEG-TS"),
        ];
        for (head, kind) in kinds {
            fs::write(&path, head).unwrap();
            let spec = ReplaySpec { path: path.clone(), fps: None, repeat: false };
            let error = Replay::open(spec, 2.0, Arc::new(SystemClock::new()), Box::new(|_| true)).err().unwrap();
            let message = error.to_string();
            assert!(message.contains(&format!("is {kind} video")), "{message}");
            assert!(message.contains("ffmpeg -i") && message.contains("drive.mjpeg"), "{message}");
        }
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
