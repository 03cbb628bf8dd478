"""Scan scripts: in which pieces a JPEG's coefficients are sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Scan:
    """One scan, in the terms of its header (ITU-T T.81, B.2.3).

    Attributes
    ----------
    components
        Indices of the components in it, ascending: 0 is Y, 1 is Cb, 2 is Cr.
    ss, se
        First and last coefficient, counted in zigzag order. 0 to 63 alone or together (with ``ah``
        and ``al`` 0) is a sequential scan; in a progressive file DC (0, 0) and AC come apart, and
        AC of one component at a time.
    ah, al
        Bit positions of successive approximation: ``ah`` is 0 where the coefficients are sent for
        the first time, else ``al`` + 1; bits below ``al`` are left to later scans.
    """

    components: tuple[int, ...]
    ss: int
    se: int
    ah: int
    al: int


def simple_script(components: int) -> tuple[Scan, ...]:
    """Return libjpeg's own progressive script for 1 or 3 components."""
    if components == 1:
        return (
            Scan((0,), 0, 0, 0, 1),
            Scan((0,), 1, 5, 0, 2),
            Scan((0,), 6, 63, 0, 2),
            Scan((0,), 1, 63, 2, 1),
            Scan((0,), 0, 0, 1, 0),
            Scan((0,), 1, 63, 1, 0),
        )
    return (
        Scan((0, 1, 2), 0, 0, 0, 1),
        Scan((0,), 1, 5, 0, 2),
        Scan((2,), 1, 63, 0, 1),
        Scan((1,), 1, 63, 0, 1),
        Scan((0,), 6, 63, 0, 2),
        Scan((0,), 1, 63, 2, 1),
        Scan((0, 1, 2), 0, 0, 1, 0),
        Scan((2,), 1, 63, 1, 0),
        Scan((1,), 1, 63, 1, 0),
        Scan((0,), 1, 63, 1, 0),
    )


_NEVER: Final = -1


def check_complete(script: Sequence[Scan], components: int) -> None:
    """Refuse a script after which a decoder would not have every bit of every coefficient.

    libjpeg judges the rest of a script's legality when it writes; this it lets pass.

    Raises
    ------
    InputError
        Some bit is never sent; or a scan names what does not exist.
    """
    position = np.full((components, 64), _NEVER)
    for number, scan in enumerate(script):
        if not (
            0 <= scan.ss <= scan.se < 64
            and scan.components
            and all(0 <= c < components for c in scan.components)
        ):
            raise InputError(
                f"scan {number} ({scan}) is impossible in a file of {components} components"
            )
        position[list(scan.components), scan.ss : scan.se + 1] = scan.al
    missing = np.argwhere(position != 0)
    if len(missing):
        component, coefficient = missing[0]
        bits = position[component, coefficient]
        what = "never sent" if bits == _NEVER else f"sent without its last {bits} bits"
        raise InputError(
            f"the scans are incomplete: coefficient {coefficient} (zigzag) of component "
            f"{component} is {what}"
        )
