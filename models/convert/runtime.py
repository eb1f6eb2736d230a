"""Running an int8 model, and what goes into its input tensor.

The tensor is NHWC with scale 1/128 and zero point -1, so a caller fills it with `pixel - 128` and the
network sees `(pixel - 127) / 128`, what the EfficientNet-Lite family was trained on.
"""

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from pictures import Pixels

INPUT_SCALE = 1 / 128
INPUT_ZERO_POINT = -1
THREADS = 1


def normalise(pixels: Pixels) -> NDArray[np.float32]:
    """What the float network takes for these pixels, in the same layout."""
    return (pixels.astype(np.float32) - 127) / 128


class Int8Model:
    """An int8 classifier on one interpreter."""

    def __init__(self, model: bytes) -> None:
        self._interpreter = Interpreter(model_content=model, num_threads=THREADS)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        if self._input["quantization"] != (INPUT_SCALE, INPUT_ZERO_POINT):
            raise ValueError(f"input quantisation is {self._input['quantization']}")
        self.output_scale, self.output_zero_point = self._output["quantization"]

    def invoke(self, tensor: NDArray[np.int8]) -> NDArray[np.int8]:
        """The quantised logits for one height x width x 3 tensor."""
        self._interpreter.set_tensor(self._input["index"], tensor[None])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])[0]

    def logits(self, pixels: Pixels) -> NDArray[np.float32]:
        """The logits for a stack of pictures: count x classes."""
        tensors = (pixels ^ 0x80).view(np.int8)
        quantised = np.stack([self.invoke(tensor) for tensor in tensors])
        return (quantised.astype(np.float32) - self.output_zero_point) * self.output_scale
