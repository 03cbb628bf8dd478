"""How well a student says what its teachers say, on pictures that it has not learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from idse.importance.smoothing import binomial
from idse.learned.student.examples import to_macroblocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.learned.student.examples import Example
    from idse.learned.student.network import StudentNetwork

FloatArray = npt.NDArray[np.float64]

# `idse.allocation.OffsetPolicy.alpha`, and QP per doubling of the distortion.
_ALPHA, _QP = 0.5, 3.0


def predict(network: StudentNetwork, examples: Sequence[Example]) -> list[FloatArray]:
    """Return each example's map per macroblock, ``(heads, mb_rows, mb_columns)``."""
    found = []
    with torch.inference_mode():
        for item in examples:
            log_map = network(torch.from_numpy(item.planes.astype(np.float32))[None])
            rows, columns = item.blocks.shape[1:]
            found.append(to_macroblocks(log_map, (rows, columns))[0].double().numpy())
    return found


def rank_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return Spearman's coefficient of two arrays; 0 where one is constant."""
    x, y = (np.argsort(np.argsort(values, axis=None)).astype(float) for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / scale) if scale > 0 else 0.0


def level(log_map: FloatArray) -> float:
    """Return the logarithm of a map's mean importance."""
    return float(np.log(np.exp(log_map).mean()))


def steering_gain(log_maps: Sequence[FloatArray], truth: Sequence[FloatArray]) -> float:
    """Return how much distortion steering by maps is expected to save at equal rate, in nepers.

    At high rate bits fall linearly and distortion doubles every 3 QP. Offsets are what
    `idse.allocation.Allocator` makes of the maps of a whole set, and errors are weighed by the
    truth.
    """
    mean = np.concatenate([np.exp(item).ravel() for item in log_maps]).mean()
    fields = [
        binomial(-_QP * np.log2((np.exp(item) + _ALPHA * mean) / (mean + _ALPHA * mean)))
        for item in log_maps
    ]
    offsets = np.concatenate([field.ravel() for field in fields])
    weight = np.concatenate([np.exp(item).ravel() for item in truth])
    offsets -= offsets.mean()
    return float(-np.log((weight * 2 ** (offsets / _QP)).sum() / weight.sum()))


def judge(network: StudentNetwork, examples: Sequence[Example], head: int) -> dict[str, float]:
    """Compare one head with its teacher on pictures of one kind.

    Returns
    -------
    dict
        ``pictures``; ``rank``, the mean rank correlation of macroblocks within a picture;
        ``levels``, that of the pictures' mean importance; ``gain_kept``, the share of
        `steering_gain` by the teacher's own maps that is left.
    """
    maps = [item[head] for item in predict(network, examples)]
    return compare(maps, [item.blocks[head].astype(float) for item in examples])


def compare(maps: Sequence[FloatArray], truth: Sequence[FloatArray]) -> dict[str, float]:
    """Compare maps with the truth; see `judge`."""
    ranks = [rank_correlation(a, b) for a, b in zip(maps, truth, strict=True)]
    levels = [np.array([level(item) for item in found]) for found in (maps, truth)]
    best = steering_gain(truth, truth)
    return {
        "pictures": len(maps),
        "rank": float(np.mean(ranks)),
        "levels": rank_correlation(*levels),
        "gain_kept": steering_gain(maps, truth) / best if best > 0 else 0.0,
    }
