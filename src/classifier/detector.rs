//! A detector's manifest, and boxes from its tensors.
//!
//! NanoDet (Apache-2.0, <https://github.com/RangiLyu/nanodet>) looks at the picture on three grids. Each place of a grid gives
//! a score for every class and, for each side of its box, a distribution over the distance from the place's middle in
//! strides ("generalized focal loss", Li et al. 2020): the distance is its mean.
//!
//! Only the boxes and their scores are used: whether something is a car or a bus is not the detector's to say.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::classifier::manifest::{GoldenPattern, Input, SCHEMA_VERSION, SIDE_MAX, is_file_name, is_name};
use crate::error::{Error, Result};
use crate::frame::Rect;

/// Boxes that overlap more, as intersection over union, are one box.
const SAME_BOX_IOU: f32 = 0.5;
/// Lower scores are noise even to a tracker that follows weak answers.
const SCORE_MIN: f32 = 0.15;
/// Boxes looked at in one picture, best first.
const CANDIDATES_MAX: usize = 400;

/// Something that finds vehicles in an input tensor; a fake makes the pipeline testable without a model.
pub trait Detector {
    /// Boxes in the tensor's pixels, best first, without duplicates.
    ///
    /// # Errors
    /// Internal when the runtime fails; the detector may be used again afterwards.
    fn detect(&mut self, tensor: &[i8]) -> Result<Vec<DetectorBox>>;
}

/// A box that may hold a vehicle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectorBox {
    pub rect: Rect,
    /// Of the best vehicle class, 0…1.
    pub score: f32,
    /// That it is a person, 0…1.
    pub person: f32,
}

/// `manifest.json` of a detector.
#[derive(Clone, Debug, Deserialize)]
pub struct DetectorManifest {
    pub schema_version: u32,
    /// `detection`.
    pub task: String,
    pub name: String,
    pub version: String,
    pub description: String,
    pub licence: String,
    pub source: String,
    pub file: String,
    /// Hex SHA-256 of the model file.
    pub sha256: String,
    pub input: Input,
    pub boxes: Boxes,
    pub golden: DetectorGolden,
}

/// What the outputs `[1, places, classes]` and `[1, places, 4 × bins]` mean.
#[derive(Clone, Debug, Deserialize)]
pub struct Boxes {
    /// Only `distance_bins`.
    pub kind: String,
    /// Pixels between two places of each grid, in the order of the outputs.
    pub strides: Vec<u32>,
    pub classes: usize,
    pub bins: usize,
    pub scores: Quantised,
    pub distances: Quantised,
    /// Classes that are vehicles, with their indices.
    pub vehicles: BTreeMap<String, usize>,
    /// Index of the class that is a person.
    pub person: usize,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Quantised {
    pub scale: f32,
    pub zero_point: i32,
}

/// What proves the detector on a device: [`GoldenPattern`] over the distances.
#[derive(Clone, Debug, Deserialize)]
pub struct DetectorGolden {
    pub pattern: GoldenPattern,
}

impl Boxes {
    /// Places of all grids together.
    #[must_use]
    pub fn places(&self, input: &Input) -> usize {
        self.strides.iter().map(|stride| (input.width / stride * (input.height / stride)) as usize).sum()
    }
}

/// Whether a manifest is a detector's.
pub(super) fn is_detection(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Task {
        task: String,
    }
    serde_json::from_slice::<Task>(json).is_ok_and(|manifest| manifest.task == "detection")
}

impl DetectorManifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// Validation, naming the field and the reason.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|cause| Error::validation(format!("The detector's manifest is not usable: {cause}.")))?;
        match manifest.problem() {
            Some(problem) => Err(Error::validation(format!("The detector's manifest is not usable: {problem}."))),
            None => Ok(manifest),
        }
    }

    fn problem(&self) -> Option<&'static str> {
        let (input, boxes) = (&self.input, &self.boxes);
        if self.schema_version != SCHEMA_VERSION || self.task != "detection" {
            return Some("schema_version must be 1 and task `detection`");
        }
        if !is_name(&self.name) || !is_name(&self.version.replace('.', "-")) || !is_file_name(&self.file) {
            return Some("name, version and file take only letters, digits, - and, but for the name, dots");
        }
        if (input.layout.as_str(), input.colour.as_str(), input.dtype.as_str()) != ("NHWC", "RGB", "int8")
            || !(1..=SIDE_MAX).contains(&input.width)
            || !(1..=SIDE_MAX).contains(&input.height)
        {
            return Some("input must be NHWC, RGB, int8, with sides from 1 to 2048");
        }
        if boxes.kind != "distance_bins" || boxes.strides.is_empty() || boxes.strides.contains(&0) {
            return Some("boxes must be of kind distance_bins with strides above 0");
        }
        let known = boxes.vehicles.values().chain([&boxes.person]).all(|&class| class < boxes.classes);
        if boxes.vehicles.is_empty() || !known || boxes.bins < 2 || boxes.bins > 64 || boxes.classes > 1_024 {
            return Some(
                "boxes must name vehicle classes and a person below `classes` (at most 1024), and 2 to 64 bins",
            );
        }
        let sound = |quantised: &Quantised| quantised.scale > 0.0 && quantised.scale.is_finite();
        if !sound(&boxes.scores) || !sound(&boxes.distances) {
            return Some("the scales of boxes must be positive");
        }
        let pattern = &self.golden.pattern;
        let outputs = boxes.places(input) * boxes.bins * 4;
        if pattern.top.is_empty() || pattern.top.iter().any(|recorded| recorded.index >= outputs) {
            return Some("golden.pattern must hold recorded distances");
        }
        None
    }
}

