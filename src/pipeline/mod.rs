//! From frames to passages: one thread that takes a camera's frames, and the analyser it runs on them.
//!
//! A live camera never waits: when frames come faster than they can be looked at, the oldest waiting one is dropped. A
//! recording that is replayed as fast as possible waits instead, so that its passages are the same every time.

mod analyser;
mod clip;
mod crops;
mod mailbox;
mod thread;

pub use analyser::{Analyser, AnalyserSettings, Analysis, CropClassifier, Followed, FrameDetector, Stages};
pub use thread::{Intake, NewestAnalysed, Pipeline, PipelineParts};

use crate::classifier::{LoadedDetector, TfliteDetector};
use crate::imaging::Target;

/// A detector with its input's shape.
pub fn frame_detector<'a>(detector: &'a mut TfliteDetector<'_>, model: &LoadedDetector) -> FrameDetector<'a> {
    let input = &model.manifest.input;
    FrameDetector { detector, target: Target { width: input.width, height: input.height, fit: input.fit } }
}
