"""Figures of a classifier from its logits: accuracy, confusion, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogue import LABELS, Photo, labels, sources

BINS = 15
TEMPERATURES = np.round(np.arange(0.4, 5.01, 0.02), 2)
CAR, SUV = LABELS.index("car"), LABELS.index("suv")

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Calibration:
    """Per bin of confidence: how many answers, their mean confidence, the share that is right."""

    error: float
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]


def softmax(logits: Logits, temperature: float = 1.0) -> NDArray[np.float64]:
    scaled = logits.astype(np.float64) / temperature
    raised = np.exp(scaled - scaled.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def top1(logits: Logits, own: NDArray[np.int64]) -> float:
    return float((logits.argmax(1) == own).mean())


def top1_suv_as_car(logits: Logits, own: NDArray[np.int64]) -> float:
    answered, wanted = logits.argmax(1), own.copy()
    answered[answered == SUV] = CAR
    wanted[wanted == SUV] = CAR
    return float((answered == wanted).mean())


def confusion(logits: Logits, own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts by label (rows) and answer (columns)."""
    table = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(table, (own, logits.argmax(1)), 1)
    return table


def recall(table: NDArray[np.int64]) -> NDArray[np.float64]:
    return table.diagonal() / np.maximum(table.sum(1), 1)


def precision(table: NDArray[np.int64]) -> NDArray[np.float64]:
    return table.diagonal() / np.maximum(table.sum(0), 1)


def macro(table: NDArray[np.int64]) -> float:
    return float(recall(table)[table.sum(1) > 0].mean())


def fit_temperature(logits: Logits, own: NDArray[np.int64]) -> float:
    """The temperature under which the photos' own labels are the most likely."""
    at = np.arange(len(own))
    surprise = [-np.log(softmax(logits, t)[at, own] + 1e-9).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(surprise))])


def foreign_confidences(logits: Logits, photos: Sequence[Photo]) -> NDArray[np.float64]:
    """Probabilities per photo under a temperature fitted without that photo's source."""
    own, names = labels(photos), sources(photos)
    found = np.zeros(logits.shape)
    for source in np.unique(names):
        there = names == source
        found[there] = softmax(logits[there], fit_temperature(logits[~there], own[~there]))
    return found


def calibration(probabilities: NDArray[np.float64], own: NDArray[np.int64]) -> Calibration:
    """The expected calibration error over bins of equal width."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == own
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = np.maximum(counts, 1)
    mean = np.bincount(bins, confidence, BINS) / filled
    share = np.bincount(bins, right, BINS) / filled
    error = float((counts * np.abs(mean - share)).sum() / counts.sum())
    return Calibration(error, counts, mean, share)
