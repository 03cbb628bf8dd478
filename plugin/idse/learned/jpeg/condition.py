"""What is asked of a control network, as numbers: bits per pixel, and how large the picture is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.learned.jpeg.description import Description

    Floats = npt.NDArray[np.float32]

CONDITIONS: Final = 3
# log2 of bits per pixel, and of pixels: those of a classifier's input and of a photograph.
_RATES: Final = np.arange(-2.0, 4.0)
_AREAS: Final = np.log2([224 * 224, 640 * 480])
# How far out of their range is told, in octaves: a network learned nothing of what is beyond.
_BEYOND: Final = 1.0
PLACES: Final = len(_RATES) * len(_AREAS)


def condition(description: Description, size: float) -> Floats:
    """Return what hidden layers are told, float32 ``(3,)``.

    Parameters
    ----------
    description
        Of the picture.
    size
        Bytes, above 0.
    """
    rate, area = _logs(description, size)
    return np.array([rate, rate**2 / 4, (area - _AREAS.mean()) / 2], np.float32)


def place(description: Description, size: float) -> Floats:
    """Return shares of tables that were learned for some rates and areas, float32 ``(12,)``.

    They are interpolated between the nearest, and sum to 1.

    Parameters
    ----------
    description, size
        As for :func:`condition`.
    """
    rate, area = _logs(description, size)
    shares = np.outer(_hats(rate, _RATES), _hats(area, _AREAS))
    return shares.ravel().astype(np.float32)


def _logs(description: Description, size: float) -> tuple[float, float]:
    """Return log2 of bits per pixel and of the area, no farther out than a network has learned."""
    rate, area = math.log2(8 * size / description.pixels), math.log2(description.area)
    return (
        float(np.clip(rate, _RATES[0] - _BEYOND, _RATES[-1] + _BEYOND)),
        float(np.clip(area, _AREAS[0] - _BEYOND, _AREAS[-1] + _BEYOND)),
    )


def _hats(x: float, knots: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.array(
        [np.interp(x, knots, row) for row in np.eye(len(knots))]
    )
    return found
