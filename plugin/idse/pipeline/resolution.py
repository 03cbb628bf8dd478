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
import numpy as np
import numpy.typing as npt

from idse.codecs.x264 import Encoder
from idse.pipeline.frames import picture, picture_format, resized
from idse.pipeline.max_resolution import MIN_SIDE, scaled_size
from idse.pipeline.report import Warnings
from idse.pipeline.source import Source, can_read_again
from idse.vision.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from av.video.frame import VideoFrame

    from idse.codecs.x264 import X264Library
    from idse.picture import Picture, PictureFormat
    from idse.pipeline.options import EncodeOptions
    from idse.vision import FeatureExtractor

FloatArray = npt.NDArray[np.float64]

SAMPLES = 6
# Decoded at most on the way from a keyframe to a sample.
_LONGEST_WALK = 300
_SCALES = tuple(Fraction(n, 12) for n in (10, 9, 8, 7, 6, 5, 4, 3))
# CRFs to measure at, around the one asked for; at equal outputs a smaller size needs a lower one.
_FULL_STEPS, _SMALL_STEPS = (-4.0, 0.0, 4.0), (-6.0, -2.0, 2.0)
_MIDDLE = slice(1, 3)  # of the small ones: their mean is at the CRF asked for
# Distances of single frames are held above this share of the mean: an empty scene has none.
_LEAST_DISTANCE = 1e-3
# Outputs may be this much further off (natural logarithm) and still count as equal to the full
# size's: what six frames cannot resolve.
_EQUAL = 0.1
# Log-distance falls by more than this for every unit of log-rate, or it was noise.
_SLOPE = -0.2
# Sizes are tried from large to small until so many in a row are worse than the best one.
_PATIENCE = 2
# Less gain than this is not worth a smaller picture: it is about what six frames can resolve.
_LEAST_GAIN = 0.1
# Pictures that later ones copy are coded about so much finer than the CRF says (x264's macroblock
# tree), and keyframes alone are not: they are tried at what the pictures of a video are coded at.
_TREE = -4.0


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

    def _see(self, network: FeatureExtractor, shown: Picture) -> FloatArray:
        import torch

        with one_thread(), torch.inference_mode():
            features = network.features(network.from_picture(shown))[0]
        seen: FloatArray = features.double().cpu().numpy()
        return seen

    def run(self, size: tuple[int, int], crf: float) -> tuple[FloatArray, FloatArray]:
        """Return bytes ``(samples,)`` and distances ``(networks, samples)``, both float64.

        Distances are the squared ones of the networks' outputs.
        """
        form = replace(self.form, width=size[0], height=size[1])
        sizes = np.zeros(len(self._frames))
        distances = np.zeros((len(self._networks), len(self._frames)))
        for n, frame in enumerate(self._frames):
            shown = picture(frame, n) if form == self.form else resized(frame, form, n)[1]
            data = self._code(shown, max(crf, 1.0))  # 0 is lossless
            sizes[n] = len(data)
            decoded = _decode(data, form, n)
            for k, (network, _) in enumerate(self._networks):
                distances[k, n] = ((self._see(network, decoded) - self._true[k][n]) ** 2).sum()
        return sizes, distances

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
    of = f"by {len(frames)} frame{'s' if len(frames) > 1 else ''} at CRF {crf:g}"
    if encode.options.get("keyint") != "1":
        crf += _TREE
    measured = [trial.run(full, crf + step) for step in _FULL_STEPS]
    scale = np.mean([d for _, d in measured], axis=(0, 2))
    if not (scale > 0).all():
        return Choice(full, f"{of}, nothing changes the network's outputs that could be compared")
    weights = np.array([weight for _, weight in networks]) / sum(w for _, w in networks)

    def curves(size: tuple[int, int], steps: Sequence[float]) -> FloatArray:
        """Bytes and relative distance of every sample, ``(2, steps, samples)``."""
        points = measured if size == full else [trial.run(size, crf + step) for step in steps]
        relative = [weights @ (d / scale[:, None]) for _, d in points]
        return np.stack([[size for size, _ in points], relative])

    base = curves(full, _FULL_STEPS)
    best, gain, worse, same = full, 0.0, 0, np.zeros(2)
    for size in _candidates(trial.form):
        points = curves(size, _SMALL_STEPS)
        found = sure_change(base, points)
        if found is not None and found < gain:
            best, gain, worse = size, found, 0
            same = _line(points)[_MIDDLE].mean(axis=0) - _line(base)[1]
        else:
            worse += 1
            if worse == _PATIENCE:
                break
    if gain > math.log1p(-_LEAST_GAIN):
        return Choice(full, f"{of}, no smaller size saves {_LEAST_GAIN:.0%} at equal outputs")
    return Choice(best, f"{of}, {_because(gain, same)}")


