"""The step, and what is finer than a step, that a size calls for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Ends a search: as near as this below the wanted size.
CLOSE: Final = 0.999

_WIDEST_DEADZONE: Final = 0.5
_HALVINGS: Final = 10


def search(
    bits: Callable[[int], float], steps: tuple[int, int], wanted: float
) -> tuple[int, float]:
    """Return the finest step at which a picture takes at most the wanted bits, and those bits.

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
        return coarse, at_coarse
    at_fine = bits(fine)
    if at_fine <= wanted:
        return fine, at_fine
    halve = False
    while coarse - fine > 1 and at_coarse < CLOSE * wanted:
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
    return coarse, at_coarse


def fill(bits: Callable[[float], float], wanted: float) -> float | None:
    """Return the least deadzone with which a picture takes at most the wanted bits.

    Where one step is too little and the next too much (small pictures, and tables that change
    between the two), this is what lies between.

    Parameters
    ----------
    bits
        Size at a deadzone; falls with it.
    wanted
        Bits, fewer than without a deadzone. Ends early where they are met to a thousandth.

    Returns
    -------
    float or None
        None where even half a step is too little.
    """
    narrow, wide = 0.0, _WIDEST_DEADZONE
    if bits(wide) > wanted:
        return None
    for _ in range(_HALVINGS):
        middle = (narrow + wide) / 2
        size = bits(middle)
        if size > wanted:
            narrow = middle
        else:
            wide = middle
            if size >= CLOSE * wanted:
                break
    return wide
