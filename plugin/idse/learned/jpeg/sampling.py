"""From which rate on colour is worth coding as finely as luma, by what networks say of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from idse.learned.jpeg.windows import decoded

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from idse.learned.jpeg.judged import Judged
    from idse.learned.jpeg.windows import Window

# Of one picture's ratio of distances, in either direction: near nothing its logarithm is noise.
_MOST = 3.0


def log_distance(part: Window, shape: Tensor, size: float, judged: Judged) -> float:
    """Return the logarithm of a network's distance to the source, of a file of about a size.

    Parameters
    ----------
    part
        A whole picture.
    shape
        ``(128,)``: log2 of steps but for a common factor.
    size
        Bytes.
    judged
        The same picture, in the same sampling, as the network sees it.
    """
    with torch.no_grad():
        return float(judged.distance(decoded(part, shape, size)).log())


def begins(gains: npt.NDArray[np.float64], rates: npt.NDArray[np.float64]) -> float:
    """Return from which rate on 4:4:4 is better.

    One change from 4:2:0 to 4:4:4, so that what is chosen does not go back and forth, where the sum
    of what is gained beyond it is the most.

    Parameters
    ----------
    gains
        ``(pictures, rates)``: log of distances in 4:4:4 over those in 4:2:0; not a number where
        a picture has no file of a rate.
    rates
        ``(rates,)``, rising: log2 of bits per pixel.

    Returns
    -------
    float
        log2 of bits per pixel: midway between two rates, or one beyond the first or the last.
    """
    bounded = np.clip(np.nan_to_num(gains), -_MOST, _MOST)
    beyond = np.append(bounded.sum(0)[::-1].cumsum()[::-1], 0.0)
    between = np.concatenate([[rates[0] - 1], (rates[1:] + rates[:-1]) / 2, [rates[-1] + 1]])
    # The last of equals: where no picture told anything, nothing is gained by a change.
    return float(between[::-1][beyond[::-1].argmin()])
