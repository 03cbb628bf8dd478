"""QP offsets by encoding a segment again and again (``--effort oracle``).

Every round encodes the segment with the offsets found so far, measures what the network truly loses
in it, and encodes it twice more with all QPs a little higher and lower, which gives the slope of
weighted distortion over bits of every macroblock. Offsets then move towards equal slopes. The best
round by what the network loses at equal bytes wins; stock is one of them.

It costs three encodes and some 40 gradients per network a round, and is what every cheaper
allocation is held against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from idse.allocation.equal_slope import Pool, towards_equal_slopes
from idse.codecs.h264.parser import Parser
from idse.codecs.x264.stream import START_CODE
from idse.importance.motion import MotionEstimator
from idse.importance.shares import squared_error
from idse.picture import Picture
from idse.pipeline.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from idse.codecs.x264 import Encoder, Packet
    from idse.importance.motion import MotionField
    from idse.importance.true_error import SourceView, TrueErrorMeter
    from idse.picture import PictureFormat
    from idse.pipeline.probe import Watched

FloatMap = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

# Bits fall by half in about so many QP.
_HALVING_QP = 6.0
# Slopes of log-distance over log-bytes that are believed; measured ones are 0.5 to 1.6.
_FLATTEST, _STEEPEST = 0.3, 2.0
# An error of half a code value per sample: what rounding leaves, and what no weight is read from.
_LEAST_ERROR = 64.0
# Smallest weight as a part of the mean one: an error that helped once is not worth having.
_LEAST_WEIGHT = 0.02
# Change of the squared error between the two neighbours that is counted at least, as a part of it.
_LEAST_GAIN = 0.05


@dataclass(frozen=True, kw_only=True)
class OraclePolicy:
    """How a segment is searched.

    Attributes
    ----------
    rounds
        Of improvement, at least 1.
    samples
        Pictures whose losses are shared out among macroblocks in a round, spread over the segment;
        as many others are judged. Measured ones alternate from round to round, judged ones stay.
    step
        QP up and down for the slopes.
    damping
        Part of the way to equal slopes that a round goes.
    bound
        Largest offset, QP.
    memory
        What the next picture's bits and distortion count in a macroblock's slope.
    keep
        What an earlier round's measurements count.
    """

    rounds: int = 5
    samples: int = 25
    step: float = 2.0
    damping: float = 0.6
    bound: float = 14.0
    memory: float = 0.85
    keep: float = 0.6


class PictureStore:
    """Pictures of one format on disk, in a file that its folder takes away with it."""

    def __init__(self, path: Path, form: PictureFormat) -> None:
        self._form = form
        self._file = path.open("w+b")
        self._path = path
        self._dtype = np.dtype(np.uint8 if form.bit_depth == 8 else np.uint16)
        self._sizes = [rows * columns for rows, columns in form.plane_shapes]
        self._indices: list[int] = []

    def append(self, picture: Picture) -> None:
        """Write a picture's planes."""
        for plane in picture.planes:
            self._file.write(np.ascontiguousarray(plane).data)
        self._indices.append(picture.index)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, n: int) -> Picture:
        """Read a picture."""
        total = sum(self._sizes)
        self._file.seek(n * total * self._dtype.itemsize)
        data = np.fromfile(self._file, self._dtype, total)
        ends = np.cumsum(self._sizes)[:-1]
        y, cb, cr = (
            part.reshape(shape)
            for part, shape in zip(np.split(data, ends), self._form.plane_shapes, strict=True)
        )
        return Picture(planes=(y, cb, cr), format=self._form, index=self._indices[n])

    def __iter__(self) -> Iterator[Picture]:
        return (self[n] for n in range(len(self)))

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Trial:
    """One encode of the segment: bits and squared error per macroblock, and what networks lose."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.bytes = 0
        self.bits: FloatArray = np.zeros(shape)
        self.error: FloatArray = np.zeros(shape)
        # Per network, summed over the pictures that are judged; per picture that is measured.
        self.distance: FloatArray = np.zeros(1)
        self.share: dict[int, FloatArray] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The best allocation of a segment.

    Attributes
    ----------
    offsets
        float32 ``(pictures, rows, cols)``, or None where nothing beat stock.
    change
        Distance of the outputs against stock's at equal bytes, as a part of it, as judged here.
    frames_measured
        Pictures whose losses were shared out.
    """

    offsets: FloatMap | None
    change: float
    frames_measured: int = 0


