"""The search for a JPEG of a given size, on sizes predicted from symbol statistics.

Size falls with the scale of a plan, smoothly but for noise. So few scales are tried (each is one
run of the trellis), until a file comes close. Its tables are kept, and lambda alone takes it across
the limit: two sets of coefficients for the same tables, one a little too large, one that fits.
Taking some of the blocks from the one and the rest from the other hits the limit nearly to the
byte.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from idse.codecs.jpeg import best_scans, mix
from idse.pipeline.images.descent import Descent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from idse.allocation.tables import CoefficientPlan, OperatingPoint
    from idse.codecs.jpeg import JpegLayout, Quantised, Quantiser, Scan

# How near a file must come to the limit, in log(size), before lambda and mixing take it there.
_NEAR = 0.02
# About what a file has beside scans and metadata.
_FRAME_BYTES = 250
# A gap that nobody minds, as a share of the limit and in bytes.
_CLOSE, _CLOSE_BYTES = 0.0005, 2
# First guesses of slopes: log(size) and log(distortion) over log2(scale), log(size) over
# log(lambda) with fixed tables.
_SIZE_SLOPE, _DISTORTION_SLOPE, _LAMBDA_SLOPE = -0.55, 1.0, -0.15
_SAME_DISTORTION = 0.02
_NOTHING = 1e-300  # of distortion, so that it has a logarithm
_MOST_STEPS, _MOST_MIXES = 8, 16
# Scales at which all steps are 1 and bits cost nothing, and at which none is worth its price.
_FINEST, _COARSEST = 2.0**-6, 2.0**18
# Where a search starts: steps of low luma frequencies of about this many code values, or of so many
# times those of a libjpeg file that is to be matched.
_FIRST_STEP, _LONGER = 16.0, 1.35
# Luma blocks from which on a progressive file is taken to be smaller than a sequential one: where
# it is not, that is by half a percent (1 of 66 files of 1024x1024 pixels, 2 of 66 of 512x512).
_LARGE = 4096
# How exactly --accuracy finds its scale, in octaves.
_OCTAVES = 1 / 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """Quantised coefficients and the file that they make.

    Attributes
    ----------
    scale
        Of the plan.
    point
        Tables and lambda.
    quantised
        The coefficients.
    scans, restart_rows
        How they are written, as for `idse.codecs.jpeg.Quantised.size`.
    overhead
        Bytes of the file that are metadata.
    """

    scale: float
    point: OperatingPoint
    quantised: Quantised
    scans: Sequence[Scan] | None
    restart_rows: int
    overhead: int

    @cached_property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.quantised.size(self.scans, restart_rows=self.restart_rows) + self.overhead


class Search:
    """Finds the JPEG of one picture that has a size, a distortion, or what a judge asks for.

    Parameters
    ----------
    quantiser
        Of the picture.
    plan
        How its tables and lambda follow from a scale.
    sample
        Makes one of some of its blocks, for what need not be known exactly; without it, or where
        that returns None, all are taken.
    progressive
        Whether the file is.
    restart_rows
        MCU rows between its restart markers; 0 is none.
    overhead
        Bytes of the file that are metadata.
    start
        Scale at which a search begins, where one is known that will about do.
    """

    def __init__(
        self,
        quantiser: Quantiser,
        plan: CoefficientPlan,
        *,
        sample: Callable[[], Quantiser | None] | None = None,
        progressive: bool,
        restart_rows: int = 0,
        overhead: int = 0,
        start: float | None = None,
    ) -> None:
        self._quantiser = quantiser
        self._make_sample = sample
        self._plan = plan
        self._progressive = progressive
        self._restart_rows = restart_rows
        self._overhead = overhead
        self._estimates: dict[float, float] = {}
        spectra = np.stack(plan.spectra)
        self._bounds = (
            math.log2(_FINEST * math.sqrt(float(spectra.min()))),
            math.log2(_COARSEST * math.sqrt(float(spectra.max()))),
        )
        self._unit = math.log2(math.sqrt(float(np.median(spectra[0, :3, :3]))))
        self._start = self._unit + math.log2(_FIRST_STEP) if start is None else math.log2(start)

    def at(self, scale: float) -> Solution:
        """Return the JPEG of one scale."""
        point = self._plan.at(scale)
        quantised = self._run(point)
        return self._solution(scale, point, quantised, self._script(quantised))

    def _run(self, point: OperatingPoint) -> Quantised:
        return self._quantiser.run(point.tables, point.lam, progressive=self._progressive)

    def _script(self, quantised: Quantised) -> Sequence[Scan] | None:
        """Return the scans of the smallest file; of a small one that may be a sequential scan."""
        if not self._progressive:
            return None
        scans = best_scans(quantised)
        if math.prod(quantised.layout.block_shape(0)) >= _LARGE:
            return scans
        return None if quantised.size() < quantised.size(scans) else scans

    def _solution(
        self,
        scale: float,
        point: OperatingPoint,
        quantised: Quantised,
        scans: Sequence[Scan] | None,
    ) -> Solution:
        return Solution(
            scale=scale,
            point=point,
            quantised=quantised,
            scans=scans,
            restart_rows=self._restart_rows,
            overhead=self._overhead,
        )

    def fit(self, limit: int) -> Solution:
        """Return the JPEG that comes nearest to a limit from below.

        Parameters
        ----------
        limit
            Bytes of the whole file. Where even the coarsest file is larger, that one is returned;
            and where the finest is smaller, that one.
        """
        descent = self._descent(math.log(limit), _SIZE_SLOPE)
        near = below = None
        guess = self._estimated(limit)
        while (x := descent.inside(guess)) is not None:
            found = self.at(2.0**x)
            descent.add(x, math.log(found.size))
            if found.size <= limit and (below is None or found.size > below.size):
                below = found
            if near is None or _gap(found, limit) < _gap(near, limit):
                near = found
            if _gap(near, limit) < _NEAR:
                break
            guess = self._estimated(limit, found)
        assert near is not None
        if (descent.above is None or descent.below is None) and _gap(near, limit) >= _NEAR:
            return near  # all that there is lies on one side
        return self._cross(near, limit) or below or self.at(2.0 ** self._bounds[1])

    def _estimated(self, limit: int, known: Solution | None = None) -> float:
        """Return log2 of the scale at which a file is estimated to have a size.

        A sample of the blocks says how sizes differ from scale to scale, and a file that is known
        how they differ from the sample's.
        """
        ratio, start = 1.0, self._start
        if known is not None:
            start = math.log2(known.scale)
            ratio = known.size / self._estimate(start)
        descent = Descent(
            math.log(limit / ratio), start=start, slope=_SIZE_SLOPE, bounds=self._bounds
        )
        best = start
        while (x := descent.next) is not None:
            y = math.log(self._estimate(x))
            descent.add(x, y)
            best = x
            if abs(y + math.log(ratio / limit)) < _NEAR / 4:
                break
        return best

    def _estimate(self, octave: float) -> float:
        """Return about how many bytes the file of a scale has."""
        if octave not in self._estimates:
            point = self._plan.at(2.0**octave)
            scans = self._quantiser.estimate(point.tables, point.lam, progressive=self._progressive)
            self._estimates[octave] = scans + self._overhead + _FRAME_BYTES
        return self._estimates[octave]

    def _cross(self, near: Solution, limit: int) -> Solution | None:
        """Take a file across the limit by lambda alone, and return the best mix of both sides."""
        fits = over = None
        found, step = near, _NEAR
        for _ in range(_MOST_STEPS):
            fits, over = (found, over) if found.size <= limit else (fits, found)
            if fits is not None and over is not None:
                return self._mixed(fits, over, limit)
            # Each time a little farther than what the slope says is enough.
            beyond = math.log(limit / found.size) + (step if found.size <= limit else -step)
            lam = found.point.lam * math.exp(min(max(beyond / _LAMBDA_SLOPE, -2), 2))
            point = replace(found.point, lam=lam)
            found = self._solution(near.scale, point, self._run(point), near.scans)
            step *= 2
        return fits

    def _mixed(self, fits: Solution, over: Solution, limit: int) -> Solution:
        """Take as many blocks from the larger file as fit."""
        best = fits
        low, high = (0, fits.size), (fits.quantised.blocks, over.size)
        moved = 0
        for _ in range(_MOST_MIXES):
            if high[0] - low[0] <= 1 or limit - best.size <= max(_CLOSE_BYTES, _CLOSE * limit):
                break
            # In proportion; but where one end stays twice, size bends: then in the middle.
            share = (limit - low[1]) / (high[1] - low[1]) if abs(moved) < 2 else 0.5
            count = low[0] + round((high[0] - low[0]) * share)
            count = min(max(count, low[0] + 1), high[0] - 1)
            quantised = mix(over.quantised, fits.quantised, count)
            found = self._solution(fits.scale, fits.point, quantised, fits.scans)
            if found.size <= limit:
                low, moved = (count, found.size), max(moved, 0) + 1
                best = found if found.size > best.size else best
            else:
                high, moved = (count, found.size), min(moved, 0) - 1
        return best

    @cached_property
    def _sample(self) -> Quantiser:
        made = None if self._make_sample is None else self._make_sample()
        return self._quantiser if made is None else made

    def distortion(self, tables: Sequence[npt.ArrayLike], lam: float) -> float:
        """Return the weighted squared error of a file, as the sample says."""
        some = self._sample.run(tables, lam, progressive=self._progressive)
        return some.distortion * _blocks(self._quantiser.layout) / some.blocks

    def rounded(self, tables: Sequence[npt.ArrayLike]) -> float:
        """Return the weighted squared error of libjpeg's own coefficients with these tables."""
        return self._quantiser.run(tables, 0.0).distortion

    def match(self, tables: Sequence[npt.ArrayLike], share: float) -> Solution:
        """Return the JPEG that loses a share of what libjpeg's loses, as the sample says.

        Parameters
        ----------
        tables
            Of libjpeg's.
        share
            Above 0.
        """
        level = math.log(max(share * self.distortion(tables, 0.0), _NOTHING))
        step = _LONGER * float(np.median(np.asarray(tables[0])[:3, :3]))
        descent = self._descent(-level, -_DISTORTION_SLOPE, self._unit + math.log2(step))
        best = (math.inf, self._start)
        while (x := descent.next) is not None:
            point = self._plan.at(2.0**x)
            found = math.log(max(self.distortion(point.tables, point.lam), _NOTHING))
            descent.add(x, -found)
            best = min(best, (abs(found - level), x))
            if best[0] < _SAME_DISTORTION:
                break
        return self.at(2.0 ** best[1])

    def coarsest(self, agrees: Callable[[Solution], bool]) -> tuple[Solution, bool]:
        """Return the coarsest JPEG that a judge agrees to, and whether it does.

        It looks for one scale beyond which it does not agree; there may be others.

        Parameters
        ----------
        agrees
            Says whether a file will do. Where it agrees to none, the finest is returned.
        """
        low, high = self._bounds
        best: Solution | None = None
        x, step = self._start, 1.0
        while True:
            found = self.at(2.0**x)
            if agrees(found):
                best, low = found, x
            else:
                high = x
            if high - low <= _OCTAVES or low == self._bounds[1]:
                break
            ends = (low == self._bounds[0], high == self._bounds[1])
            if any(ends) and high - low > step:
                # Not yet between two that are known: go on, faster and faster.
                x, step = (x - step if ends[0] else x + step), 2 * step
            else:
                x = (low + high) / 2
        if best is not None:
            return best, True
        finest = self.at(2.0 ** self._bounds[0])
        return finest, agrees(finest)

    def _descent(self, level: float, slope: float, start: float | None = None) -> Descent:
        start = self._start if start is None else start
        return Descent(level, start=start, slope=slope, bounds=self._bounds)


def _gap(solution: Solution, limit: int) -> float:
    return abs(math.log(solution.size / limit))


def _blocks(layout: JpegLayout) -> int:
    return sum(math.prod(layout.block_shape(index)) for index in range(layout.components))