/// The boxes in the two outputs, best first, without duplicates.
pub(super) fn found(model: &DetectorManifest, scores: &[i8], distances: &[i8]) -> Vec<DetectorBox> {
    let boxes = &model.boxes;
    let score = |q: i8| (i32::from(q) - boxes.scores.zero_point) as f32 * boxes.scores.scale;
    let mut candidates = Vec::new();
    for (place, classes) in scores.chunks_exact(boxes.classes).enumerate() {
        let best = boxes.vehicles.values().filter_map(|&class| classes.get(class)).max().copied().unwrap_or(i8::MIN);
        if score(best) >= SCORE_MIN {
            let person = classes.get(boxes.person).copied().unwrap_or(i8::MIN);
            candidates.push((place, score(best), score(person)));
        }
    }
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
    candidates.truncate(CANDIDATES_MAX);
    let mut kept: Vec<DetectorBox> = Vec::new();
    for (place, score, person) in candidates {
        let Some(rect) = rect_of(model, place, distances) else { continue };
        if kept.iter().all(|other| other.rect.iou(&rect) < SAME_BOX_IOU) {
            kept.push(DetectorBox { rect, score, person });
        }
    }
    kept
}

/// The box of one place.
fn rect_of(model: &DetectorManifest, place: usize, distances: &[i8]) -> Option<Rect> {
    let (x, y, stride) = middle_of(model, place)?;
    let bins = model.boxes.bins;
    let sides = distances.get(place * bins * 4..(place + 1) * bins * 4)?;
    let mut reach = [0.0; 4];
    for (reach, side) in reach.iter_mut().zip(sides.chunks_exact(bins)) {
        let highest = side.iter().max().copied().unwrap_or(0);
        let (mut sum, mut mean) = (0.0, 0.0);
        for (bin, &logit) in side.iter().enumerate() {
            let power = ((f32::from(logit) - f32::from(highest)) * model.boxes.distances.scale).exp();
            sum += power;
            mean += power * bin as f32;
        }
        *reach = mean / sum * stride;
    }
    let [left, top, right, bottom] = reach;
    Some(Rect { left: x - left, top: y - top, right: x + right, bottom: y + bottom })
}

