//! Models: their manifests, the interpreter that runs them, and what their outputs mean.

mod active;
mod detector;
mod golden;
#[cfg(test)]
mod golden_set;
mod installed;
mod manifest;
mod picture;
mod prediction;
mod tflite;

pub use active::ActiveModel;
pub use detector::{Detector, DetectorBox, DetectorManifest};
pub use golden::{GoldenResult, golden_test, run_detector_golden_test, run_golden_test};
pub use installed::{InstalledModel, LoadedDetector, LoadedModel, ModelsDirectory, UnusableVersion};
pub use manifest::{Attribute, Golden, GoldenLogit, GoldenPattern, GoldenPicture, Input, Manifest, Output, Thresholds};
pub use picture::{PictureAnswer, PictureClassifier, Timings};
pub use prediction::{predictions, type_probabilities};
pub use tflite::{RUNTIME, TfliteClassifier, TfliteDetector, with_classifier, with_detector};

use crate::error::Result;

/// Something that turns an input tensor into logits; a fake makes the queues testable without a model.
pub trait Classifier {
    /// `tensor`: int8, NHWC, one picture, pixel − 128, as long as the manifest's input asks. Returns one logit an output
    /// class, dequantised.
    ///
    /// # Errors
    /// Internal when the runtime fails; the classifier may be used again afterwards.
    fn invoke(&mut self, tensor: &[i8]) -> Result<Vec<f32>>;
}
