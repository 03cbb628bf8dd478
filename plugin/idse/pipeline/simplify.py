"""Pictures that are simplified by a learned codec where x264 cannot hold a rate.

A first look, which is an unsteered encode with the user's own settings, tells where: segments with
a frame at which the VBV buffer runs dry, or, without a buffer, those above the mean rate of a video
that is. There x264 is at its largest QP and beyond. Every picture of such a segment is replaced by
the reconstruction of the learned codec at a frame's share of the rate, or as near to that as the
codec goes, before anything else sees it.

It is a last resort, and hardly ever a good one. x264 codes nearly nothing long before it overruns a
buffer; and where it does, scaling pictures down (``--max-resolution``) costs nothing, spends less
and shows more: 21 dB in place of 15 at 2 kbit/s (``tools/bench/results/simplified_video.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import av
import numpy as np

from idse.errors import IdseError, InputError, TargetError
from idse.pipeline.frames import resized, rgb
from idse.pipeline.images.vae import codec_of
from idse.pipeline.rate import Rate
from idse.pipeline.source import DecodedFrame, can_read_again

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    import numpy.typing as npt

    from idse.codecs.x264 import Encoder, Packet
    from idse.picture import Picture
    from idse.pipeline.images.vae import VaeCodec
    from idse.pipeline.options import EncodeOptions
    from idse.pipeline.rehearsal import Run
    from idse.pipeline.report import Warnings
    from idse.pipeline.source import Source

T = TypeVar("T")

SEGMENT_SECONDS = 2.0
# Overruns of a mean rate that a video's length explains: x264 aims for no more than about this.
_SLACK = 1.02
_INITIAL = 0.9  # of x264's VBV buffer: vbv-init


def check_fallback(encode: EncodeOptions, source: str) -> None:
    """Refuse a first look at what can be read but once.

    Raises
    ------
    InputError
        A fallback is asked for, and the source is such a thing.
    """
    if encode.fallback is not None and not can_read_again(source):
        raise InputError(
            f"a fallback reads the source twice, which {source!r} cannot do: give a file"
        )


def look(run: Run, source: Source, encode: EncodeOptions, warnings: Warnings) -> Simplifier:
    """Find out where x264 cannot hold the rate, and return what simplifies pictures there.

    Parameters
    ----------
    run
        The transcode.
    source
        Of which the first frame has not been read yet.
    encode
        The user's options.
    warnings
        Where is told what cannot be simplified.
    """
    watched = Look(float(source.rate))
    run.one_pass(run.open_source(), None, None, {}, phase="look", watch=watched.open, steered=False)
    rate, time_base = Rate.of(encode.options), source.time_base
    return Simplifier(
        codec_of(encode.vae_models),
        watched.overruns(rate),
        limit=max(1, int(rate.least / float(source.rate) / 8)),
        seconds=lambda frame: float(frame.time.pts * time_base),
        warnings=warnings,
    )


class Look:
    """Watches an encode for where it spends more than it may; see `idse.pipeline.driver.Watch`.

    Parameters
    ----------
    fps
        Frames per second.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._message = 0
        self._start: float | None = None
        self._shown: dict[int, float] = {}
        self._coded: list[tuple[float, int]] = []

    def open(self, encoder: Encoder) -> Look:
        """Look at an encoder, whose message about its settings is no part of what it controls."""
        self._message = len(encoder.headers.sei) + 4
        return self

    def source(self, picture: Picture, pts: int, seconds: float) -> None:
        """Note when a frame is shown."""
        del picture
        if self._start is None:
            self._start = seconds
        self._shown[pts] = seconds - self._start

    def packets(self, packets: Iterable[Packet]) -> None:
        """Note what frames take, in decoding order."""
        for packet in packets:
            size = len(packet.data) - self._message
            self._coded.append((self._shown.pop(packet.pts), 8 * size))
            self._message = 0

    def flush(self) -> None:
        """Nothing is left to be noted."""

    def overruns(self, rate: Rate) -> frozenset[int]:
        """Return the numbers of the segments in which the rate is not held."""
        if rate.peak is not None and rate.buffer is not None:
            return self._underflows(rate.peak, rate.buffer)
        assert rate.mean is not None
        bits: dict[int, list[int]] = {}
        for seconds, size in self._coded:
            bits.setdefault(segment_of(seconds), []).append(size)
        total = sum(size for _, size in self._coded)
        if total * self._fps <= _SLACK * rate.mean * len(self._coded):
            return frozenset()
        return frozenset(
            number
            for number, sizes in bits.items()
            if sum(sizes) * self._fps > rate.mean * len(sizes)
        )

    def _underflows(self, peak: float, buffer: float) -> frozenset[int]:
        """Follow the buffer as x264 does (ratecontrol.c, update_vbv)."""
        level = _INITIAL * buffer
        found = set()
        for seconds, size in self._coded:
            level -= size
            if level < 0:
                found.add(segment_of(seconds))
                level = 0.0
            level = min(level + peak / self._fps, buffer)
        return frozenset(found)


def segment_of(seconds: float) -> int:
    """Return the number of the segment that a frame is in, by its time since the first one."""
    return int(seconds // SEGMENT_SECONDS)


class Simplifier:
    """Replaces the pictures of some segments.

    Parameters
    ----------
    codec
        That makes them simple.
    segments
        Numbers of the segments.
    limit
        Bytes of a picture.
    seconds
        When a frame is shown.
    warnings
        Where is told what cannot be simplified.

    Attributes
    ----------
    frames
        That were replaced since `run` was last called.
    """

    def __init__(
        self,
        codec: VaeCodec,
        segments: Collection[int],
        *,
        limit: int,
        seconds: Callable[[DecodedFrame], float],
        warnings: Warnings,
    ) -> None:
        self._codec = codec
        self._segments = frozenset(segments)
        self._limit = limit
        self._seconds = seconds
        self._warnings = warnings
        self._failed = False
        self.frames = 0

    @property
    def starts(self) -> tuple[float, ...]:
        """Seconds at which the segments begin."""
        return tuple(SEGMENT_SECONDS * number for number in sorted(self._segments))

    def run(self, items: Iterable[DecodedFrame | T]) -> Iterator[DecodedFrame | T]:
        """Replace frames, and hand on everything else."""
        start: float | None = None
        self.frames = 0
        for item in items:
            if not isinstance(item, DecodedFrame):
                yield item
                continue
            now = self._seconds(item)
            start = now if start is None else start
            inside = not self._failed and segment_of(now - start) in self._segments
            yield self._simple(item) if inside else item

    def _simple(self, item: DecodedFrame) -> DecodedFrame:
        if item.frame.interlaced_frame:
            self._warnings.add("fallback", "interlaced pictures are not simplified")
            return item
        form = item.picture.format
        try:
            decoded = self._coarse(rgb(item.frame))
        except IdseError as error:
            self._failed = True  # the same for every frame
            self._warnings.add("fallback", f"pictures are not simplified: {error}")
            return item
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(decoded), "rgb24")
        frame, picture = resized(frame, form, item.picture.index)
        self.frames += 1
        return DecodedFrame(frame, picture, item.time)

    def _coarse(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        try:
            coded = self._codec.encode(pixels, self._limit)
        except TargetError:
            coded = self._codec.coarsest(pixels)
        return self._codec.decode(coded.data)
