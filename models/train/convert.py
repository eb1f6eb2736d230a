"""From trained weights to the int8 network and the golden picture of a model's folder."""

import argparse
from pathlib import Path

import golden
from catalogue import read, split
from int8 import float_tflite, quantise
from network import FLOAT_FILE, load
from ship import calibration_pixels


def main() -> None:
    arguments = parse_arguments()
    training, _ = split(read(arguments.data), arguments.licence == "permissive")
    network, recipe = load(arguments.work / FLOAT_FILE)
    size = recipe["size"]
    content = quantise(float_tflite(network, size), calibration_pixels(training, size))
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "model.tflite").write_bytes(content)
    golden.write(arguments.golden, arguments.output)


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