class SegmentSearch:
    """Looks for the offsets of one segment.

    Parameters
    ----------
    pictures
        Of the segment, in presentation order.
    pts
        Their times by the encoders' clock.
    open_encoder
        Returns a progressive encoder for the segment that takes offsets, so many QP above the
        encode's own.
    meter, importance
        Measures the networks' losses; the networks' weights.
    policy
        How to search.
    limit
        Holds offsets ``(pictures, rows, cols)`` within what the user allows.
    """

    def __init__(
        self,
        pictures: PictureStore,
        pts: Sequence[int],
        open_encoder: Callable[[float], Encoder],
        meter: TrueErrorMeter,
        importance: Sequence[float],
        *,
        policy: OraclePolicy,
        limit: Callable[[FloatMap], FloatMap] = lambda offsets: offsets,
    ) -> None:
        self._pictures = pictures
        self._pts = pts
        self._open_encoder = open_encoder
        self._meter = meter
        self._importance = np.array(importance, np.float64) / sum(importance)
        self._policy = policy
        self._limit = limit
        self._stride = max(2, math.ceil(len(pictures) / policy.samples))
        self._views: dict[int, SourceView] = {}
        self._pool = self._open_pool()

    def _open_pool(self) -> Pool:
        return Pool(
            _motion(iter(self._pictures)),
            _motion(self._pictures[n] for n in reversed(range(len(self._pictures))))[::-1],
            memory=self._policy.memory,
        )

    def run(self) -> Found:
        """Search.

        Raises
        ------
        ModelError
            A network fails on a picture.
        CodecError
            x264 failed.
        """
        step, keep = self._policy.step, self._policy.keep
        stock = current = self._trial(None, 0.0, measured=self._sampled(0), judged=True)
        scale = _reciprocal(stock.distance) * self._importance
        if not scale.any():
            return Found(offsets=None, change=0.0)
        up, down = (self._trial(None, shift, judged=True) for shift in (step, -step))
        steepness = _steepness(up, down, scale)
        offsets = np.zeros(stock.bits.shape, np.float32)
        share, error = np.zeros(offsets.shape), np.zeros(offsets.shape)
        best, change = None, 0.0
        for n in range(self._policy.rounds):
            if n:
                up, down = (self._trial(offsets, shift) for shift in (step, -step))
            share, error = share * keep, error * keep
            for index, found in current.share.items():
                share[index] += np.tensordot(scale, found, axes=1)
                error[index] += current.error[index]
            lost = np.maximum(up.error - down.error, _LEAST_GAIN * current.error)
            gain = self._pool(self._weight(share, error) * lost)
            cost = self._pool(down.bits - up.bits)
            offsets = towards_equal_slopes(
                offsets, gain, cost, damping=self._policy.damping, bound=self._policy.bound
            )
            # What this step changes in bytes shows only when it is encoded; what the last one did
            # is known.
            offsets = self._shifted(offsets, current.bytes / stock.bytes)
            current = self._trial(offsets, 0.0, measured=self._sampled(n + 1), judged=True)
            more = current.bytes / stock.bytes
            relative = float(scale @ current.distance) / float(scale @ stock.distance)
            if relative * more**steepness - 1 < change:
                change = relative * more**steepness - 1
                best = self._shifted(offsets, max(more, 1.0))
        return Found(offsets=best, change=change, frames_measured=len(self._views))

    def _shifted(self, offsets: FloatMap, more: float) -> FloatMap:
        """Return offsets that take out so many times too many bytes."""
        shift = np.float32(_HALVING_QP * math.log2(more))
        bound = self._policy.bound
        return self._limit(np.clip(offsets + shift, -bound, bound))

    def _weight(self, share: FloatArray, error: FloatArray) -> FloatArray:
        """Return weights of all pictures from what was measured of some."""
        seen = self._pool((error > 0).astype(np.float64))
        total = float(error.sum())
        if total <= 0:
            return np.ones(share.shape)
        least = _LEAST_WEIGHT * max(float(share.sum()), 0.0) / total
        weight = self._pool(share) / (self._pool(error) + _LEAST_ERROR * seen + 1e-9)
        return np.maximum(weight, least)

    def _sampled(self, n: int) -> frozenset[int]:
        """Return the pictures that are measured in round n: where possible none that is judged."""
        phases = [p for p in (1, 3, 2) if p < self._stride]
        start = phases[n % len(phases)] if len(self._pictures) > self._stride else 0
        return frozenset(range(start, len(self._pictures), self._stride))

    def _trial(
        self,
        offsets: FloatMap | None,
        shift: float,
        *,
        measured: frozenset[int] = frozenset(),
        judged: bool = False,
    ) -> _Trial:
        with self._open_encoder(shift) as encoder:
            trial = _Trial((len(self._pictures), *encoder.mb_shape))
            probe, parser = Probe(encoder), Parser()
            number = {pts: n for n, pts in enumerate(self._pts)}
            length_size = 4 if encoder.global_headers else 0
            for unit in (encoder.headers.sps, encoder.headers.pps):
                list(parser.feed(START_CODE + unit, length_size=0, tag=0))

            def take(packets: Iterable[Packet]) -> None:
                for packet in packets:
                    trial.bytes += len(packet.data)
                    for parsed in parser.feed(packet.data, length_size=length_size, tag=packet.pts):
                        trial.bits[number[parsed.tag]] = parsed.frame.bits
                    for watched in probe.packets([packet]):
                        self._look(trial, watched, measured, judged=judged)

            for n, picture in enumerate(self._pictures):
                probe.source(picture)
                row = None if offsets is None else np.ascontiguousarray(offsets[n])
                take(encoder.encode(picture.planes, pts=self._pts[n], offsets=row))
            take(encoder.flush())
            for parsed in parser.flush():
                trial.bits[number[parsed.tag]] = parsed.frame.bits
            for watched in probe.flush():
                self._look(trial, watched, measured, judged=judged)
        return trial

    def _look(
        self, trial: _Trial, watched: Watched, measured: frozenset[int], *, judged: bool
    ) -> None:
        """Note what the error of a decoded picture is, and what it costs."""
        n = watched.index
        trial.error[n] = squared_error(watched.source, watched.decoded)
        if n in measured:
            found = self._meter.measure(self._view(n, watched.source), watched.decoded)
            trial.share[n] = found.share
        if judged and n % self._stride == 0:
            distance = self._meter.distance(self._view(n, watched.source), watched.decoded)
            trial.distance = trial.distance + distance

    def _view(self, n: int, source: Picture) -> SourceView:
        if n not in self._views:
            self._views[n] = self._meter.view(source)
        return self._views[n]


def _motion(pictures: Iterator[Picture]) -> list[MotionField | None]:
    estimator = MotionEstimator()
    return [estimator.push(picture) for picture in pictures]


def _reciprocal(values: FloatArray) -> FloatArray:
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def _steepness(up: _Trial, down: _Trial, scale: FloatArray) -> float:
    """Return how fast the distance falls with the bytes, in logarithms."""
    lost = float(scale @ up.distance), float(scale @ down.distance)
    if min(lost) <= 0 or up.bytes >= down.bytes:
        return 1.0
    found = math.log(lost[0] / lost[1]) / math.log(down.bytes / up.bytes)
    return min(max(found, _FLATTEST), _STEEPEST)
