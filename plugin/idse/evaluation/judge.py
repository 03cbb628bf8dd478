"""Judges: networks that say how much of what they saw in the source is left after coding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from idse.errors import InputError
from idse.vision.heads import Boxes, Classification, Detections
from idse.vision.threads import one_thread

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.picture import Picture, PictureFormat
    from idse.vision.extractor import FeatureExtractor

# mAP integrates precision over all scores, so it needs boxes far below the one a user would show.
_LEAST_SCORE = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What a network makes of one picture.

    Attributes
    ----------
    features
        float32 ``(n_f,)``: the extractor's features, by default gated outputs after activation.
    found
        What it detects, down to a score of 0.01; None for a network that detects nothing.
    top1
        The likeliest class; None for a network that does not classify.
    """

    features: npt.NDArray[np.float32]
    found: Detections | None = None
    top1: int | None = None


def output_distance(source: npt.NDArray[Any], decoded: npt.NDArray[Any]) -> float:
    """Return the squared Euclidean distance of two feature vectors of one shape.

    With the default features of a model these are its outputs after activation, gated by what the
    task itself ignores (``idse.vision``): the metric that decides, for it has the smallest noise.
    """
    if source.shape != decoded.shape:
        raise InputError(f"features {source.shape} and {decoded.shape} are not of one network")
    return float(np.sum((source.astype(np.float64) - decoded.astype(np.float64)) ** 2))


class Judge:
    """Runs a network once per picture for its features and for its task.

    Parameters
    ----------
    extractor
        A network whose features come from its output.

    Raises
    ------
    InputError
        The features come from an inner layer: the task's output would need a second run.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        if extractor.layer is not None:
            raise InputError(f"judge {extractor.name} must be judged by its output, not a layer")
        self.name = extractor.name
        self._extractor = extractor
        head = extractor.head
        if isinstance(head, Boxes):
            head = Boxes(head.decoder, score=_LEAST_SCORE, iou=head.iou, limit=head.limit)
        self._head = head

    def input_size(self, form: PictureFormat) -> tuple[int, int]:
        """Return rows and columns of the network's input for pictures of a format."""
        return self._extractor.geometry(form).size

    def observe(self, picture: Picture, *, boxes_in: PictureFormat | None = None) -> Observation:
        """Return what the network makes of a decoded picture.

        Parameters
        ----------
        picture
            Of any size.
        boxes_in
            The picture in whose samples boxes are told, where that is one of another size.
        """
        outputs: list[object] = []
        handle = self._extractor.module.register_forward_hook(
            lambda _module, _inputs, output: outputs.append(output)
        )
        try:
            with one_thread(), torch.inference_mode():
                x = self._extractor.from_picture(picture)
                features = self._extractor.features(x)[0].float().cpu().numpy()
        finally:
            handle.remove()
        if self._head is None:
            return Observation(features=features)
        (result,) = self._head.decode(outputs[0], [self._extractor.geometry(picture.format)])
        if isinstance(result, Detections):
            found = _scaled(result, picture.format, boxes_in or picture.format)
            return Observation(features=features, found=found)
        if isinstance(result, Classification):
            return Observation(features=features, top1=result.index)
        return Observation(features=features)


def _scaled(found: Detections, seen: PictureFormat, wanted: PictureFormat) -> Detections:
    if (seen.width, seen.height) == (wanted.width, wanted.height):
        return found
    scale = np.array([wanted.width / seen.width, wanted.height / seen.height] * 2, np.float32)
    return Detections(found.boxes * scale, found.scores, found.classes)
