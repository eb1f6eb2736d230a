//! Where frames come from: a source behind one trait, and the supervisor thread that keeps it running.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;

mod jpeg_stream;
mod replay;
mod supervisor;

pub use replay::Replay;
pub use supervisor::{CameraState, CameraWatch, Obscurity, Supervisor};

/// Something that yields frames at its own pace.
pub trait FrameSource: Send {
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
        let rest = text.strip_prefix("replay:").ok_or_else(|| bad("use none or replay:PATH"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.is_empty() {
            return Err(bad("the path is missing"));
        }
        let mut spec = ReplaySpec { path: path.into(), fps: None, repeat: false };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("fps", value)) => {
                    let fps = value.parse().ok().filter(|fps| (0.0..=240.0).contains(fps));
                    spec.fps =
                        Some(fps.ok_or_else(|| bad("fps must be a number from 0 (as fast as possible) to 240"))?);
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
        for (text, reason) in [
            ("file:/x", "use none or replay:PATH"),
            ("replay:", "path is missing"),
            ("replay:/x?fps=-1", "from 0"),
            ("replay:/x?fps=NaN", "from 0"),
            ("replay:/x?speed=2", "it takes fps"),
        ] {
            let message = text.parse::<SourceSpec>().unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }
}
