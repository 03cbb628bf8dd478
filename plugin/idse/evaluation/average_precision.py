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

if TYPE_CHECKING:
    from collections.abc import Sequence

IOU_THRESHOLDS = np.arange(50, 100, 5) / 100
MAX_DETECTIONS = 100
_RECALL_STEPS = 100  # 101 points: 0, 0.01, ..., 1
_ROWS_AT_ONCE = 64  # of the resamples: bounds memory on long videos


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """The boxes of one picture.

    Attributes
    ----------
    corners
        float ``(n, 4)``: left, top, right, bottom, any unit that the compared sets share.
    labels
        int ``(n,)``: class of each.
    scores
        float ``(n,)``: confidence; true labels have 1.
    """

    corners: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    scores: npt.NDArray[Any]

    def __post_init__(self) -> None:
        n = len(self.labels)
        if self.corners.shape != (n, 4) or self.labels.shape != (n,) or self.scores.shape != (n,):
            raise InputError(
                f"boxes have corners {self.corners.shape}, labels {self.labels.shape} and scores "
                f"{self.scores.shape}: (n, 4), (n,) and (n,) expected"
            )

    def confident(self, score: float) -> Boxes:
        """Return the boxes that score at least ``score``: pseudo-labels are those at 0.25."""
        keep = self.scores >= score
        return Boxes(corners=self.corners[keep], labels=self.labels[keep], scores=self.scores[keep])


def intersection_over_union(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the IoU ``(len(a), len(b))`` of boxes given by their corners ``(n, 4)``."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The detections of one picture, matched.

    Attributes
    ----------
    truth_labels
        int ``(m,)``: class of every true box.
    labels, scores
        ``(n,)``: class and confidence of every detection that counts, by falling score.
    hits
        bool ``(10, n)``: whether the detection found a true box, per ``IOU_THRESHOLDS``.
    """

    truth_labels: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    scores: npt.NDArray[Any]
    hits: npt.NDArray[np.bool_]


def match(truth: Boxes, found: Boxes) -> Matches:
    """Match the detections of one picture to its true boxes.

    By falling score, every detection takes the free true box of its class that it overlaps most,
    if that reaches the threshold. The later box wins a tie, as in cocoeval.
    """
    order = np.argsort(-found.scores, kind="stable")
    same = found.labels[order, None] == found.labels[None, order]
    order = order[np.tril(same).sum(axis=1) <= MAX_DETECTIONS]
    labels, scores = found.labels[order], found.scores[order]
    overlap = intersection_over_union(found.corners[order], truth.corners)
    overlap[labels[:, None] != truth.labels[None]] = -1.0
    hits = np.zeros((len(IOU_THRESHOLDS), len(order)), np.bool_)
    if len(truth.labels):
        for row, threshold in enumerate(IOU_THRESHOLDS):
            free = np.ones(len(truth.labels), np.bool_)
            for i in np.flatnonzero(overlap.max(axis=1) >= threshold):
                candidates = np.where(free, overlap[i], -1.0)
                best = len(candidates) - 1 - int(np.argmax(candidates[::-1]))
                if candidates[best] >= threshold:
                    hits[row, i] = True
                    free[best] = False
    return Matches(truth_labels=truth.labels, labels=labels, scores=scores, hits=hits)


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
    picture = np.repeat(np.arange(len(matches)), [len(m.labels) for m in matches])
    labels = np.concatenate([m.labels for m in matches])
    hits = np.concatenate([m.hits for m in matches], axis=1)
    order = np.argsort(-np.concatenate([m.scores for m in matches]), kind="stable")
    picture, labels, hits = picture[order], labels[order], hits[:, order]

    precisions = []
    for label in np.unique(np.concatenate([m.truth_labels for m in matches])):
        count = np.array([np.count_nonzero(m.truth_labels == label) for m in matches])
        chosen = labels == label
        precisions.append(
            np.concatenate(
                [
                    _average_precision(
                        part[:, picture[chosen]].astype(np.int64), hits[:, chosen], part @ count
                    )
                    for part in np.array_split(weights, -(-len(weights) // _ROWS_AT_ONCE))
                ]
            )
        )
    if not precisions:
        return np.full(len(weights), np.nan)
    stacked = np.ma.masked_invalid(np.stack(precisions))
    return np.asarray(stacked.mean(axis=0).filled(np.nan))


def _average_precision(
    weights: npt.NDArray[np.int64], hits: npt.NDArray[np.bool_], truths: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Return AP, averaged over the IoU thresholds, of one class for every row.

    ``weights (rows, n)`` and ``hits (10, n)`` are by falling score over all pictures;
    ``truths (rows,)`` counts true boxes. NaN where there are none.
    """
    if not hits.shape[1]:
        return np.where(truths > 0, 0.0, np.nan)
    seen = np.maximum(np.cumsum(weights, axis=1), 1)
    total = np.zeros(len(weights))
    for hit in hits:
        found = np.cumsum(weights * hit, axis=1)
        # The best precision at this recall or beyond.
        precision = np.maximum.accumulate((found / seen)[:, ::-1], axis=1)[:, ::-1]
        # How many of the recall points 0, 0.01, ... are reached; in integers, so that a recall of
        # exactly 0.29 reaches its point. Every point takes the precision where it is first reached.
        reached = _RECALL_STEPS * found // np.maximum(truths, 1)[:, None] + 1
        total += np.sum(precision * np.diff(reached, axis=1, prepend=0), axis=1)
    average = total / ((_RECALL_STEPS + 1) * len(hits))
    return np.where(truths > 0, average, np.nan)