/// Middle of a place and the stride of its grid, in the tensor's pixels.
fn middle_of(model: &DetectorManifest, mut place: usize) -> Option<(f32, f32, f32)> {
    for &stride in &model.boxes.strides {
        let (columns, rows) = ((model.input.width / stride) as usize, (model.input.height / stride) as usize);
        if place < columns * rows {
            let stride = stride as f32;
            return Some((
                ((place % columns) as f32 + 0.5) * stride,
                ((place / columns) as f32 + 0.5) * stride,
                stride,
            ));
        }
        place -= columns * rows;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::{ModelsDirectory, with_detector};

    fn small() -> DetectorManifest {
        let quantised = serde_json::json!({"scale": 0.1, "zero_point": -100});
        let manifest = serde_json::json!({
            "schema_version": 1, "task": "detection", "name": "small", "version": "1.0.0", "description": "", "licence": "",
            "source": "", "file": "model.tflite", "sha256": "",
            "input": {"width": 32, "height": 16, "layout": "NHWC", "colour": "RGB", "dtype": "int8", "scale": 0.0078125, "zero_point": -1, "fit": "pad"},
            "boxes": {"kind": "distance_bins", "strides": [8, 16], "classes": 3, "bins": 4, "scores": {"scale": 0.01, "zero_point": 0},
                      "distances": quantised, "vehicles": {"car": 1, "bus": 2}, "person": 0},
            "golden": {"pattern": {"name": "multiplicative-v1", "top": [{"index": 0, "logit": 0}], "tolerance": 3}}
        });
        DetectorManifest::parse(manifest.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_place_and_its_distances_make_a_box() {
        let model = small();
        // 4 × 2 places of stride 8, then 2 × 1 of stride 16.
        let mut scores = vec![0; 10 * 3];
        let mut distances = vec![-128_i8; 10 * 16];
        scores[9 * 3 + 2] = 80;
        scores[9 * 3] = 30;
        // The last place: its middle is (24, 8). All weight on bin 1 to the left and right, half on 0 and 1 upwards.
        let sides = &mut distances[9 * 16..];
        for (bin, logit) in [(1, 127), (4, 127), (5, 127), (9, 127), (12, 127)] {
            sides[bin] = logit;
        }
        let boxes = found(&model, &scores, &distances);
        assert_eq!(boxes.len(), 1);
        let DetectorBox { rect, score, person } = boxes[0];
        assert!((score - 0.8).abs() < 1e-5 && (person - 0.3).abs() < 1e-5);
        for (value, expected) in [(rect.left, 8.0), (rect.right, 40.0), (rect.top, 0.0), (rect.bottom, 8.0)] {
            assert!((value - expected).abs() < 0.01, "{rect:?}");
        }
    }

    #[test]
    fn overlapping_boxes_become_one_and_the_best_stays() {
        let model = small();
        let mut scores = vec![0; 10 * 3];
        scores[1] = 50;
        scores[3 + 1] = 90;
        // Flat distributions: every box reaches 1.5 strides to each side, neighbours overlap by two thirds: IoU 0.5.
        let boxes = found(&model, &scores, &[0; 10 * 16]);
        assert_eq!(boxes.len(), 1);
        assert!((boxes[0].score - 0.9).abs() < 1e-5);
    }

    #[test]
    fn the_shipped_detector_answers_its_golden_pattern_as_recorded() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let installed = ModelsDirectory::new(root).find("nanodet-vehicles").unwrap();
        assert!(installed.is_detector());
        let refused = installed.load().err().unwrap().to_string();
        assert!(refused.contains("traffic.detector"), "{refused}");
        let model = installed.load_detector().unwrap();
        with_detector(&model, 1, |detector| {
            let pattern = GoldenPattern::tensor(model.manifest.input.elements());
            detector
                .invoke(&pattern, |_, distances| {
                    for recorded in &model.manifest.golden.pattern.top {
                        let off = (i32::from(distances[recorded.index]) - recorded.logit).abs();
                        assert!(off <= model.manifest.golden.pattern.tolerance, "{recorded:?}: off by {off}");
                    }
                })
                .unwrap();
            // Grey all over: nothing there.
            assert!(detector.detect(&vec![0; pattern.len()]).unwrap().iter().all(|found| found.score < 0.5));
        })
        .unwrap();
    }
}
