"""Learned control of a picture's JPEG: its tables, and where the search for its size begins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from idse.learned.jpeg.control import BLEND, shipped

if TYPE_CHECKING:
    from idse.allocation.tables import CoefficientPlan
    from idse.learned.jpeg.description import Description

# A trellis leaves so much less of a file than rounding does, in octaves of the scale that take it
# back to the size: 0.2 to 0.4 over imagenet and COCO at 0.25 to 4 bits per pixel.
_TRELLIS = 0.32
_LOW = 3


def controlled(
    plan: CoefficientPlan, description: Description, size: int, *, model: str
) -> CoefficientPlan:
    """Return a plan whose tables are a control network's.

    What errors cost stays the plan's own: it chooses the coefficients.

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
    control = shipped()
    name = model.rsplit("@", 1)[-1]
    shape = control.shape(description, size, head=name if name in control.heads else BLEND)
    # The same scale then stands for the same steps of low luma frequencies as before, and lambda,
    # which follows from it, for the same price of a bit. High ones, most of a table, say nothing:
    # the smaller the file, the fewer of them are coded.
    own = float(np.median(np.log2(plan.spectra[0][:_LOW, :_LOW])))
    level = own + 2 * float(np.median(shape[0].reshape(8, 8)[:_LOW, :_LOW]))
    luma, chroma = np.exp2(level - 2 * shape).reshape(2, 8, 8)
    return replace(plan, spectra=(luma, chroma, chroma))


def first_scale(plan: CoefficientPlan, description: Description, size: int) -> float:
    """Return the scale at which a file is expected to have a size.

    Parameters
    ----------
    plan, description, size
        As for :func:`controlled`.
    """
    luma, cb, cr = (-0.5 * np.log2(spectrum) for spectrum in plan.spectra)
    shape = np.stack([luma, (cb + cr) / 2]).reshape(2, 64)
    return float(2.0 ** (shipped().scale_for(description, shape, size) - _TRELLIS))
