"""The choice of a progressive file's scans."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from idse.codecs.jpeg.layout import JpegLayout
from idse.codecs.jpeg.script import Scan
from idse.codecs.jpeg.sizes import scan_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from idse.codecs.jpeg.quantise import Quantised
    from idse.codecs.jpeg.sizes import Levels

# Where luma's AC may be split in two bands, and how many of its lowest bits may come later. Chroma
# gains by neither, DC by no successive approximation (each in fewer than 1 of 40 pictures, under
# 0.1 %), and what else libjpeg's and mozjpeg's scripts do wins less than 0.05 % more (measured).
_SPLITS: Final = (None, 8, 12, 25)
_LATE_BITS: Final = (1, 2)

# Of a large picture, scripts are compared on groups of rows of luma's blocks, one of _EVERY.
_GROUP: Final = 4
_EVERY: Final = 4
_SMALL: Final = 8192
_FEW_ROWS: Final = 2 * _GROUP * _EVERY


def best_scans(quantised: Quantised) -> list[Scan]:
    """Return the scans that make about the smallest progressive file, of a dozen scripts.

    The coefficients are expected to be chosen by the trellis for a progressive file; of others,
    too, it finds a legal script, though not always the best.

    Parameters
    ----------
    quantised
        Coefficients of the file.
    """
    layout, levels = quantised.layout, quantised.levels
    whole = _sizer(layout, levels, 1)
    rows, columns = layout.block_shape(0)
    small = rows * columns < _SMALL or rows < _FEW_ROWS
    luma = _smallest(_luma_scripts(), whole if small else _sampled(levels, rows, columns))
    if layout.components == 1:
        return [Scan((0,), 0, 0, 0, 0), *luma]
    # Alone, luma's DC is coded row by row instead of MCU by MCU: its differences are smaller. Only
    # in a small file another scan's header can cost more.
    apart = [Scan((0,), 0, 0, 0, 0), Scan((1, 2), 0, 0, 0, 0)]
    dc = _smallest([apart, [Scan((0, 1, 2), 0, 0, 0, 0)]], whole) if small else apart
    first, *later = luma
    return [*dc, first, Scan((1,), 1, 63, 0, 0), Scan((2,), 1, 63, 0, 0), *later]


def _sizer(layout: JpegLayout, levels: Levels, factor: float) -> Callable[[Scan], float]:
    """Return what tells scans' sizes when a picture has ``factor`` times as many blocks."""

    @cache
    def size(scan: Scan) -> float:
        header, data = scan_size(layout, levels, scan, progressive=True, exact=False)
        return header + factor * data

    return size


def _sampled(levels: Levels, rows: int, columns: int) -> Callable[[Scan], float]:
    """Return what tells about how large luma's scans are, from some rows of its blocks."""
    groups = rows // _GROUP
    luma = levels[: groups * _GROUP * columns].reshape(groups, -1, 64)
    sample = luma[::_EVERY].reshape(-1, 64)
    seen = len(sample) // columns
    return _sizer(JpegLayout(8 * columns, 8 * seen, "grey"), sample, rows / seen)


def _smallest(scripts: Sequence[list[Scan]], size: Callable[[Scan], float]) -> list[Scan]:
    return min(scripts, key=lambda script: sum(map(size, script)))


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
