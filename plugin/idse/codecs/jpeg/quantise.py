"""Coefficients chosen by what they are worth and what they cost."""

from __future__ import annotations

import ctypes
import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.codecs.jpeg import _trellis_raw
from idse.codecs.jpeg.sizes import file_size
from idse.codecs.jpeg.tables import checked_tables
from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.codecs.jpeg.layout import JpegLayout
    from idse.codecs.jpeg.script import Scan


def _offsets(layout: JpegLayout) -> list[int]:
    """Return the first block of each component, and the number of all blocks."""
    counts = (math.prod(layout.block_shape(i)) for i in range(layout.components))
    return [0, *np.cumsum(list(counts)).tolist()]


class Quantiser:
    """A picture's coefficients and their weights, to be quantised with any tables and lambda.

    It keeps the arrays, which are not to be changed any more. :meth:`run` changes nothing, releases
    the GIL, and may be called by many threads at once.

    Parameters
    ----------
    layout
        Of the file.
    coefficients
        float32 ``(rows, columns, 8, 8)`` for each component, natural order, as
        :func:`idse.codecs.jpeg.transform` returns them.
    weights
        The same shapes, >= 0: what a squared error of each coefficient counts.

    Raises
    ------
    InputError
        Shapes do not fit the layout, a value is not finite, or a weight is negative.
    """

    def __init__(
        self,
        layout: JpegLayout,
        coefficients: Sequence[npt.NDArray[np.floating]],
        weights: Sequence[npt.NDArray[np.floating]],
    ) -> None:
        self.layout = layout
        self._coefficients = _trellis_raw.floats(
            layout, coefficients, "coefficients", negative=True
        )
        self._weights = _trellis_raw.floats(layout, weights, "weights", negative=False)

    def run(
        self, tables: Sequence[npt.ArrayLike], lam: float, *, progressive: bool = False
    ) -> Quantised:
        """Choose the coefficients that minimise weighted squared error + ``lam`` * bits.

        Bits are those of the symbols that are chosen: costs follow from their statistics, in two
        passes. With ``lam`` 0 coefficients are rounded.

        Parameters
        ----------
        tables
            Integer ``(8, 8)`` for each component, natural order, 1 to 65535.
        lam
            Weighted squared error that a bit is worth, >= 0.
        progressive
            Choose for a progressive file, where runs of blocks end together.

        Raises
        ------
        InputError
            The tables do not fit, or ``lam`` is negative or not finite.
        """
        checked = self._checked(tables, lam)
        levels = np.empty((_offsets(self.layout)[-1], 64), np.int16)
        status = _trellis_raw.library().idse_trellis_run(
            ctypes.byref(_trellis_raw.grid(self.layout)),
            _trellis_raw.pointers(self._coefficients),
            _trellis_raw.pointers(self._weights),
            checked.ctypes.data,
            lam,
            progressive,
            levels.ctypes.data,
        )
        _trellis_raw.check(status)
        return Quantised(self, checked, levels, progressive=progressive)

    def estimate(
        self, tables: Sequence[npt.ArrayLike], lam: float, *, progressive: bool = False
    ) -> float:
        """Return about how many bytes the scans of :meth:`run`'s result take.

        It looks at some 1000 blocks of each component, so that it takes a sixth of the time for a
        megapixel and less for more. By what factor two settings' sizes differ is told within a per
        cent or two, so that a search for a size can take its steps on estimates, corrected by one
        real size.

        Parameters
        ----------
        tables, lam, progressive
            As for :meth:`run`.
        """
        checked = self._checked(tables, lam)
        bits = _trellis_raw.library().idse_trellis_estimate(
            ctypes.byref(_trellis_raw.grid(self.layout)),
            _trellis_raw.pointers(self._coefficients),
            _trellis_raw.pointers(self._weights),
            checked.ctypes.data,
            lam,
            progressive,
        )
        return float(bits) / 8

    def _checked(self, tables: Sequence[npt.ArrayLike], lam: float) -> npt.NDArray[np.uint16]:
        if not (math.isfinite(lam) and lam >= 0):
            raise InputError(f"lambda is {lam}: it must be a finite number >= 0")
        return np.stack(checked_tables(tables, self.layout.components))

    def distortion(self, tables: npt.NDArray[np.uint16], levels: npt.NDArray[np.int16]) -> float:
        """Return the weighted squared error of quantised coefficients.

        Parameters
        ----------
        tables
            uint16 ``(components, 8, 8)``.
        levels
            int16 ``(blocks, 64)``: natural order, component by component.
        """
        return float(
            _trellis_raw.library().idse_trellis_distortion(
                ctypes.byref(_trellis_raw.grid(self.layout)),
                _trellis_raw.pointers(self._coefficients),
                _trellis_raw.pointers(self._weights),
                tables.ctypes.data,
                levels.ctypes.data,
            )
        )


