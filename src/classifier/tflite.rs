//! The TFLite interpreter behind `tflitec`, with the XNNPACK delegate's int8 kernels.
//!
//! The interpreter borrows the model, so both live on the stack of whoever calls [`with_classifier`]: a worker thread, or a
//! command. That needs no unsafe code.

use tflitec::interpreter::{Interpreter, Options};
use tflitec::model::Model;
use tflitec::tensor::{DataType, QuantizationParameters, Tensor};

use crate::classifier::Classifier;
use crate::classifier::installed::LoadedModel;
use crate::error::{Error, Result};

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
    let named = model.title();
    let refused = |what: &str, cause: tflitec::Error| {
        Error::internal(format!("{what} of {named} failed; reinstall the model.")).because(cause.to_string())
    };
    let graph = Model::from_bytes(&model.bytes).map_err(|cause| refused("Reading the model file", cause))?;
    let options = Options { thread_count: i32::try_from(threads).unwrap_or(1), is_xnnpack_enabled: true };
    let interpreter =
        Interpreter::new(&graph, Some(options)).map_err(|cause| refused("Building the interpreter", cause))?;
    interpreter.allocate_tensors().map_err(|cause| refused("Allocating the tensors", cause))?;
    check_tensors(&interpreter, model)?;
    let output = &model.manifest.output;
    let mut classifier =
        TfliteClassifier { interpreter, scale: output.scale, zero_point: output.zero_point, classes: output.classes };
    Ok(run(&mut classifier))
}

/// `tflitec` copies bytes without looking at types, so a model that does not fit its manifest must be found here.
fn check_tensors(interpreter: &Interpreter<'_>, model: &LoadedModel) -> Result<()> {
    let (input, output) = (&model.manifest.input, &model.manifest.output);
    let unreadable = |cause: tflitec::Error| {
        Error::internal(format!("The tensors of {} cannot be read.", model.title())).because(cause.to_string())
    };
    let (height, width) = (input.height as usize, input.width as usize);
    check_tensor(
        model,
        "input",
        &interpreter.input(0).map_err(unreadable)?,
        &[1, height, width, 3],
        input.scale,
        input.zero_point,
    )?;
    check_tensor(
        model,
        "output",
        &interpreter.output(0).map_err(unreadable)?,
        &[1, output.classes],
        output.scale,
        output.zero_point,
    )
}

fn check_tensor(
    model: &LoadedModel,
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
        "The {which} of {} is {:?} {:?} {:?}, but its manifest says int8 {shape:?} with scale {scale} and zero point {zero_point}; reinstall the model.",
        model.title(),
        tensor.data_type(),
        tensor.shape().dimensions(),
        tensor.quantization_parameters(),
    )))
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
