"""Mean average precision of detections as COCO defines it: AP@[.5:.95], 101 recall points.

Follows the reference evaluation (T.-Y. Lin et al., "Microsoft COCO", ECCV 2014, and its cocoeval):
matching is greedy by falling score, inside one image and class, at every IoU threshold on its own;
at most 100 detections of a class in an image; area range "all"; no crowd regions. Matching is done
once, and resamples of the images only weigh its outcome: a thousand bootstrap draws cost seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.errors import InputError
from idse.vision.heads import Detections, iou_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

# float32 like the overlaps, so that one of exactly 0.95 reaches its threshold.
IOU_THRESHOLDS = (np.arange(50, 100, 5) / 100).astype(np.float32)
PSEUDO_LABEL_SCORE = 0.25
MAX_DETECTIONS = 100
_RECALL_STEPS = 100  # 101 points: 0, 0.01, ..., 1
_AT_ONCE = 1 << 21  # detections times resamples: bounds memory on long videos


def confident(found: Detections, score: float = PSEUDO_LABEL_SCORE) -> Detections:
    """Return the detections that score at least ``score``: on a source, its pseudo-labels."""
    keep = found.scores >= score
    return Detections(found.boxes[keep], found.scores[keep], found.classes[keep])


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """The detections of one picture, matched.

    Attributes
    ----------
    truth
        int64 ``(m,)``: class of every true box.
    classes, scores
        ``(n,)``: class and confidence of every detection that counts, by falling score.
    hits
        bool ``(10, n)``: whether the detection found a true box, per ``IOU_THRESHOLDS``.
    """

    truth: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    hits: npt.NDArray[np.bool_]


def match(truth: Detections, found: Detections) -> Matches:
    """Match the detections of one picture to its true boxes (whose scores are not looked at).

    By falling score, every detection takes the free true box of its class that it overlaps most,
    if that reaches the threshold. The later box wins a tie, as in cocoeval.
    """
    order = np.argsort(-found.scores, kind="stable")
    same = found.classes[order, None] == found.classes[None, order]
    order = order[np.tril(same).sum(axis=1) <= MAX_DETECTIONS]
    classes, scores = found.classes[order], found.scores[order]
    overlap = iou_matrix(found.boxes[order], truth.boxes)
    overlap[classes[:, None] != truth.classes[None]] = -1.0
    hits = np.zeros((len(IOU_THRESHOLDS), len(order)), np.bool_)
    if len(truth):
        for row, threshold in enumerate(IOU_THRESHOLDS):
            free = np.ones(len(truth), np.bool_)
            for i in np.flatnonzero(overlap.max(axis=1) >= threshold):
                candidates = np.where(free, overlap[i], -1.0)
                best = len(candidates) - 1 - int(np.argmax(candidates[::-1]))
                if candidates[best] >= threshold:
                    hits[row, i] = True
                    free[best] = False
    return Matches(truth=truth.classes, classes=classes, scores=scores, hits=hits)


def mean_average_precision(
    matches: Sequence[Matches], weights: npt.NDArray[Any] | None = None
) -> npt.NDArray[np.float64]:
    """Return mAP@[.5:.95] of a set of pictures, once for every row of ``weights``.

    Parameters
    ----------
    matches
        One per picture.
    weights
        int ``(rows, pictures)``: how often each picture counts, as from ``bootstrap_weights``; None
        for one row of ones. A picture that counts twice is one picture with two copies of
        everything, not a picture with twice the boxes: copies never compete for a match.

    Returns
    -------
    float64 ``(rows,)``, 0 to 1: the mean over the classes that have a true box in that row; NaN
    where none has.
    """
    if weights is None:
        weights = np.ones((1, len(matches)), np.int32)
    if weights.ndim != 2 or weights.shape[1] != len(matches):
        raise InputError(f"weights {weights.shape} do not fit {len(matches)} pictures")
    if not matches:
        return np.full(len(weights), np.nan)
    picture = np.repeat(np.arange(len(matches)), [len(m.classes) for m in matches])
    classes = np.concatenate([m.classes for m in matches])
    hits = np.concatenate([m.hits for m in matches], axis=1)
    order = np.argsort(-np.concatenate([m.scores for m in matches]), kind="stable")
    picture, classes, hits = picture[order], classes[order], hits[:, order]

    precisions = []
    for index in np.unique(np.concatenate([m.truth for m in matches])):
        count = np.array([np.count_nonzero(m.truth == index) for m in matches])
        chosen = classes == index
        parts = min(len(weights), 1 + len(weights) * int(np.count_nonzero(chosen)) // _AT_ONCE)
        precisions.append(
            np.concatenate(
                [
                    _average_precision(part[:, picture[chosen]], hits[:, chosen], part @ count)
                    for part in np.array_split(weights, parts)
                ]
            )
        )
    if not precisions:
        return np.full(len(weights), np.nan)
    stacked = np.ma.masked_invalid(np.stack(precisions))
    return np.asarray(stacked.mean(axis=0).filled(np.nan))


def _average_precision(
    weights: npt.NDArray[Any], hits: npt.NDArray[np.bool_], truths: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Return AP, averaged over the IoU thresholds, of one class for every row.

    ``weights (rows, n)`` and ``hits (10, n)`` are by falling score over all pictures;
    ``truths (rows,)`` counts true boxes. NaN where there are none.
    """
    seen = np.cumsum(weights, axis=1)
    total = np.zeros(len(weights))
    for hit in hits:
        # Precision rises, and recall moves, only where a true box is found.
        at = np.flatnonzero(hit)
        found = np.cumsum(weights[:, at], axis=1)
        precision = found / np.maximum(seen[:, at], 1)
        # The best precision at this recall or beyond.
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # How many of the recall points 0, 0.01, ... are reached; in integers, so that a recall of
        # exactly 0.29 reaches its point. Every point takes the precision where it is first reached.
        reached = _RECALL_STEPS * found // np.maximum(truths, 1)[:, None] + 1
        total += np.sum(precision * np.diff(reached, axis=1, prepend=0), axis=1)
    average = total / ((_RECALL_STEPS + 1) * len(hits))
    return np.where(truths > 0, average, np.nan)
