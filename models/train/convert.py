"""From trained weights to int8: every fold's network into the work folder, the one of all sources into the model's."""

import argparse
from pathlib import Path

import golden
from catalogue import FOLDS, SHIPPED, read, training_rows
from int8 import float_tflite, quantise
from network import load, weights_file
from ship import calibration_pixels


def main() -> None:
    arguments = parse_arguments()
    photos = read(arguments.data)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for fold in (*sorted(set(FOLDS.values())), SHIPPED):
        weights = weights_file(arguments.work, fold, arguments.licence)
        file = int8_file(weights)
        if not file.exists():
            network, recipe = load(weights)
            known = [photos[row] for row in training_rows(photos, fold, arguments.licence == "permissive")]
            size = recipe["size"]
            file.write_bytes(quantise(float_tflite(network, size), calibration_pixels(known, size)))
    (arguments.output / "model.tflite").write_bytes(file.read_bytes())
    golden.write(arguments.golden, arguments.output)


def int8_file(weights: Path) -> Path:
    """The int8 form of a network, beside its weights."""
    return weights.with_suffix(".tflite")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and SOURCES.csv")
    parser.add_argument("--golden", type=Path, required=True, help="Tux Paint's firetruck.png")
    parser.add_argument("--work", type=Path, required=True, help="where fit.py left the weights")
    parser.add_argument("--output", type=Path, required=True, help="the model's folder")
    parser.add_argument("--licence", choices=["all", "permissive"], default="all", help="as given to fit.py")
    return parser.parse_args()


if __name__ == "__main__":
    main()
