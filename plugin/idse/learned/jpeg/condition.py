"""What is asked of a control network, as numbers: bits per pixel, size of picture, sampling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.learned.jpeg.description import Description

    Floats = npt.NDArray[np.float32]

CONDITIONS: Final = 4
# log2 of bits per pixel, and of pixels: those of a classifier's input and of a photograph.
_RATES: Final = np.arange(-2.0, 4.0)
_AREAS: Final = np.log2([224 * 224, 640 * 480])
# How far out of their range is told, in octaves: a network learned nothing of what is beyond.
_BEYOND: Final = 1.0
# How much of the colour's detail is coded: between 4:2:0 and 4:4:4, 4:2:2 is in the middle.
_DETAILS: Final = {"4:2:0": 0.0, "4:2:2": 0.5, "4:4:4": 1.0}
AREAS: Final = len(_AREAS)
PLACES: Final = len(_RATES) * AREAS * 2


def condition(description: Description, size: float) -> Floats:
    """Return what hidden layers are told, float32 ``(4,)``.

    Parameters
    ----------
    description
        Of the picture.
    size
        Bytes, above 0.
    """
    rate, area = _logs(description, size)
    told = rate, rate**2 / 4, (area - _AREAS.mean()) / 2, detail(description)
    return np.array(told, np.float32)


def place(description: Description, size: float) -> Floats:
    """Return shares of tables learned for some rates, areas and samplings, float32 ``(24,)``.

    They are interpolated between the nearest, and sum to 1; the sampling comes last.

    Parameters
    ----------
    description, size
        As for :func:`condition`.
    """
    rate, area = _logs(description, size)
    shares = np.outer(_hats(rate, _RATES), _hats(area, _AREAS)).ravel()
    fine = detail(description)
    return np.outer(shares, [1 - fine, fine]).ravel().astype(np.float32)


def detail(description: Description) -> float:
    """Return how much of the colour's detail is coded: 0 of 4:2:0, 1 of 4:4:4."""
    return _DETAILS[description.sampling]


def of_areas(area: int) -> npt.NDArray[np.float64]:
    """Return shares of what was learned for some areas, float64 ``(2,)``, which sum to 1.

    Parameters
    ----------
    area
        Pixels of the whole picture.
    """
    return _hats(math.log2(area), _AREAS)


def beyond(area: int) -> bool:
    """Return whether a picture is far larger than those that were learned from."""
    return math.log2(area) > float(_AREAS[-1]) + _BEYOND


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
