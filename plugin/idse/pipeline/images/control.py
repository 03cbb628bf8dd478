"""Learned control of a JPEG: sampling, tables, and where the search for its size begins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from idse.allocation.tables import CoefficientPlan
from idse.learned.jpeg.control import BLEND, shipped

if TYPE_CHECKING:
    from idse.learned.jpeg.description import Description

# A trellis leaves so much less of a file than rounding does, in octaves of the scale that take it
# back to the size: at a slope of 0.02, and the power of slopes that it grows with. Over imagenet
# and COCO at 0.25 to 2 bits per pixel, slopes from 0.1 to 0.015, that is off by 0.1 to 0.2 octaves.
_TRELLIS, _SLOPE, _POWER = 0.32, 0.02, 0.6
_LOW = 3
# The price of a bit, in units of the plan's, at one bit per pixel: for pictures of 224x224 that a
# network sees as they are, and the most for those that it shrinks, whose high frequencies it does
# not miss. Of 0.75 and 1.5 the former was better over 40 even pictures of imagenet, of 0.5, 1, 1.5
# and 2 the last over 24 of COCO. And the least rate that it follows.
_SEEN, _PRICE, _MOST = 224 * 224, 0.75, 2.0
_LEAST_RATE = 0.2


def chosen_sampling(pixels: int, size: int, *, model: str) -> str:
    """Return the sampling that a control network says, for its own tables and for others.

    With tables of importance, too, 4:4:4 is better from about the same rates on: by the student,
    28 even crops of imagenet of 25 to 50 kB had 41 to 81 % less distance than in 4:2:0 (by
    efficientnet-lite0 and mobilenet_v2), 16 even pictures of COCO of 60 to 100 kB 28 to 54 % (by
    yolov4-tiny). Below them it is worse or not resolved.

    Parameters
    ----------
    pixels
        Of the picture, which has colours.
    size, model
        As for :func:`controlled`.
    """
    return shipped().sampling(pixels, size, head=_head(model))


def _head(model: str) -> str:
    name = model.rsplit("@", 1)[-1]
    return name if name in shipped().heads else BLEND


def controlled(
    plan: CoefficientPlan, description: Description, size: int, *, model: str
) -> CoefficientPlan:
    """Return a plan whose tables are a control network's.

    How blocks and coefficients of a frequency differ in what errors cost stays the plan's own: it
    chooses the coefficients. The smaller the file, the more of them are given up: the price of a
    bit falls with the bits per pixel.

    Parameters
    ----------
    plan
        Of a picture of three components.
    description
        Of the picture.
    size
        Bytes of the file, without metadata, at least 1.
    model
        Name of the network that the picture is for, or of a student's head for it. Tables are made
        for it where the control network learned from it, and else for all that it learned from.
    """
    shape = shipped().shape(description, size, head=_head(model))
    # The same scale then stands for the same steps of low luma frequencies as before. High ones,
    # most of a table, say nothing: the smaller the file, the fewer of them are coded.
    own = float(np.median(np.log2(plan.spectra[0][:_LOW, :_LOW])))
    level = own + 2 * float(np.median(shape[0].reshape(8, 8)[:_LOW, :_LOW]))
    luma, chroma = np.exp2(level - 2 * shape).reshape(2, 8, 8)
    spectra = (luma, chroma, chroma)
    weights = tuple(
        (w * (new / old)).astype(np.float32)
        for w, new, old in zip(plan.weights, spectra, plan.spectra, strict=True)
    )
    rate = max(8 * size / description.pixels, _LEAST_RATE)
    price = min(_PRICE * math.sqrt(max(description.area / _SEEN, 1)), _MOST)
    return CoefficientPlan(weights=weights, spectra=spectra, slope=plan.slope * price / rate)


def first_scale(plan: CoefficientPlan, description: Description, size: int) -> float:
    """Return the scale at which a file is expected to have a size.

    Parameters
    ----------
    plan, description, size
        As for :func:`controlled`.
    """
    luma, cb, cr = (-0.5 * np.log2(spectrum) for spectrum in plan.spectra)
    shape = np.stack([luma, (cb + cr) / 2]).reshape(2, 64)
    gained = _TRELLIS * (plan.slope / _SLOPE) ** _POWER
    return float(2.0 ** (shipped().scale_for(description, shape, size) - gained))
