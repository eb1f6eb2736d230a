//! `manifest.json`: what a model expects, what its outputs mean, and how to tell that it works on this device.

use serde::Deserialize;
use serde_json::Value;

use crate::classifier::detector::is_detection;
use crate::error::{Error, Result};
use crate::frame::Fit;

/// The manifest layout this program reads.
pub(super) const SCHEMA_VERSION: u32 = 1;
/// Larger inputs or outputs than any model this product can use; bounds what a foreign manifest makes us allocate.
pub(super) const SIDE_MAX: u32 = 2_048;
const CLASSES_MAX: usize = 65_536;

#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    pub schema_version: u32,
    /// Letters, digits and `-`; also the directory's name.
    pub name: String,
    pub version: String,
    pub description: String,
    pub licence: String,
    pub source: String,
    /// The model file beside the manifest.
    pub file: String,
    /// Hex SHA-256 of the model file.
    pub sha256: String,
    pub input: Input,
    pub output: Output,
    /// Logits are divided by this before the softmax, so that a confidence of 0.9 is right nine times in ten
    /// (Guo et al. 2017, "On Calibration of Modern Neural Networks").
    pub temperature: f32,
    pub attributes: Vec<Attribute>,
    pub thresholds: Thresholds,
    /// Figures of the model card, passed on as they are.
    #[serde(default)]
    pub accuracy: Value,
    pub golden: Golden,
}

/// The input tensor: `[1, height, width, 3]`, int8, pixel = (value − zero_point) × scale.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub struct Input {
    pub width: u32,
    pub height: u32,
    pub layout: String,
    pub colour: String,
    pub dtype: String,
    pub scale: f32,
    pub zero_point: i32,
    pub fit: Fit,
}

impl Input {
    /// Elements of the tensor.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

/// The output tensor: `[1, classes]`, int8 logits.
#[derive(Clone, Debug, Deserialize)]
pub struct Output {
    pub dtype: String,
    pub classes: usize,
    pub scale: f32,
    pub zero_point: i32,
    pub kind: String,
}

/// One thing the model tells of a picture, such as `type` or `color`.
#[derive(Clone, Debug, Deserialize)]
pub struct Attribute {
    pub name: String,
    pub labels: Vec<String>,
    /// Output indices whose probabilities are summed, one list a label.
    pub groups: Vec<Vec<usize>>,
    /// The label that takes every output no group names.
    #[serde(default)]
    pub rest: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Thresholds {
    /// A track's consensus below this confidence is `unclassified`.
    pub unclassified_below: f32,
    /// Crops with a shorter side in pixels are not classified.
    pub crop_min_px: u32,
}

/// What proves the model on a device.
#[derive(Clone, Debug, Deserialize)]
pub struct Golden {
    pub picture: GoldenPicture,
    pub pattern: GoldenPattern,
}

/// A photograph and its expected answer: proves decoding, resizing, quantisation, labels.
#[derive(Clone, Debug, Deserialize)]
pub struct GoldenPicture {
    pub file: String,
    pub sha256: String,
    /// Attribute → label.
    pub expected: std::collections::BTreeMap<String, String>,
    pub confidence_min: f32,
}

/// A generated tensor and the recorded highest outputs: proves runtime and weights, with nothing else in between.
#[derive(Clone, Debug, Deserialize)]
pub struct GoldenPattern {
    /// Only `multiplicative-v1`, see [`GoldenPattern::tensor`].
    pub name: String,
    pub top: Vec<GoldenLogit>,
    /// Allowed difference of each recorded output in quantisation steps: runtimes round differently.
    pub tolerance: i32,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct GoldenLogit {
    pub index: usize,
    /// The int8 output.
    pub logit: i32,
}

impl GoldenPattern {
    /// `multiplicative-v1`: element i is bits 24…31 of i × 2654435761 (Knuth's multiplicative hash), minus 128.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "eight bits are kept on purpose")]
    pub fn tensor(elements: usize) -> Vec<i8> {
        (0..elements as u64).map(|i| ((i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ 0x80).cast_signed()).collect()
    }
}

impl Manifest {
    /// The labels of the attribute `type`.
    pub fn type_labels(&self) -> impl Iterator<Item = &str> {
        let types = self.attributes.iter().filter(|attribute| attribute.name == Self::TYPE);
        types.flat_map(|attribute| &attribute.labels).map(String::as_str)
    }

    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// Validation, naming the field and the reason.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if is_detection(json) {
            let message = "This model finds vehicles and cannot tell their types; name it in traffic.detector, not as the classifier.";
            return Err(Error::validation(message));
        }
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|cause| Error::validation(format!("The manifest is not usable: {cause}.")))?;
        match manifest.problem() {
            Some(problem) => Err(Error::validation(format!("The manifest is not usable: {problem}."))),
            None => Ok(manifest),
        }
    }

    /// The attribute every vehicle model must have.
    pub const TYPE: &'static str = "type";

    fn problem(&self) -> Option<String> {
        if self.schema_version != SCHEMA_VERSION {
            return Some(format!("schema_version is {} and this program reads {SCHEMA_VERSION}", self.schema_version));
        }
        if !is_name(&self.name) || !is_name(&self.version.replace('.', "-")) {
            return Some("name and version take only letters, digits, - and, in versions, dots".into());
        }
        if [&self.file, &self.golden.picture.file].into_iter().any(|file| !is_file_name(file)) {
            return Some("file names must be plain names beside the manifest".into());
        }
        self.tensor_problem().or_else(|| self.meaning_problem())
    }

