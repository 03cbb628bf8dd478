"""Choosing a smaller coded size by what a network can see: measured, not guessed.

The network's input is mostly smaller than the picture, so detail beyond its Nyquist frequency
cannot reach it. That an ideal downscale loses nothing does not make it pay, though: at one QP a
smaller picture is quantised more coarsely in the frequencies that the network does see, and at the
network's own size it needs more bits for equal outputs than the full size does. So a few frames are
coded (as keyframes, with the encoder's own settings) at full size and at smaller ones, and what
counts is the bytes that each size needs for the output distance that the full size has.

Needs torch, through the networks that are handed in.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import av

from idse.codecs.x264 import Encoder
from idse.pipeline.frames import picture, picture_format, resized
from idse.pipeline.report import Warnings
from idse.pipeline.scaling import MIN_SIDE, scaled_size
from idse.pipeline.source import Source, can_read_again
from idse.vision.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt
    from av.video.frame import VideoFrame

    from idse.codecs.x264 import X264Library
    from idse.picture import Picture, PictureFormat
    from idse.pipeline.options import EncodeOptions
    from idse.vision import FeatureExtractor

SAMPLES = 6
# Decoded at most on the way from a keyframe to a sample.
_LONGEST_WALK = 300
_SCALES = tuple(Fraction(n, 12) for n in (10, 9, 8, 7, 6, 5, 4, 3))
# A smaller size is given so much more quality, in CRF, to reach the outputs of the full one.
_STEPS = (0.0, -3.0, -6.0)
# Sizes are tried from large to small until so many in a row are worse than the best one.
_PATIENCE = 2
# Less gain than this is not worth a smaller picture: it is about what six frames can resolve.
_LEAST_GAIN = 0.05


@dataclass(frozen=True)
class Choice:
    """A coded size, and why."""

    size: tuple[int, int]
    why: str


def sample_frames(url: str, first: VideoFrame, *, count: int = SAMPLES) -> list[VideoFrame]:
    """Return frames spread over a source, of the first one's size; only the first one of a stream.

    Parameters
    ----------
    url
        The source.
    first
        Its first frame.
    count
        How many at most.
    """
    if not can_read_again(url) or "://" in url:
        return [first]
    found: dict[int | None, VideoFrame] = {}
    with Source(url, warnings=Warnings()) as source:
        duration = source.duration
        if duration is None:
            return [first]
        start = source.video.start_time or 0
        for n in range(count):
            at = start + int(duration * (n + 0.5) / count / source.time_base)
            frame = _frame_at(source, at)
            same = frame is not None and (frame.width, frame.height) == (first.width, first.height)
            if frame is not None and same:
                found[frame.pts] = frame
    return list(found.values()) or [first]


def _frame_at(source: Source, at: int) -> VideoFrame | None:
    """Return the frame shown at a time, or the nearest one before it that is quickly reached."""
    last = None
    try:
        source.container.seek(at, stream=source.video)
        for n, frame in enumerate(_decoded(source)):
            last = frame
            if n >= _LONGEST_WALK or (frame.pts is not None and frame.pts >= at):
                break
    except av.FFmpegError:
        pass  # what was decoded so far is as good a sample
    return last


def _decoded(source: Source) -> Iterator[VideoFrame]:
    for packet in source.container.demux(source.video):
        yield from source.video.decode(packet)


class _Trial:
    """Codes samples at a size and a CRF, and lets networks look at them."""

    def __init__(
        self,
        frames: Sequence[VideoFrame],
        networks: Sequence[tuple[FeatureExtractor, float]],
        encode: EncodeOptions,
        library: X264Library,
    ) -> None:
        self._frames = frames
        self.form = picture_format(frames[0])
        self._networks = networks
        self._encode = encode
        self._library = library
        pictures = [picture(frame, n) for n, frame in enumerate(frames)]
        self._true = [[self._see(net, shown) for shown in pictures] for net, _ in networks]

    def _see(self, network: FeatureExtractor, shown: Picture) -> npt.NDArray[np.float64]:
        import torch

        with one_thread(), torch.inference_mode():
            features = network.features(network.from_picture(shown))[0]
        return features.double().cpu().numpy()

    def run(self, size: tuple[int, int], crf: float) -> tuple[int, list[float]]:
        """Return bytes, and the squared output distance to every network, over all samples."""
        total, distances = 0, [0.0] * len(self._networks)
        form = replace(self.form, width=size[0], height=size[1])
        for n, frame in enumerate(self._frames):
            shown = picture(frame, n) if form == self.form else resized(frame, form, n)[1]
            data = self._code(shown, crf)
            total += len(data)
            decoded = _decode(data, form, n)
            for k, (network, _) in enumerate(self._networks):
                change = self._see(network, decoded) - self._true[k][n]
                distances[k] += float((change**2).sum())
        return total, distances

    def _code(self, shown: Picture, crf: float) -> bytes:
        form, encode = shown.format, self._encode
        with Encoder(
            width=form.width,
            height=form.height,
            pix_fmt=form.pix_fmt,
            fps=Fraction(25),
            preset=encode.preset,
            tune=encode.tune,
            profile=encode.profile,
            options={**encode.options, "crf": f"{crf:g}", "threads": "1", "keyint": "1"},
            global_headers=False,
            library=self._library,
        ) as encoder:
            packets = [*encoder.encode(shown.planes, pts=0), *encoder.flush()]
        return b"".join(packet.data for packet in packets)


def _decode(data: bytes, form: PictureFormat, index: int) -> Picture:
    with av.open(io.BytesIO(data), "r", format="h264") as container:
        decoded = picture(next(container.decode(video=0)), index)
    # A stream without tags would be read as its size suggests; a coded size may have been padded.
    y, cb, cr = (
        plane[:rows, :cols]
        for plane, (rows, cols) in zip(decoded.planes, form.plane_shapes, strict=True)
    )
    return replace(decoded, planes=(y, cb, cr), format=form)


def choose_size(
    frames: Sequence[VideoFrame],
    networks: Sequence[tuple[FeatureExtractor, float]],
    encode: EncodeOptions,
    *,
    crf: float,
    library: X264Library,
) -> Choice:
    """Return the size at which networks get the same for the fewest bytes.

    Parameters
    ----------
    frames
        Samples of the source, of one size.
    networks
        Networks and their weights.
    encode
        What x264 is asked for.
    crf
        Its CRF.
    library
        The x264 to measure with.
    """
    trial = _Trial(frames, networks, encode, library)
    full = trial.form.width, trial.form.height
    size_at_full, distance_at_full = trial.run(full, crf)
    of = f"by {len(frames)} frame{'s' if len(frames) > 1 else ''} at CRF {crf:g}"
    if not all(value > 0 for value in distance_at_full):
        return Choice(full, f"{of}, nothing changes the network's outputs that could be compared")
    weights = [weight / sum(w for _, w in networks) for _, weight in networks]

    def measure(size: tuple[int, int], step: float) -> tuple[float, float]:
        """Logarithms of bytes and of output distance, relative to the full size."""
        total, distances = trial.run(size, max(crf + step, 1.0))  # 0 is lossless
        ratios = zip(distances, distance_at_full, weights, strict=True)
        distance = sum(d / d0 * weight for d, d0, weight in ratios)
        return math.log(total / size_at_full), math.log(max(distance, 1e-9))

    best, gain, worse = full, 0.0, 0
    same = (0.0, 0.0)  # of the best: bytes and distance at the same CRF
    for size in _candidates(trial.form):
        points = _equalising(size, measure)
        found = _bytes_at_equal(points)
        if found is not None and found < gain:
            best, gain, worse, same = size, found, 0, points[0]
        else:
            worse += 1
            if worse == _PATIENCE:
                break
    if gain > math.log1p(-_LEAST_GAIN):
        return Choice(full, f"{of}, no smaller size saves {_LEAST_GAIN:.0%} at equal outputs")
    return Choice(
        best,
        f"{of}, {-math.expm1(gain):.0%} fewer bytes than at full size for equal outputs; at the "
        f"same CRF {-math.expm1(same[0]):.0%} fewer, and {math.exp(same[1]):.2f} times the output "
        "distance",
    )


def _candidates(form: PictureFormat) -> Iterator[tuple[int, int]]:
    """Yield smaller sizes, the largest first."""
    for scale in _SCALES:
        size = scaled_size(form, scale)
        if min(size) >= MIN_SIDE:
            yield size


def _equalising(
    size: tuple[int, int], measure: Callable[[tuple[int, int], float], tuple[float, float]]
) -> list[tuple[float, float]]:
    """Measure a size with more and more quality until its outputs equal the full size's."""
    points: list[tuple[float, float]] = []
    for step in _STEPS:
        points.append(measure(size, step))
        if points[-1][1] <= 0:
            break
    return points


def _bytes_at_equal(points: Sequence[tuple[float, float]]) -> float | None:
    """Return log-bytes at distance 0 (equal), or None where that is not reached.

    The last of several points is the only one that may lie below.
    """
    size, distance = points[-1]
    if distance > 0:
        return None
    if len(points) == 1:
        return size
    before, above = points[-2]
    return before + (size - before) * above / (above - distance)
