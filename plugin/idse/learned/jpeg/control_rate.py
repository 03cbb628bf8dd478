"""About how many bytes a picture takes with any tables, from its description alone.

Bits of a coefficient are the entropy of whether it is 0, its sign, and the bits of its magnitude:
all follow from how many coefficients of its frequency exceed a few multiples of the step. What
neighbours tell of each other, and what codes lose, is a factor learned from real files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from idse.learned.jpeg.condition import detail
from idse.learned.jpeg.description import position

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.learned.jpeg.description import Description

    Doubles = npt.NDArray[np.float64]

# Levels at which one more bit of magnitude is coded.
_LEVELS: Final = np.array([0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 63.5, 127.5])
# What a file has beside coded data: headers, tables, and about as many codes.
_FIXED: Final = 390.0
FEATURES: Final = 10
# log2 of factors on steps between which the one of a size is looked for.
_FINEST, _COARSEST = -12.0, 12.0
_HALVINGS = 12


def features(description: Description, steps: Doubles) -> tuple[float, Doubles]:
    """Return bits by the entropy of single coefficients, and what tells by how much they are off.

    Parameters
    ----------
    description
        Of the picture.
    steps
        ``(2, 64)``: of luma and chroma, above 0.

    Returns
    -------
    tuple
        Bits, and float64 ``(10,)``.
    """
    where = position(steps[..., None] * _LEVELS)
    below = where.astype(np.int64)
    tails = description.tails
    above = np.minimum(below + 1, tails.shape[2] - 1)
    low = np.take_along_axis(tails, below, 2)
    share = low + (where - below) * (np.take_along_axis(tails, above, 2) - low)
    coded = np.clip(share[..., 0], 1e-7, 1 - 1e-7)
    entropy = -(coded * np.log2(coded) + (1 - coded) * np.log2(1 - coded))
    blocks = np.asarray(description.blocks, np.float64)
    zeros = float(blocks @ entropy.sum(1))
    signs = float(blocks @ coded.sum(1))
    magnitudes = float(blocks @ share[..., 1:].sum((1, 2)))
    bits = zeros + signs + magnitudes + 1e-3
    density = np.log2(bits / blocks.sum() + 0.05)
    chroma = float(blocks[1] * (entropy[1] + coded[1]).sum()) / bits
    textured = description.maps[3:]
    told = (
        1.0,
        density,
        density**2,
        chroma,
        magnitudes / bits,
        signs / bits,
        float(textured.std((1, 2)).mean()),
        density * float(textured.std((1, 2)).mean()),
        detail(description),
        detail(description) * density,
    )
    return bits, np.array(told)


def file_bytes(description: Description, steps: Doubles, weights: Doubles) -> float:
    """Return about the bytes of a sequential file.

    Parameters
    ----------
    description, steps
        As for :func:`features`.
    weights
        ``(10,)``: of the features, their sum is the factor's logarithm.
    """
    bits, told = features(description, steps)
    return _FIXED + bits / 8 * float(np.exp(told @ weights))


def target(size: float, bits: float) -> float:
    """Return the logarithm of the factor that takes bits to a size, for training."""
    return float(np.log(max(size - _FIXED, 1.0) * 8 / bits))


def scale_for(description: Description, shape: Doubles, size: float, weights: Doubles) -> float:
    """Return log2 of the factor on steps at which a file has about a size.

    Parameters
    ----------
    description, weights
        As for :func:`file_bytes`.
    shape
        ``(2, 64)``: log2 of the steps at a factor of 1.
    size
        Bytes.
    """
    low, high = _FINEST, _COARSEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        steps = np.clip(np.exp2(shape + middle), 1, 255)
        if file_bytes(description, steps, weights) > size:
            low = middle
        else:
            high = middle
    return (low + high) / 2
