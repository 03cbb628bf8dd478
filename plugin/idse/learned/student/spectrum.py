"""How a teacher's importance depends on the picture's size and sampling: numpy only.

A teacher's gradients live at the resolution of its own input, and reach the picture through its
resize. Taken as stationary there, their mean autocorrelation says with no further measurement what
the spectrum is in pictures of any size, shape and sampling, and so how much importance a sample of
theirs has: a coefficient of a block is ``f_r^T G f_c``, whose second moment is
``sum over lags of k_r(t) R(t, u) k_c(u)`` with k the autocorrelations of the footprints f.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.importance.spectrum import SIZES, Spectrum
from idse.vision.geometry import place
from idse.vision.triangle import plane_resizes, triangle_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from idse.picture import PictureFormat
    from idse.vision.triangle import Resize

FloatArray = npt.NDArray[np.float64]

# Blocks of an axis that are looked at: they differ by the resize's phase only.
_BLOCKS = 24

# ITU-R BT.601, section 3.5.3: what luma and chroma span in limited range, of 255.
_LIMITED = (219.0, 224.0)


def code_steps(form: PictureFormat) -> tuple[float, float]:
    """Return how many code values a code of 8 bit and limited range is, for luma and chroma."""
    depth = 2.0 ** (form.bit_depth - 8)
    luma, chroma = (255 / span if form.full_range else 1.0 for span in _LIMITED)
    return depth * luma, depth * chroma


def picture_spectrum(
    autocorrelation: npt.NDArray[np.floating[Any]],
    teacher: Mapping[str, Any],
    form: PictureFormat,
) -> Spectrum:
    """Return a teacher's mean spectrum in pictures of a format.

    Parameters
    ----------
    autocorrelation
        ``(3, lags, lags)`` with an odd number of lags, for Y, Cb and Cr: of the gradients at the
        resolution of the teacher's input, with respect to codes of 8 bit and limited range.
    teacher
        How it takes pictures in: ``size``, ``fit`` and ``stride``, as
        `idse.vision.FeatureExtractor` has them.
    form
        The pictures' format.

    Returns
    -------
    Spectrum
        In the picture's own code values. Its ``per_sample`` is the importance of all planes per
        luma sample; zeros where a plane is
        smaller than a block.
    """
    place_of = place(
        form.width,
        form.height,
        rotation=form.rotation,
        size=(int(teacher["size"][0]), int(teacher["size"][1])),
        fit=teacher["fit"],
        stride=teacher["stride"],
    )
    luma, chroma = plane_resizes(form, place_of)
    moments = np.asarray(autocorrelation, np.float64)
    luma_step, chroma_step = code_steps(form)
    y = _spectra(moments[0] / luma_step**2, luma)
    cbcr = _spectra((moments[1] + moments[2]) / (2 * chroma_step**2), chroma)
    rows, columns = form.chroma_shape
    return Spectrum(y, cbcr, 2 * rows * columns / (form.width * form.height))


def _spectra(moments: FloatArray, axes: tuple[Resize, Resize]) -> dict[int, FloatArray]:
    found = {}
    lags = len(moments) // 2
    for size in SIZES:
        if min(axis.n_in for axis in axes) < size:
            found[size] = np.zeros((size, size))
            continue
        rows, columns = (_footprints(axis, size, lags) for axis in axes)
        # Lags that were cut off can leave what should be nothing just below it.
        found[size] = np.maximum(rows @ moments @ columns.T, 0)
    return found


@lru_cache(maxsize=64)
def _footprints(axis: Resize, size: int, lags: int) -> FloatArray:
    """Return the mean autocorrelation of the footprints of an axis' blocks: ``(size, lags)``."""
    starts = np.arange(0, axis.n_in - size + 1, size)
    starts = starts[:: -(-len(starts) // _BLOCKS)]
    scale = axis.extent / axis.n_out
    # Samples of the network's input that a block can reach: one more for the rounding.
    width = min(axis.n_out, math.ceil((size + 2 * max(scale, 1.0)) / scale) + 1)
    transform = _dct(size)
    prints = np.empty((len(starts), size, width))
    for block, start in zip(prints, starts.tolist(), strict=True):
        first = math.floor((start + axis.phase - max(scale, 1.0)) / scale - 0.5)
        outputs = min(max(first, 0), axis.n_out - width) + np.arange(width)
        seen = triangle_weights(*axis, outputs=outputs)[:, start : start + size]
        block[:] = transform @ seen.T
    padded = np.pad(prints, ((0, 0), (0, 0), (lags, lags)))
    shifted = np.lib.stride_tricks.sliding_window_view(padded, width, axis=2)
    found: FloatArray = np.einsum("bklw,bkw->kl", shifted, prints) / len(starts)
    return found


def _dct(size: int) -> FloatArray:
    """Return the orthonormal DCT-II; rows are basis vectors."""
    k = np.arange(size)
    basis: FloatArray = np.cos(np.pi * (2 * k[None, :] + 1) * k[:, None] / (2 * size))
    basis *= np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return basis
