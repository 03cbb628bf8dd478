"""How far a network's result on a coded picture agrees with its result on the source.

What ``--accuracy`` asks for, from 0 to 1:

- *Detectors*: the F-score of the objects found, weighted by confidence. An object counts as found
  again where one of its class overlaps it by at least half (intersection over union); with the
  detector's own threshold. 0.9 says about nine tenths of what was found still is, and little else.
- *Classifiers*: the likeliest class's probability over what it was, at most 1; 0 where another
  class is the likeliest.
- *Anything else*, and detectors on pictures in which they find nothing: 1 minus the squared error
  of the features over their squared length, at least 0.

With several networks it is the least of theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from idse.errors import IdseError, ModelError, describe
from idse.vision.heads import Classification, Detections, Top1, iou_matrix
from idse.vision.threads import one_thread

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.picture import Picture
    from idse.vision import FeatureExtractor

_FOUND_AGAIN = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What a network makes of a picture.

    Attributes
    ----------
    features
        float32 ``(n_f,)``.
    found
        What a detector finds; None for other networks.
    probabilities
        float32 ``(classes,)`` of a classifier; None for other networks.
    """

    features: npt.NDArray[np.float32]
    found: Detections | None = None
    probabilities: npt.NDArray[np.float32] | None = None


def observe(network: FeatureExtractor, picture: Picture) -> Observation:
    """Run a network over a picture.

    Raises
    ------
    ModelError
        The network fails, or its features are not finite.
    """
    outputs: list[Any] = []
    handle = network.module.register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output)
    )
    try:
        with one_thread(), torch.inference_mode():
            features = network.features(network.from_picture(picture))[0].float().cpu().numpy()
            seen = _result(network, picture, outputs)
    except IdseError:
        raise
    # The network is the user's code.
    except Exception as error:
        raise ModelError(f"{network.name} failed: {describe(error)}") from error
    finally:
        handle.remove()
    if not np.isfinite(features).all():
        raise ModelError(f"features of {network.name} are not finite")
    return Observation(features=features, **seen)


def _result(network: FeatureExtractor, picture: Picture, outputs: list[Any]) -> dict[str, Any]:
    """Return what the task's head makes of the output, where the network ran to its end."""
    if network.head is None or not outputs:
        return {}
    (result,) = network.head.decode(outputs[0], [network.geometry(picture.format)])
    if isinstance(result, Detections):
        return {"found": result}
    if isinstance(result, Classification) and isinstance(network.head, Top1):
        return {"probabilities": torch.softmax(outputs[0].float(), 1)[0].cpu().numpy()}
    return {}


def agreement(source: Observation, coded: Observation) -> float:
    """Return how far two observations by one network agree, 0 to 1; see the module."""
    if source.probabilities is not None and coded.probabilities is not None:
        best = int(source.probabilities.argmax())
        if int(coded.probabilities.argmax()) != best:
            return 0.0
        return min(1.0, float(coded.probabilities[best] / source.probabilities[best]))
    if source.found is not None and coded.found is not None and len(source.found):
        return _found_again(source.found, coded.found)
    before = source.features.astype(np.float64)
    length = float(before @ before)
    error = float(np.sum((coded.features - before) ** 2))
    if length == 0:
        return float(error == 0)
    return max(0.0, 1 - error / length)


def _found_again(source: Detections, coded: Detections) -> float:
    """Return the F-score, every object counting as much as its detector is sure of it."""
    overlap = iou_matrix(source.boxes, coded.boxes)
    overlap[source.classes[:, None] != coded.classes[None]] = 0
    kept: list[float] = []
    matched: list[float] = []
    free = np.ones(len(coded), np.bool_)
    for row, score in zip(overlap, source.scores, strict=True):
        candidates = np.where(free, row, 0)
        if candidates.max(initial=0) >= _FOUND_AGAIN:
            match = int(candidates.argmax())
            free[match] = False
            kept.append(float(score))
            matched.append(float(coded.scores[match]))
    # Exact sums: what is found again to the last object is exactly 1.
    recall = math.fsum(kept) / math.fsum(source.scores.tolist())
    total = math.fsum(coded.scores.tolist())
    precision = math.fsum(matched) / total if total > 0 else 0.0
    return 0.0 if recall + precision == 0 else 2 * recall * precision / (recall + precision)
