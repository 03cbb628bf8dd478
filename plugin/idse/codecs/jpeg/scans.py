"""The choice of a progressive file's scans."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from idse.codecs.jpeg.script import Scan
from idse.codecs.jpeg.sizes import scan_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.codecs.jpeg.quantise import Quantised

# Where luma's AC may be split in two bands, and how many of its lowest bits may come later. Chroma
# gains by neither, DC by no successive approximation (each in fewer than 1 of 40 pictures, under
# 0.1 %), and what else libjpeg's and mozjpeg's scripts do wins less than 0.05 % more (measured).
_SPLITS: Final = (None, 8, 12, 25)
_LATE_BITS: Final = (1, 2)


def best_scans(quantised: Quantised) -> list[Scan]:
    """Return the scans that make the smallest progressive file, of a dozen scripts.

    The coefficients are expected to be chosen by the trellis for a progressive file; of others,
    too, it finds a legal script, though not always the best.

    Parameters
    ----------
    quantised
        Coefficients of the file.
    """

    @cache
    def size(scan: Scan) -> int:
        return scan_size(quantised.layout, quantised.levels, scan, progressive=True, exact=False)

    def smallest(scripts: Sequence[list[Scan]]) -> list[Scan]:
        return min(scripts, key=lambda script: sum(map(size, script)))

    luma = smallest(_luma_scripts())
    if quantised.layout.components == 1:
        return [Scan((0,), 0, 0, 0, 0), *luma]
    # Alone, luma's DC is coded row by row instead of MCU by MCU: its differences are smaller.
    dc = smallest(
        [
            [Scan((0,), 0, 0, 0, 0), Scan((1, 2), 0, 0, 0, 0)],
            [Scan((0, 1, 2), 0, 0, 0, 0)],
        ]
    )
    first, *later = luma
    return [*dc, first, Scan((1,), 1, 63, 0, 0), Scan((2,), 1, 63, 0, 0), *later]


def _luma_scripts() -> list[list[Scan]]:
    """Return ways of sending luma's AC."""
    scripts = [
        [Scan((0,), 1, 63, 0, 0)]
        if split is None
        else [Scan((0,), 1, split, 0, 0), Scan((0,), split + 1, 63, 0, 0)]
        for split in _SPLITS
    ]
    for late in _LATE_BITS:
        refinements = [Scan((0,), 1, 63, bit + 1, bit) for bit in reversed(range(late))]
        scripts.append([Scan((0,), 1, 63, 0, late), *refinements])
    return scripts
