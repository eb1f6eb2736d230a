"""Learning: a linear head on fixed features first, then the network itself from there.

Starting the fine-tuning from a head that already fits keeps the published features from being
torn up by the gradients of a random one (Kumar et al. 2022), which is what new streets need. Going
only part of the way to the tuned weights keeps more of them (Wortsman et al. 2022).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from augment import Augmenter
from catalogue import LABELS, Photo, balanced_weights, labels, sources
from network import FEATURES, Network
from pictures import Pixels

SEEN_FILE = "seen.npz"
"""In the work folder: `rows` of the training photos and `inputs`, what the published trunk says of them unharmed."""
BATCH = 64
CHECKPOINT_STEPS = 10
HEAD_PENALTY = 2e-2
COPY_WEIGHT = 0.1
"""Of an augmented copy in the head, against 1 for the photo: more helps at night and costs by day."""
HEAD_ROUNDS = 60
GRADIENT_MAX = 5.0
WARM_UP = 0.1
STEP_SEEDS = VIEW_SEEDS = 1_000_003


@dataclass(frozen=True)
class Plan:
    """One fine-tuning run."""

    size: int = 160
    frozen_blocks: int = 12
    steps: int = 0
    trunk_rate: float = 1e-4
    head_rate: float = 3e-4
    weight_decay: float = 0.02
    average: float = 0.98
    blend: float = 0.5
    smoothing: float = 0.1
    mixup: float = 0.2
    strong: bool = True
    source_cap: float = 1.5
    seed: int = 1


def clean(pixels: Pixels, size: int) -> Tensor:
    """Pictures as the network takes them, without any augmentation."""
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    if batch.shape[-1] != size:
        batch = functional.interpolate(batch, size=(size, size), mode="bilinear", antialias=True).round()
    return ((batch - 127) / 128).contiguous(memory_format=torch.channels_last)


CLEAN = 0
"""The view without any augmentation."""


@torch.inference_mode()
def features(
    network: Network, pixels: Pixels, rows: NDArray[np.int64], size: int, folder: Path, view: int = CLEAN, seed: int = 0
) -> NDArray[np.float32]:
    """What the trunk says of one view of those rows of `pixels`; what `folder` already holds is not computed again."""
    network.eval()
    folder.mkdir(parents=True, exist_ok=True)
    # The augmented pictures of a batch share strengths and cover each other: not all of one label and source.
    order = np.random.default_rng([seed, view]).permutation(len(rows)) if view else np.arange(len(rows))
    starts = range(0, len(rows), BATCH)
    for at in starts:
        file = folder / f"{at}.npy"
        if not file.exists():
            batch = pixels[np.ascontiguousarray(rows[order[at : at + BATCH]])]
            pictures = augmented(batch, size, seed, view, at) if view else clean(batch, size)
            np.save(file, network.features(pictures).numpy())
    found = np.concatenate([np.load(folder / f"{at}.npy") for at in starts])
    return found[np.argsort(order)]


def augmented(batch: Pixels, size: int, seed: int, view: int, at: int) -> Tensor:
    """One view of a batch as the road might have shown it; the same for the same numbers."""
    return Augmenter(size, (seed * VIEW_SEEDS + view) * VIEW_SEEDS + at)(torch.from_numpy(batch))


def linear_head(views: Sequence[NDArray[np.float32]], photos: Sequence[Photo]) -> nn.Linear:
    """Balanced logistic regression on the features of the photos and, after them, of their augmented copies."""
    balanced = balanced_weights(photos, Plan.source_cap)
    weights = np.concatenate([balanced * (COPY_WEIGHT if view else 1) for view in range(len(views))])
    own = np.tile(labels(photos), len(views))
    torch.manual_seed(0)
    head = nn.Linear(FEATURES, len(LABELS))
    nn.init.zeros_(head.weight)
    given, wanted = torch.from_numpy(np.concatenate(views)), torch.from_numpy(own)
    share = torch.from_numpy(weights / weights.sum()).float()
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=HEAD_ROUNDS, line_search_fn="strong_wolfe")

    def surprise() -> Tensor:
        optimiser.zero_grad()
        loss = (functional.cross_entropy(head(given), wanted, reduction="none") * share).sum()
        loss = loss + HEAD_PENALTY * head.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(surprise)
    return head


def doubtful(
    inputs: NDArray[np.float32], photos: Sequence[Photo], own_below: float, other_above: float
) -> NDArray[np.bool_]:
    """Photos whose label a head that never saw their source contradicts with confidence."""
    own, names = labels(photos), sources(photos)
    found = np.zeros(len(photos), bool)
    for source in np.unique(names):
        rest = np.flatnonzero(names != source)
        head = linear_head([inputs[rest]], [photos[index] for index in rest])
        there = np.flatnonzero(names == source)
        with torch.inference_mode():
            sure = head(torch.from_numpy(inputs[there])).softmax(1).numpy()
        found[there] = (sure[np.arange(len(there)), own[there]] < own_below) & (sure.max(1) > other_above)
    return found


class Tuning:
    """Fine-tuning that can be cut at any step and taken up again, with the same result."""

    def __init__(
        self, network: Network, pixels: Pixels, rows: NDArray[np.int64], photos: Sequence[Photo], plan: Plan
    ) -> None:
        """`rows` says where in `pixels` each photo is."""
        self._pixels, self._rows, self._plan = pixels, rows, plan
        self._own = torch.from_numpy(labels(photos))
        self._weights = balanced_weights(photos, plan.source_cap)
        self._network = network.eval()
        network.freeze(plan.frozen_blocks)
        head = list(network.head.parameters())
        trunk = [parameter for parameter in network.trunk.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.AdamW(
            [{"params": trunk, "peak": plan.trunk_rate}, {"params": head, "peak": plan.head_rate}],
            weight_decay=plan.weight_decay,
        )
        self._start = {name: value.clone() for name, value in network.state_dict().items()}
        self._mean = {name: value.clone() for name, value in self._start.items()}
        self._step = 0

    def run(self, checkpoint: Path) -> Network:
        """Train to the end of the plan; gives the network part of the way to the averaged weights."""
        self._resume(checkpoint)
        while self._step < self._plan.steps:
            loss = self._learn()
            self._step += 1
            self._average()
            if self._step % CHECKPOINT_STEPS == 0 or self._step == self._plan.steps:
                self._save(checkpoint)
                print(f"{checkpoint.stem}: step {self._step} of {self._plan.steps}, loss {loss:.3f}", flush=True)
        return self.blended(self._plan.blend)

    def blended(self, share: float) -> Network:
        """The network that share of the way from the weights it began with to the averaged ones."""
        between = {name: torch.lerp(value, self._mean[name], share) for name, value in self._start.items()}
        self._network.load_state_dict(between)
        return self._network

    def _learn(self) -> float:
        seed = self._plan.seed * STEP_SEEDS + self._step
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(len(self._own), BATCH, p=self._weights))
        pictures = Augmenter(self._plan.size, seed, self._plan.strong)(
            torch.from_numpy(self._pixels[self._rows[chosen]])
        )
        wanted = functional.one_hot(self._own[chosen], len(LABELS)).float()
        if self._plan.mixup:
            share = float(random.beta(self._plan.mixup, self._plan.mixup))
            order = torch.from_numpy(random.permutation(BATCH))
            pictures = pictures * share + pictures[order] * (1 - share)
            wanted = wanted * share + wanted[order] * (1 - share)
        self._set_rates()
        self._optimiser.zero_grad()
        loss = functional.cross_entropy(self._network(pictures), wanted, label_smoothing=self._plan.smoothing)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.trainable(), GRADIENT_MAX)
        self._optimiser.step()
        return float(loss.detach())

    def _set_rates(self) -> None:
        """Up over the first tenth, then down along a cosine."""
        done = self._step / self._plan.steps
        factor = min(1.0, (self._step + 1) / (WARM_UP * self._plan.steps)) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * factor

    def _average(self) -> None:
        """An exponential mean of the weights, short at first so that the start is forgotten."""
        keep = min(self._plan.average, self._step / (self._step + 10))
        for name, value in self._network.state_dict().items():
            if value.is_floating_point():
                self._mean[name].lerp_(value, 1 - keep)

    def _save(self, checkpoint: Path) -> None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        unfinished = checkpoint.with_suffix(".part")
        torch.save(
            {
                "plan": self._plan.__dict__,
                "step": self._step,
                "network": self._network.state_dict(),
                "mean": self._mean,
                "optimiser": self._optimiser.state_dict(),
            },
            unfinished,
        )
        unfinished.rename(checkpoint)

    def _resume(self, checkpoint: Path) -> None:
        if not checkpoint.exists():
            return
        state = torch.load(checkpoint, weights_only=True)
        if state["plan"] != self._plan.__dict__:
            raise ValueError(f"{checkpoint} is of another plan")
        self._step, self._mean = state["step"], state["mean"]
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