@dataclass(frozen=True, eq=False)
class Quantised:
    """Quantised coefficients of a picture.

    Attributes
    ----------
    source
        What they were chosen for.
    tables
        uint16 ``(components, 8, 8)``.
    levels
        int16 ``(blocks, 64)``: natural order, component by component. Not to be changed.
    progressive
        Whether they were chosen for a progressive file.
    """

    source: Quantiser
    tables: npt.NDArray[np.uint16]
    levels: npt.NDArray[np.int16]
    progressive: bool

    @property
    def layout(self) -> JpegLayout:
        """Of the file."""
        return self.source.layout

    @property
    def blocks(self) -> int:
        """Number of blocks of all components."""
        return len(self.levels)

    @property
    def coefficients(self) -> list[npt.NDArray[np.int16]]:
        """Int16 ``(rows, columns, 8, 8)`` for each component, natural order: views."""
        bounds = itertools.pairwise(_offsets(self.layout))
        return [
            self.levels[start:end].reshape(*self.layout.block_shape(i), 8, 8)
            for i, (start, end) in enumerate(bounds)
        ]

    @cached_property
    def distortion(self) -> float:
        """Weighted squared error."""
        return self.source.distortion(self.tables, self.levels)

    def size(
        self,
        scans: Sequence[Scan] | None = None,
        *,
        restart_rows: int = 0,
        exact: bool = True,
    ) -> int:
        """Return the bytes of the file, to the byte, without markers that ``write`` is handed.

        Parameters
        ----------
        scans
            None for one sequential scan, or a script.
        restart_rows
            MCU rows between restart markers; 0 is none.
        exact
            Count restart markers and the bytes that are stuffed behind 0xFF, too. Without them the
            result is about 0.3 % too low, and takes less than half the time.
        """
        return file_size(
            self.layout, self.levels, self.tables, scans, restart_rows=restart_rows, exact=exact
        )


def mix(one: Quantised, two: Quantised, count: int) -> Quantised:
    """Return blocks of two solutions: ``count`` from the one, the rest from the other.

    They are taken in an order that is spread evenly over the picture, and a larger count takes the
    blocks of a smaller one and more, so that a size between the two can be found by bisection.

    Parameters
    ----------
    one, two
        Of the same picture and tables.
    count
        0 to ``one.blocks``.

    Raises
    ------
    InputError
        The two do not belong together, or the count is out of range.
    """
    if one.source is not two.source or not np.array_equal(one.tables, two.tables):
        raise InputError("only coefficients of one picture and the same tables can be mixed")
    if not 0 <= count <= one.blocks:
        raise InputError(f"{count} blocks of {one.blocks} cannot be taken")
    levels = np.empty_like(one.levels)
    _trellis_raw.library().idse_trellis_mix(
        one.levels.ctypes.data, two.levels.ctypes.data, one.blocks, count, levels.ctypes.data
    )
    return Quantised(one.source, one.tables, levels, one.progressive)
