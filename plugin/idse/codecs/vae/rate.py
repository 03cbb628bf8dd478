"""The step that a size calls for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Ends the search: as near as this below the wanted size.
_CLOSE: Final = 0.999


def search(bits: Callable[[int], float], steps: tuple[int, int], wanted: float) -> int:
    """Return the finest step at which a picture takes at most the wanted bits.

    Regula falsi on the logarithm of the size, which falls nearly linearly with the logarithm of
    the step, halving instead wherever that did not halve the interval.

    Parameters
    ----------
    bits
        Size at a step; falls with the step, give or take a little.
    steps
        Finest and coarsest step. The coarsest is returned where it is too large even there.
    wanted
        Bits. Ends early where they are met to a thousandth.
    """
    fine, coarse = steps
    at_coarse = bits(coarse)
    if at_coarse >= wanted or fine == coarse:
        return coarse
    at_fine = bits(fine)
    if at_fine <= wanted:
        return fine
    halve = False
    while coarse - fine > 1 and at_coarse < _CLOSE * wanted:
        width = coarse - fine
        middle = (fine + coarse) // 2
        if not halve and at_coarse > 0:
            share = math.log(at_fine / wanted) / math.log(at_fine / at_coarse)
            # A little to the coarse side: what ends the search is a step that fits.
            middle = min(max(fine + math.ceil(share * width) + 1, fine + 1), coarse - 1)
        size = bits(middle)
        if size <= wanted:
            coarse, at_coarse = middle, size
        else:
            fine, at_fine = middle, size
        halve = not halve and 2 * (coarse - fine) > width
    return coarse
