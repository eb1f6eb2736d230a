//! The TFLite interpreter behind `tflitec`, with the XNNPACK delegate's int8 kernels.
//!
//! The interpreter borrows the model, so both live on the stack of whoever calls [`with_classifier`]: a worker thread, or a
//! command. That needs no unsafe code.

use tflitec::interpreter::{Interpreter, Options};
use tflitec::model::Model;
use tflitec::tensor::{DataType, QuantizationParameters, Tensor};

use crate::classifier::Classifier;
use crate::classifier::detector::{Detector, DetectorBox, DetectorManifest, found};
use crate::classifier::installed::{LoadedDetector, LoadedModel};
use crate::error::{Error, Result};
use crate::logging::through_the_log;

/// What runs the models, for `metadata` and `diagnostics`.
pub const RUNTIME: &str = "TensorFlow Lite with XNNPACK";
/// The quantisation written in a manifest and the one in the model file are the same number printed and parsed again.
const SCALE_TOLERANCE: f32 = 1e-5;

/// One interpreter, owned by one thread.
pub struct TfliteClassifier<'a> {
    interpreter: Interpreter<'a>,
    scale: f32,
    zero_point: i32,
    classes: usize,
}

/// Builds an interpreter for `model` with `threads` threads and hands it to `run`.
///
/// # Errors
/// Validation when the model file does not fit its manifest; internal when the runtime refuses it.
pub fn with_classifier<R>(
    model: &LoadedModel,
    threads: usize,
    run: impl FnOnce(&mut TfliteClassifier<'_>) -> R,
) -> Result<R> {
    with_interpreter(&model.bytes, &model.title(), threads, |interpreter| {
        check_tensors(&interpreter, model)?;
        let output = &model.manifest.output;
        let (scale, zero_point, classes) = (output.scale, output.zero_point, output.classes);
        Ok(run(&mut TfliteClassifier { interpreter, scale, zero_point, classes }))
    })
}

/// The same for a detector.
///
/// # Errors
/// As [`with_classifier`].
pub fn with_detector<R>(
    model: &LoadedDetector,
    threads: usize,
    run: impl FnOnce(&mut TfliteDetector<'_>) -> R,
) -> Result<R> {
    with_interpreter(&model.bytes, &model.title(), threads, |interpreter| {
        let (input, boxes) = (&model.manifest.input, &model.manifest.boxes);
        let unreadable = |cause: tflitec::Error| unreadable(&model.title(), cause);
        let shape = [1, input.height as usize, input.width as usize, 3];
        let given = interpreter.input(0).map_err(unreadable)?;
        check_tensor(&model.title(), "input", &given, &shape, input.scale, input.zero_point)?;
        let places = boxes.places(input);
        let mut outputs = [0, 0];
        let wanted = [("scores", boxes.classes, &boxes.scores), ("distances", boxes.bins * 4, &boxes.distances)];
        for (index, (which, depth, quantised)) in outputs.iter_mut().zip(wanted) {
            // A converter orders the outputs as it likes; their depths tell them apart.
            let second = interpreter.output(0).map_err(unreadable)?.shape().dimensions().last() != Some(&depth);
            *index = usize::from(second);
            let tensor = interpreter.output(*index).map_err(unreadable)?;
            let shape = [1, places, depth];
            check_tensor(&model.title(), which, &tensor, &shape, quantised.scale, quantised.zero_point)?;
        }
        drop(given);
        Ok(run(&mut TfliteDetector { interpreter, model: &model.manifest, outputs }))
    })
}

fn with_interpreter<R>(
    bytes: &[u8],
    named: &str,
    threads: usize,
    run: impl FnOnce(Interpreter<'_>) -> Result<R>,
) -> Result<R> {
    let refused = |what: &str, cause: tflitec::Error| {
        Error::internal(format!("{what} of {named} failed; reinstall the model.")).because(cause.to_string())
    };
    let graph =
        through_the_log(|| Model::from_bytes(bytes)).map_err(|cause| refused("Reading the model file", cause))?;
    let options = Options { thread_count: i32::try_from(threads).unwrap_or(1), is_xnnpack_enabled: true };
    let interpreter = through_the_log(|| {
        let interpreter =
            Interpreter::new(&graph, Some(options)).map_err(|cause| refused("Building the interpreter", cause))?;
        interpreter.allocate_tensors().map_err(|cause| refused("Allocating the tensors", cause))?;
        Ok::<_, Error>(interpreter)
    })?;
    run(interpreter)
}

fn unreadable(named: &str, cause: tflitec::Error) -> Error {
    Error::internal(format!("The tensors of {named} cannot be read.")).because(cause.to_string())
}

/// `tflitec` copies bytes without looking at types, so a model that does not fit its manifest must be found here.
fn check_tensors(interpreter: &Interpreter<'_>, model: &LoadedModel) -> Result<()> {
    let (input, output, named) = (&model.manifest.input, &model.manifest.output, model.title());
    let unreadable = |cause: tflitec::Error| unreadable(&named, cause);
    let shape = [1, input.height as usize, input.width as usize, 3];
    let given = interpreter.input(0).map_err(unreadable)?;
    check_tensor(&named, "input", &given, &shape, input.scale, input.zero_point)?;
    let answer = interpreter.output(0).map_err(unreadable)?;
    check_tensor(&named, "output", &answer, &[1, output.classes], output.scale, output.zero_point)
}

fn check_tensor(
    named: &str,
    which: &str,
    tensor: &Tensor<'_>,
    shape: &[usize],
    scale: f32,
    zero_point: i32,
) -> Result<()> {
    let quantised =
        tensor.quantization_parameters().is_some_and(|QuantizationParameters { scale: s, zero_point: z }| {
            ((s - scale) / scale).abs() < SCALE_TOLERANCE && z == zero_point
        });
    if tensor.data_type() == DataType::Int8 && tensor.shape().dimensions() == shape && quantised {
        return Ok(());
    }
    Err(Error::validation(format!(
        "The {which} of {named} is {:?} {:?} {:?}, but its manifest says int8 {shape:?} with scale {scale} and zero point {zero_point}; reinstall the model.",
        tensor.data_type(),
        tensor.shape().dimensions(),
        tensor.quantization_parameters(),
    )))
}

/// One detector's interpreter, owned by one thread.
pub struct TfliteDetector<'a> {
    interpreter: Interpreter<'a>,
    model: &'a DetectorManifest,
    /// Indices of the outputs `scores` and `distances`.
    outputs: [usize; 2],
}

impl TfliteDetector<'_> {
    /// Hands the two int8 outputs to `read`.
    ///
    /// # Errors
    /// Internal when the runtime fails.
    pub fn invoke<R>(&mut self, tensor: &[i8], read: impl FnOnce(&[i8], &[i8]) -> R) -> Result<R> {
        let failed =
            |cause: tflitec::Error| Error::internal("The detector failed on this picture.").because(cause.to_string());
        self.interpreter.copy(tensor, 0).map_err(failed)?;
        self.interpreter.invoke().map_err(failed)?;
        let [scores, distances] = self.outputs;
        let (scores, distances) =
            (self.interpreter.output(scores).map_err(failed)?, self.interpreter.output(distances).map_err(failed)?);
        Ok(read(scores.data(), distances.data()))
    }
}

impl Detector for TfliteDetector<'_> {
    fn detect(&mut self, tensor: &[i8]) -> Result<Vec<DetectorBox>> {
        let model = self.model;
        self.invoke(tensor, |scores, distances| found(model, scores, distances))
    }
}

impl TfliteClassifier<'_> {
    /// The int8 outputs as they are.
    ///
    /// # Errors
    /// Internal when the runtime fails.
    pub fn invoke_quantised(&mut self, tensor: &[i8]) -> Result<Vec<i8>> {
        let failed = |cause: tflitec::Error| {
            Error::internal("The classifier failed on this picture.").because(cause.to_string())
        };
        self.interpreter.copy(tensor, 0).map_err(failed)?;
        self.interpreter.invoke().map_err(failed)?;
        let output = self.interpreter.output(0).map_err(failed)?;
        let values: &[i8] = output.data();
        if values.len() != self.classes {
            return Err(Error::internal("The classifier answered with another number of classes than its manifest."));
        }
        Ok(values.to_vec())
    }
}

impl Classifier for TfliteClassifier<'_> {
    fn invoke(&mut self, tensor: &[i8]) -> Result<Vec<f32>> {
        let quantised = self.invoke_quantised(tensor)?;
        Ok(quantised.into_iter().map(|q| (i32::from(q) - self.zero_point) as f32 * self.scale).collect())
    }
}
