//! What the unit needs from its configuration before it can run: read, checked and handed to `serve`. `config check` and
//! `doctor` read the same things, so that they refuse what `serve` cannot use.

use std::path::Path;

use crate::auth::Key;
use crate::capture::{self, SourceSpec};
use crate::classifier::{LoadedDetector, LoadedModel};
use crate::config::{Loaded, TrafficConfig};
use crate::daemon::{capture_settings, load_detector, load_model, redis_settings, tls};
use crate::error::{Error, ErrorKind, Result};

/// What a start-up check does not depend on: the id of no unit.
const ANY_UNIT: &str = "unit";

/// The parts that come from files which the configuration names.
pub struct Startup {
    pub capture: capture::CaptureSettings,
    pub model: LoadedModel,
    /// Only for a source of video, and only where one is configured.
    pub detector: Option<LoadedDetector>,
}

impl Startup {
    /// Reads the parts. Nothing is written, and the state directory may be missing.
    ///
    /// # Errors
    /// Config, naming the key and the reason.
    pub fn read(loaded: &Loaded, state_directory: &Path) -> Result<Self> {
        let config = &loaded.config;
        if !config.auth.secret_key.is_empty() {
            Key::from_secret(&config.auth.secret_key)?;
        }
        tls::existing(&config.api.tls, state_directory)?;
        if !config.sync.redis_url.is_empty() {
            redis_settings(&config.sync, ANY_UNIT)?;
        }
        let capture = capture_settings(loaded).map_err(|error| refused("capture.source", &error))?;
        let model = load_model(loaded, state_directory).map_err(|error| refused("classifier.model", &error))?;
        let named = config.traffic.detector != TrafficConfig::default().detector;
        let detector = if is_video(&capture.source) || named {
            load_detector(loaded).map_err(|error| refused("traffic.detector", &error))?
        } else {
            None
        };
        Ok(Self { capture, model, detector })
    }
}

/// A directory of pictures shows no motion.
pub(super) fn is_video(source: &SourceSpec) -> bool {
    match source {
        SourceSpec::None => false,
        SourceSpec::Replay(replay) => !replay.path.is_dir(),
        SourceSpec::V4l2(_) => true,
    }
}

fn refused(key: &str, error: &Error) -> Error {
    if error.kind() == ErrorKind::Config {
        return Error::config(error.chain());
    }
    Error::config(format!("Bad value for `{key}`: {}", error.chain()))
}
