"""From a PyTorch image classifier to an int8 TFLite file that TFLite 2.17 can read.

The input tensor is NHWC with scale 1/128 and zero point -1, so a caller fills it with `pixel - 128`
and the network sees `(pixel - 127) / 128`, what the EfficientNet-Lite family was trained on.
"""

import flatbuffers
import litert_torch
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe, recipe_manager
from ai_edge_quantizer.utils import qsv_utils

from pictures import Pixels
from runtime import THREADS, normalise

TFLITE_FILE_IDENTIFIER = b"TFL3"


def float_tflite(model: torch.nn.Module, size: int) -> bytes:
    """Export a model that takes NCHW floats as a float TFLite file that takes NHWC floats."""
    channels_last = litert_torch.to_channel_last_io(model, args=[0]).eval()
    return litert_torch.convert(channels_last, (torch.zeros(1, size, size, 3),)).model_content()


def quantise(float_model: bytes, calibration: Pixels) -> bytes:
    """Full int8 with weights per channel, its activation ranges taken from `calibration`."""
    ranges = _activation_ranges(float_model, calibration)
    steps = quantizer.Quantizer(float_model, recipe.static_wi8_ai8())
    return _with_inline_weights(steps.quantize(ranges, enable_progress_report=False).quantized_model)


def _activation_ranges(float_model: bytes, calibration: Pixels) -> dict[str, qtyping.QSV]:
    """The true minimum and maximum of every activation.

    The quantizer's own calibrate() keeps a moving average of them instead, which clips the strong
    activations a confident answer rests on.
    """
    ((signature, tensors),) = Interpreter(model_content=float_model).get_signature_list().items()
    (input_name,) = tensors["inputs"]
    recipes = recipe_manager.RecipeManager()
    recipes.load_quantization_recipe(recipe.static_wi8_ai8())
    observer = calibrator.Calibrator(
        float_model, num_threads=THREADS, qsv_update_func=qsv_utils.min_max_update
    )
    samples = [{input_name: normalise(picture[None])} for picture in calibration]
    observer.calibrate({signature: samples}, recipes)
    ranges = observer.get_model_qsvs()
    _pin_input_range(ranges, float_model)
    return ranges


def _pin_input_range(ranges: dict[str, qtyping.QSV], float_model: bytes) -> None:
    """Give the input the range of all pixels, whatever the calibration pictures hold."""
    interpreter = Interpreter(model_content=float_model)
    input_range = ranges[interpreter.get_input_details()[0]["name"]]
    darkest, brightest = normalise(np.array([0, 255], np.uint8))
    input_range["min"] = np.full_like(input_range["min"], darkest)
    input_range["max"] = np.full_like(input_range["max"], brightest)


def _with_inline_weights(model: bytes) -> bytes:
    """Move weights stored behind the flatbuffer into it.

    The quantizer appends them and refers to them by offset, which TFLite 2.17 cannot read.
    """
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    for buffer in tree.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    builder = flatbuffers.Builder(len(model))
    builder.Finish(tree.Pack(builder), TFLITE_FILE_IDENTIFIER)
    return bytes(builder.Output())
