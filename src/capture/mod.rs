//! Where frames come from: a source behind one trait, and the supervisor thread that keeps it running.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;

mod fault;
mod format;
mod jpeg_stream;
mod picture_health;
mod replay;
mod status;
mod supervisor;
mod v4l2;

pub use fault::{CameraError, CameraFault};
pub use format::{Offer, PixelFormat, RequestedMode, list};
pub use replay::Replay;
pub use status::{CameraState, CameraStatus, Obscurity};
pub use supervisor::{CaptureSettings, Pauses, Supervisor};
pub use v4l2::V4l2;

/// Something that yields frames at its own pace. It lives on the thread that opened it.
pub trait FrameSource {
    /// The next frame, or none when the source has come to its end.
    ///
    /// # Errors
    /// When the source is broken; the supervisor opens it anew after a while.
    fn next(&mut self) -> Result<Option<Frame>>;
}

/// `capture.source`, read.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSpec {
    None,
    Replay(ReplaySpec),
    /// A camera's device, or a link to it.
    V4l2(PathBuf),
}

/// `replay:PATH?fps=N&loop=BOOL`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplaySpec {
    /// A directory of pictures, or a file of concatenated JPEGs.
    pub path: PathBuf,
    /// Frames a second; 0: as fast as they are taken.
    pub fps: Option<f64>,
    pub repeat: bool,
}

impl FromStr for SourceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad =
            |why: &str| Error::new(ErrorKind::Config, format!("Bad value for `capture.source`: {text:?}: {why}."));
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some(device) = text.strip_prefix("v4l2:") {
            let absolute = Some(PathBuf::from(device)).filter(|path| path.is_absolute());
            return absolute.map(Self::V4l2).ok_or_else(|| bad("name the device, such as v4l2:/dev/video0"));
        }
        let rest = text.strip_prefix("replay:").ok_or_else(|| bad("use none, v4l2:/dev/video0 or replay:PATH"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.is_empty() {
            return Err(bad("the path is missing"));
        }
        let mut spec = ReplaySpec { path: path.into(), fps: None, repeat: false };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("fps", value)) => {
                    let fps = value.parse().ok().filter(|fps| *fps == 0.0 || (0.001..=240.0).contains(fps));
                    spec.fps =
                        Some(fps.ok_or_else(|| bad("fps must be 0 (as fast as possible) or from 0.001 to 240"))?);
                }
                Some(("loop", "true")) => spec.repeat = true,
                Some(("loop", "false")) => spec.repeat = false,
                _ => return Err(bad("it takes fps=N and loop=true or loop=false")),
            }
        }
        Ok(Self::Replay(spec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_or_refused_with_a_reason() {
        assert_eq!("none".parse::<SourceSpec>().unwrap(), SourceSpec::None);
        let spec = ReplaySpec { path: "/a b/c".into(), fps: Some(30.0), repeat: true };
        assert_eq!("replay:/a b/c?fps=30&loop=true".parse::<SourceSpec>().unwrap(), SourceSpec::Replay(spec));
        let camera = "v4l2:/dev/v4l/by-id/usb-a:b".parse::<SourceSpec>().unwrap();
        assert_eq!(camera, SourceSpec::V4l2("/dev/v4l/by-id/usb-a:b".into()));
        for (text, reason) in [
            ("file:/x", "use none, v4l2:/dev/video0 or replay:PATH"),
            ("v4l2:", "name the device"),
            ("v4l2:video0", "name the device"),
            ("replay:", "path is missing"),
            ("replay:/x?fps=-1", "from 0"),
            ("replay:/x?fps=1e-300", "from 0"),
            ("replay:/x?fps=NaN", "from 0"),
            ("replay:/x?speed=2", "it takes fps"),
        ] {
            let message = text.parse::<SourceSpec>().unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }
}