    fn tensor_problem(&self) -> Option<String> {
        let (input, output) = (&self.input, &self.output);
        if !(1..=SIDE_MAX).contains(&input.width) || !(1..=SIDE_MAX).contains(&input.height) {
            return Some(format!("input.width and input.height must be from 1 to {SIDE_MAX}"));
        }
        if (input.layout.as_str(), input.colour.as_str(), input.dtype.as_str()) != ("NHWC", "RGB", "int8") {
            return Some("input must be NHWC, RGB, int8".into());
        }
        // The imaging side makes pixel − 128 whatever the scale.
        let positive = |number: f32| number > 0.0 && number.is_finite();
        if !positive(input.scale) || !(-128..=127).contains(&input.zero_point) {
            return Some("input.scale must be positive and input.zero_point fit int8".into());
        }
        if (output.dtype.as_str(), output.kind.as_str()) != ("int8", "logits") {
            return Some("output must be int8 logits".into());
        }
        if !positive(output.scale) || !(1..=CLASSES_MAX).contains(&output.classes) {
            return Some(format!("output.scale must be positive and output.classes from 1 to {CLASSES_MAX}"));
        }
        (!positive(self.temperature)).then(|| "temperature must be positive".into())
    }

    fn meaning_problem(&self) -> Option<String> {
        if !self.attributes.iter().any(|attribute| attribute.name == Self::TYPE) {
            return Some("attributes must hold `type`".into());
        }
        for attribute in &self.attributes {
            let named = &attribute.name;
            if attribute.labels.is_empty() || attribute.labels.len() != attribute.groups.len() {
                return Some(format!("attribute {named} must have labels and one group for each"));
            }
            if attribute.groups.iter().flatten().any(|&index| index >= self.output.classes) {
                return Some(format!("attribute {named} names an output beyond {}", self.output.classes - 1));
            }
            // Its probability would count twice.
            let mut outputs: Vec<_> = attribute.groups.iter().flatten().collect();
            outputs.sort_unstable();
            if let Some(twice) = outputs.windows(2).find(|pair| pair[0] == pair[1]) {
                return Some(format!("attribute {named} names output {} twice", twice[0]));
            }
            if attribute.rest.as_ref().is_some_and(|rest| !attribute.labels.contains(rest)) {
                return Some(format!("attribute {named} has a `rest` that is none of its labels"));
            }
        }
        let pattern = &self.golden.pattern;
        if pattern.name != "multiplicative-v1"
            || pattern.top.is_empty()
            || pattern.top.iter().any(|logit| logit.index >= self.output.classes)
        {
            return Some("golden.pattern must be multiplicative-v1 with recorded outputs".into());
        }
        None
    }
}

pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

pub(super) fn is_file_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.') && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small valid manifest for tests of other modules too.
    pub(crate) fn small() -> Value {
        serde_json::json!({
            "schema_version": 1, "name": "small", "version": "1.0.0", "description": "", "licence": "", "source": "",
            "file": "model.tflite", "sha256": "",
            "input": {"width": 4, "height": 4, "layout": "NHWC", "colour": "RGB", "dtype": "int8", "scale": 0.0078125, "zero_point": -1, "fit": "stretch"},
            "output": {"dtype": "int8", "classes": 4, "scale": 0.1, "zero_point": 0, "kind": "logits"},
            "temperature": 1.0,
            "attributes": [{"name": "type", "labels": ["background", "bus", "car"], "groups": [[], [1], [2, 3]], "rest": "background"}],
            "thresholds": {"unclassified_below": 0.4, "crop_min_px": 32},
            "golden": {"picture": {"file": "golden.jpg", "sha256": "", "expected": {"type": "bus"}, "confidence_min": 0.5},
                       "pattern": {"name": "multiplicative-v1", "top": [{"index": 0, "logit": 0}], "tolerance": 3}}
        })
    }

    fn refused(pointer: &str, value: Value) -> String {
        let mut manifest = small();
        *manifest.pointer_mut(pointer).unwrap() = value;
        Manifest::parse(manifest.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_reason() {
        Manifest::parse(small().to_string().as_bytes()).unwrap();
        for (pointer, value, part) in [
            ("/schema_version", 2.into(), "schema_version is 2"),
            ("/name", "../etc".into(), "name and version"),
            ("/file", "../../etc/passwd".into(), "plain names"),
            ("/input/width", 100_000.into(), "from 1 to 2048"),
            ("/input/dtype", "float32".into(), "NHWC, RGB, int8"),
            ("/attributes/0/groups/2", serde_json::json!([2, 2]), "names output 2 twice"),
            ("/attributes/0/groups/2", serde_json::json!([1, 3]), "names output 1 twice"),
            ("/output/kind", "probabilities".into(), "int8 logits"),
            ("/temperature", 0.into(), "temperature"),
            ("/attributes/0/name", "color".into(), "must hold `type`"),
            ("/attributes/0/groups/2/0", 4.into(), "beyond 3"),
            ("/attributes/0/rest", "van".into(), "`rest`"),
            ("/golden/pattern/name", "random".into(), "multiplicative-v1"),
        ] {
            let message = refused(pointer, value);
            assert!(message.contains(part), "{pointer}: {message}");
        }
        assert!(Manifest::parse(b"{").unwrap_err().to_string().starts_with("The manifest is not usable:"));
    }

    #[test]
    fn the_pattern_is_the_recorded_one() {
        // Computed by hand: 1 × 2654435761 = 0x9E3779B1, its bits 24…31 are 0x9E = 158.
        assert_eq!(GoldenPattern::tensor(2), [-128, 158_i16.wrapping_sub(128) as i8]);
    }
}
