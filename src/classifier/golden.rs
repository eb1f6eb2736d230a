//! The golden test: a generated tensor with recorded outputs, then a photograph with a known answer. `serve` runs it before
//! READY, `doctor` and `model activate` show it.

use std::time::{Duration, Instant};

use crate::classifier::{
    GoldenLogit, GoldenPattern, LoadedDetector, LoadedModel, PictureClassifier, TfliteDetector, Timings,
    with_classifier,
};
use crate::error::{Error, Result};
use crate::imaging::Limits;

/// A passed golden test.
#[derive(Clone, Debug)]
pub struct GoldenResult {
    /// What the model says of the golden picture.
    pub value: String,
    pub confidence: f32,
    pub timings: Timings,
}

impl GoldenResult {
    #[must_use]
    pub fn took(&self) -> Duration {
        self.timings.total()
    }
}

/// Runs the golden test of `model` on `step`.
///
/// # Errors
/// Validation, saying what was expected and what came.
pub fn golden_test(step: &mut PictureClassifier<'_>, model: &LoadedModel) -> Result<GoldenResult> {
    check_pattern(step, model)?;
    check_picture(step, model)
}

/// Runs the golden test of `model` on an interpreter of its own, before the workers get it.
///
/// # Errors
/// As [`golden_test`], and what building an interpreter said.
pub fn run_golden_test(model: &LoadedModel, threads: usize, limits: Limits) -> Result<GoldenResult> {
    with_classifier(model, threads, |classifier| {
        golden_test(&mut PictureClassifier::new(classifier, &model.manifest, limits), model)
    })?
}

/// Runs the golden pattern of a detector; returns how long it took.
///
/// # Errors
/// Validation, saying what was expected and what came; internal when the runtime fails.
pub fn run_detector_golden_test(detector: &mut TfliteDetector<'_>, model: &LoadedDetector) -> Result<Duration> {
    let begun = Instant::now();
    let pattern = &model.manifest.golden.pattern;
    let off = detector.invoke(&GoldenPattern::tensor(model.manifest.input.elements()), |_, distances| {
        let found = |index: usize| i32::from(distances.get(index).copied().unwrap_or(i8::MIN));
        let off = |recorded: &&GoldenLogit| (found(recorded.index) - recorded.logit).abs() > pattern.tolerance;
        pattern.top.iter().find(off).map(|recorded| (*recorded, found(recorded.index)))
    })?;
    let Some((recorded, found)) = off else { return Ok(begun.elapsed()) };
    Err(Error::validation(format!(
        "{} fails its golden test: output {} of the generated pattern is {found}, recorded is {} ± {}. The runtime or the model is not the one it was made with.",
        model.title(),
        recorded.index,
        recorded.logit,
        pattern.tolerance,
    )))
}

fn check_pattern(step: &mut PictureClassifier<'_>, model: &LoadedModel) -> Result<()> {
    let (pattern, output) = (&model.manifest.golden.pattern, &model.manifest.output);
    let logits = step.invoke(&GoldenPattern::tensor(model.manifest.input.elements()))?;
    for recorded in &pattern.top {
        let found = (logits[recorded.index] / output.scale).round() as i32 + output.zero_point;
        if (found - recorded.logit).abs() > pattern.tolerance {
            return Err(Error::validation(format!(
                "{} fails its golden test: output {} of the generated pattern is {found}, recorded is {} ± {}. The runtime or the model is not the one it was made with.",
                model.title(),
                recorded.index,
                recorded.logit,
                pattern.tolerance,
            )));
        }
    }
    Ok(())
}

fn check_picture(step: &mut PictureClassifier<'_>, model: &LoadedModel) -> Result<GoldenResult> {
    let golden = &model.manifest.golden.picture;
    let answer = step.classify(&model.golden_picture, &golden.file)?;
    for (attribute, expected) in &golden.expected {
        let found = answer.predictions.iter().find(|prediction| &prediction.attribute == attribute);
        if found.is_none_or(|found| &found.value != expected || found.confidence < golden.confidence_min) {
            let said = found.map_or("nothing".to_owned(), |found| format!("{} ({:.2})", found.value, found.confidence));
            return Err(Error::validation(format!(
                "{} fails its golden test: the {attribute} of {} should be {expected} (at least {:.2}), the model says {said}.",
                model.title(),
                golden.file,
                golden.confidence_min,
            )));
        }
    }
    let (value, confidence) =
        answer.of_type().map_or_else(Default::default, |found| (found.value.clone(), found.confidence));
    Ok(GoldenResult { value, confidence, timings: answer.timings })
}