def _because(gain: float, same: FloatArray) -> str:
    """Describe changes: of log-rate at equal outputs; of log-rate and log-distance at one CRF."""
    return (
        f"at least {-math.expm1(gain):.0%} fewer bytes than at full size for equal outputs; at the "
        f"same CRF {-math.expm1(same[0]):.0%} fewer, and {math.exp(same[1]):.2f} times the output "
        "distance"
    )


def _candidates(form: PictureFormat) -> Iterator[tuple[int, int]]:
    """Yield smaller sizes, the largest first."""
    for scale in _SCALES:
        size = scaled_size(form, scale)
        if min(size) >= MIN_SIDE:
            yield size


def _line(samples: FloatArray, *, typical: bool = False) -> FloatArray:
    """Return log-rate and log-distance ``(n, 2)`` of samples ``(2, n, samples)`` together.

    The distance is the mean, which those that hold most decide, or typical: the geometric mean.
    """
    size, distance = samples
    mean = np.log(np.maximum(distance, _LEAST_DISTANCE)).mean(axis=1)
    if not typical:
        mean = np.log(np.maximum(distance.mean(axis=1), _LEAST_DISTANCE))
    return np.stack([np.log(size.mean(axis=1)), mean], axis=1)


def sure_change(full: FloatArray, small: FloatArray) -> float | None:
    """Return the change of log-rate at equal log-distance that no single sample decides.

    Parameters
    ----------
    full, small
        float64 ``(2, n, samples)``: bytes and distance, relative to that at full size, of every
        sample at n rates; in the middle of ``full`` what is asked for.

    Returns
    -------
    The least favourable change over all ways to leave one sample out, by the mean distance and by
    the typical one; None where there is none.
    """
    count = full.shape[2]
    every = np.arange(count)
    subsets = [every != n for n in range(count)] if count > 1 else [every == 0]
    changes = [
        rate_change(*(_line(curve[..., kept], typical=typical) for curve in (full, small)))
        for kept in subsets
        for typical in (False, True)
    ]
    known = [change for change in changes if change is not None]
    return max(known) if len(known) == len(changes) else None


def rate_change(full: FloatArray, small: FloatArray) -> float | None:
    """Return the change of log-rate at equal log-distance, from one curve to another.

    Both curves are taken for lines of one slope, which all their points share: single points are
    too noisy to interpolate between.

    Parameters
    ----------
    full, small
        float64 ``(n, 2)``: log-rate and log-distance; in the middle of ``full`` what is asked for.

    Returns
    -------
    None where distance does not fall with rate, or where ``small`` never comes down to it.
    """
    deviations = np.concatenate([curve - curve.mean(axis=0) for curve in (full, small)])
    slope = float(deviations[:, 0] @ deviations[:, 1] / (deviations[:, 0] @ deviations[:, 0]))
    if slope > _SLOPE or small[:, 1].min() > full[len(full) // 2, 1] + _EQUAL:
        return None
    change = small.mean(axis=0) - full.mean(axis=0)
    return float(change[0] - change[1] / slope)
