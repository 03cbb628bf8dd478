"""Task heads: what a network's output means, as plain numpy results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from idse.errors import InputError

if TYPE_CHECKING:
    from idse.vision.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects found in one picture, best first.

    Attributes
    ----------
    boxes
        float32 ``(n, 4)``: x0, y0, x1, y1 in luma samples of the picture as decoded.
    scores
        float32 ``(n,)`` in 0..1.
    classes
        int64 ``(n,)``.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Classification:
    """The likeliest class of one picture and its probability."""

    index: int
    score: float


class TaskHead(Protocol):
    """Turns a network's output into one result per picture."""

    def decode(self, output: Any, geometries: list[Geometry]) -> list[Any]:  # noqa: ANN401
        """Decode the output for a batch whose pictures were placed by ``geometries``."""
        ...


# Given a network's output and its input's (rows, columns): boxes (n, k, 4) as x0, y0, x1, y1 in
# pixels of the input, and scores (n, k, classes).
BoxDecoder = Callable[[Any, tuple[int, int]], tuple[Tensor, Tensor]]


class Boxes:
    """Detection: decoded boxes, thresholded, then thinned per class by non-maximum suppression.

    Parameters
    ----------
    decoder
        See ``BoxDecoder``.
    score
        Boxes whose class score is lower are dropped.
    iou
        Of two boxes of a class that overlap more than this, the one with the lower score is
        dropped.
    limit
        At most so many boxes a picture.
    labels
        Names of the classes, possibly empty.
    """

    def __init__(
        self,
        decoder: BoxDecoder,
        *,
        score: float = 0.25,
        iou: float = 0.45,
        limit: int = 300,
        labels: tuple[str, ...] = (),
    ) -> None:
        if not 0 <= score <= 1 or not 0 <= iou <= 1:
            raise InputError(f"score {score} and iou {iou} must be within 0..1")
        self.decoder = decoder
        self.score = score
        self.iou = iou
        self.limit = limit
        self.labels = labels

    def decode(self, output: Any, geometries: list[Geometry]) -> list[Detections]:  # noqa: ANN401
        """Return one :class:`Detections` per picture."""
        boxes, scores = self.decoder(output, geometries[0].size)
        return [
            self._picture(b.float().numpy(), s.float().numpy(), geometry)
            for b, s, geometry in zip(
                boxes.detach().cpu(), scores.detach().cpu(), geometries, strict=True
            )
        ]

    def _picture(
        self,
        boxes: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        geometry: Geometry,
    ) -> Detections:
        # NaN compares false: a broken network finds nothing rather than everything.
        which, classes = np.nonzero(scores >= max(self.score, 1e-9))
        values = scores[which, classes]
        candidates = boxes[which]
        kept = suppress(candidates, values, classes, self.iou)[: self.limit]
        return Detections(
            geometry.boxes_to_picture(candidates[kept]),
            values[kept].astype(np.float32),
            classes[kept].astype(np.int64),
        )


def iou_matrix(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return intersection over union of every box of ``a`` (n, 4) with every one of ``b`` (m, 4).

    Boxes are x0, y0, x1, y1; the result is float32 ``(n, m)``, 0 for empty boxes.
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.prod(np.maximum(high - low, 0), axis=2)
    area_a, area_b = (np.prod(np.maximum(x[:, 2:] - x[:, :2], 0), axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None, :] - overlap
    ratio: npt.NDArray[np.float32] = (overlap / np.maximum(union, 1e-12)).astype(np.float32)
    return ratio


def suppress(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.int64],
    iou: float,
) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression within each class.

    Returns
    -------
    int64 indices of the boxes to keep, by falling score; equal scores keep their order.
    """
    kept: list[npt.NDArray[np.int64]] = []
    for class_index in np.unique(classes):
        left = np.flatnonzero(classes == class_index)
        left = left[np.argsort(-scores[left], kind="stable")]
        while len(left):
            kept.append(left[:1])
            left = left[1:][iou_matrix(boxes[left[:1]], boxes[left[1:]])[0] <= iou]
    if not kept:
        return np.zeros(0, np.int64)
    indices = np.concatenate(kept)
    order: npt.NDArray[np.int64] = indices[np.argsort(-scores[indices], kind="stable")]
    return order


class Top1:
    """Classification: the output is logits ``(n, classes)``."""

    def decode(self, output: Any, geometries: list[Geometry]) -> list[Classification]:  # noqa: ANN401
        """Return one :class:`Classification` per picture."""
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(geometries):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(f"top-1 needs logits ({len(geometries)}, classes), got {shape}")
        score, index = torch.softmax(output.detach().float(), dim=1).max(dim=1)
        return [Classification(int(i), float(s)) for i, s in zip(index, score, strict=True)]
