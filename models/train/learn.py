"""Learning: a linear head on the published features, then the upper blocks of the network from there.

Starting the fine-tuning from a head that already fits keeps the published features from being
torn up by the gradients of a random one (Kumar et al. 2022), which is what new streets need. Going
only part of the way to the tuned weights keeps more of them (Wortsman et al. 2022).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from catalogue import LABELS, Photo, balanced_weights, labels
from network import FEATURES, Network, half_precision
from views import View, as_maps

BATCH = 64
HEAD_PENALTY = 2e-2
COPY_WEIGHT = 0.1
"""Of an augmented copy in the head, against 1 for the photo: more helps at night and costs by day."""
HEAD_ROUNDS = 60
GRADIENT_MAX = 5.0
WARM_UP = 0.05
SOURCE_CAP = 1.5
STEP_SEEDS = 1_000_003


@dataclass(frozen=True)
class Plan:
    """One fine-tuning run."""

    steps: int = 300
    trunk_rate: float = 1e-4
    head_rate: float = 3e-4
    weight_decay: float = 0.02
    clean_share: float = 0.3
    """Of the pictures drawn; the others are augmented copies."""
    average: float = 0.99
    blend: float = 0.8
    smoothing: float = 0.1
    seed: int = 1


def linear_head(views: Sequence[NDArray[np.float32]], photos: Sequence[Photo]) -> nn.Linear:
    """Balanced logistic regression on the vectors of the photos and, after them, of their augmented copies."""
    balanced = balanced_weights(photos, SOURCE_CAP)
    weights = np.concatenate([balanced * (COPY_WEIGHT if view else 1) for view in range(len(views))])
    torch.manual_seed(0)
    head = nn.Linear(FEATURES, len(LABELS))
    nn.init.zeros_(head.weight)
    given = torch.from_numpy(np.concatenate(views))
    wanted = torch.from_numpy(np.tile(labels(photos), len(views)))
    share = torch.from_numpy(weights / weights.sum()).float()
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=HEAD_ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = (functional.cross_entropy(head(given), wanted, reduction="none") * share).sum() + HEAD_PENALTY * head.weight.square().sum()
        total.backward()
        return total

    optimiser.step(loss)
    return head


class InFull(nn.Module):
    """A layer that is slower in half precision than in full: the backward pass of depthwise convolutions."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, given: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.layer(given.float())


def tune(network: Network, views: Sequence[View], photos: Sequence[Photo], plan: Plan) -> None:
    """Train the upper blocks and the head of `network` on the kept maps of its lower blocks."""
    wanted, weights = torch.from_numpy(labels(photos)), balanced_weights(photos, SOURCE_CAP)
    upper = network.upper_parameters()
    parameters = [*upper, *network.head.parameters()]
    optimiser = torch.optim.AdamW(
        [{"params": upper, "peak": plan.trunk_rate}, {"params": network.head.parameters(), "peak": plan.head_rate}],
        weight_decay=plan.weight_decay,
    )
    start = [parameter.detach().clone() for parameter in parameters]
    mean = [value.clone() for value in start]
    for block in network.upper_blocks():
        block._depthwise_conv = InFull(block._depthwise_conv)
    for step in range(plan.steps):
        random = np.random.default_rng(plan.seed * STEP_SEEDS + step)
        rows = random.choice(len(photos), BATCH, p=weights)
        _set_rates(optimiser, plan, step)
        optimiser.zero_grad()
        logits = network.head(_vectors(network, _drawn(views, rows, plan, random)))
        loss = functional.cross_entropy(logits, wanted[rows], label_smoothing=plan.smoothing)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, GRADIENT_MAX)
        optimiser.step()
        # An exponential mean of the weights, short at first so that the start is forgotten.
        keep = min(plan.average, step / (step + 10))
        with torch.no_grad():
            for value, parameter in zip(mean, parameters, strict=True):
                value.lerp_(parameter, 1 - keep)
    for block in network.upper_blocks():
        block._depthwise_conv = block._depthwise_conv.layer
    with torch.no_grad():
        for parameter, first, last in zip(parameters, start, mean, strict=True):
            parameter.copy_(torch.lerp(first, last, plan.blend))


def _drawn(views: Sequence[View], rows: NDArray[np.int64], plan: Plan, random: np.random.Generator) -> Tensor:
    """For each row the photo itself or one of its copies."""
    copies = random.integers(1, max(2, len(views)), len(rows))
    chosen = np.where((random.random(len(rows)) < plan.clean_share) | (len(views) == 1), 0, copies)
    return as_maps(np.stack([views[which].maps[row] for which, row in zip(chosen, rows, strict=True)]))


def _vectors(network: Network, maps: Tensor) -> Tensor:
    with half_precision():
        vectors = network.upper(maps.contiguous(memory_format=torch.channels_last))
    return vectors.float()


def _set_rates(optimiser: torch.optim.Optimizer, plan: Plan, step: int) -> None:
    """Up over the first steps, then down along a cosine."""
    factor = min(1.0, (step + 1) / (WARM_UP * plan.steps)) * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor
