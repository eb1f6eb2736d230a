//! One classification from encoded bytes to predictions, with the time each stage took.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::classifier::{Classifier, Manifest, predictions};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::imaging::{self, Declared, Limits, Picture, Target, Tensoriser};
use crate::record::{PictureFacts, Prediction};

/// What became of one picture.
#[derive(Clone, Debug)]
pub struct PictureAnswer {
    /// Name and version of the model that answered.
    pub model: String,
    pub model_version: String,
    pub predictions: Vec<Prediction>,
    pub picture: PictureFacts,
    pub timings: Timings,
}

impl PictureAnswer {
    /// The confidence of the `type` prediction, which every manifest has.
    #[must_use]
    pub fn confidence(&self) -> f32 {
        self.of_type().map_or(0.0, |prediction| prediction.confidence)
    }

    /// The `type` prediction.
    #[must_use]
    pub fn of_type(&self) -> Option<&Prediction> {
        self.predictions.iter().find(|prediction| prediction.attribute == Manifest::TYPE)
    }
}

/// Wall time of the stages of one classification.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    pub decode: Duration,
    pub resize: Duration,
    pub invoke: Duration,
}

impl Timings {
    /// Stage names as in the metric label, with their times.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, Duration); 3] {
        [("decode", self.decode), ("resize", self.resize), ("invoke", self.invoke)]
    }

    #[must_use]
    pub fn total(&self) -> Duration {
        self.decode + self.resize + self.invoke
    }
}

/// A classifier with the buffers and limits around it; one a thread.
pub struct PictureClassifier<'a> {
    classifier: &'a mut dyn Classifier,
    manifest: &'a Manifest,
    tensoriser: Tensoriser,
    limits: Limits,
}

impl<'a> PictureClassifier<'a> {
    pub fn new(classifier: &'a mut dyn Classifier, manifest: &'a Manifest, limits: Limits) -> Self {
        Self { classifier, manifest, tensoriser: Tensoriser::default(), limits }
    }

    /// Classifies a picture whose declared name and media type must agree with its content.
    ///
    /// # Errors
    /// Unsupported media type, payload too large or validation for the picture; internal for the runtime.
    pub fn classify_declared(&mut self, bytes: &[u8], declared: &Declared<'_>) -> Result<PictureAnswer> {
        imaging::check_declared(bytes, declared)?;
        self.classify(bytes, &imaging::display_name(declared.file_name))
    }

    /// Classifies a whole picture; `label` names it in messages.
    ///
    /// # Errors
    /// As [`Self::classify_declared`].
    pub fn classify(&mut self, bytes: &[u8], label: &str) -> Result<PictureAnswer> {
        self.guarded(bytes, label, |limits| imaging::decode(bytes, label, limits))
    }

    /// Classifies a whole camera frame.
    ///
    /// # Errors
    /// As [`Self::classify_declared`].
    pub fn classify_frame(&mut self, frame: &Frame) -> Result<PictureAnswer> {
        self.guarded(&frame.bytes, &frame.label, |limits| imaging::decode_frame(frame, limits))
    }

    fn guarded(
        &mut self,
        bytes: &[u8],
        label: &str,
        decode: impl FnOnce(&Limits) -> Result<Picture>,
    ) -> Result<PictureAnswer> {
        // A panic in a decoder must cost one picture, not the worker.
        catch_unwind(AssertUnwindSafe(|| self.run(bytes, decode))).unwrap_or_else(|_| {
            Err(Error::internal(format!(
                "{label}: this picture made the classifier fail; the log of the unit says more."
            )))
        })
    }

    fn run(&mut self, bytes: &[u8], decode: impl FnOnce(&Limits) -> Result<Picture>) -> Result<PictureAnswer> {
        let start = Instant::now();
        let picture = decode(&self.limits)?;
        let sha256 = hex::encode(Sha256::digest(bytes));
        let decoded = Instant::now();
        let input = &self.manifest.input;
        let target = Target { width: input.width, height: input.height, fit: input.fit };
        let tensor = self.tensoriser.tensor(&picture, &target)?;
        let resized = Instant::now();
        let logits = self.classifier.invoke(tensor)?;
        let invoked = Instant::now();
        let timings = Timings { decode: decoded - start, resize: resized - decoded, invoke: invoked - resized };
        let facts = PictureFacts {
            width: picture.width(),
            height: picture.height(),
            format: picture.source().name().to_owned(),
            sha256,
        };
        Ok(PictureAnswer {
            model: self.manifest.name.clone(),
            model_version: self.manifest.version.clone(),
            predictions: predictions(self.manifest, &logits),
            picture: facts,
            timings,
        })
    }

    /// The logits of a tensor as it is, for the golden test.
    ///
    /// # Errors
    /// Internal when the runtime fails.
    pub fn invoke(&mut self, tensor: &[i8]) -> Result<Vec<f32>> {
        self.classifier.invoke(tensor)
    }
}
