"""Filters before a stock encode, and pictures brought to another size: what peers need."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.filter
import numpy as np

from idse.errors import InputError
from idse.picture import Picture
from idse.pipeline.frames import picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from idse.picture import PictureFormat

_BICUBIC = "BICUBIC"


def frame_of(item: Picture) -> av.VideoFrame:
    """Return a copy of a picture as a frame."""
    form = item.format
    frame = av.VideoFrame(form.width, form.height, form.pix_fmt)
    for plane, samples in zip(frame.planes, item.planes, strict=True):
        rows, columns = samples.shape
        target = np.frombuffer(memoryview(plane), np.uint8).reshape(rows, -1)
        data = np.ascontiguousarray(samples).view(np.uint8).reshape(rows, -1)
        target[:, : data.shape[1]] = data[:, : columns * samples.itemsize]
    return frame


def _read_as(frame: av.VideoFrame, form: PictureFormat, index: int) -> Picture:
    """Return a frame as a picture that is read as ``form`` says, whatever the frame's tags."""
    planes = picture(frame, index).planes
    same = replace(form, width=frame.width, height=frame.height)
    return Picture(planes=planes, format=same, index=index)


def resized(item: Picture, width: int, height: int) -> Picture:
    """Return a picture at another size, bicubic (libswscale)."""
    frame = frame_of(item).reformat(width=width, height=height, interpolation=_BICUBIC, threads=1)
    return _read_as(frame, item.format, item.index)


def downscaling(fit: str, size: tuple[int, int]) -> str:
    """Return the filter that shrinks a picture to what a network looks at, and enlarges none.

    Parameters
    ----------
    fit
        Of the network's input: ``"letterbox"`` needs no more than what fits into it, ``"stretch"``
        as many samples on both sides.
    size
        Rows and columns of the input.
    """
    rows, columns = size
    side = {"letterbox": "decrease", "stretch": "increase"}[fit]
    return (
        f"scale=w='min({columns},iw)':h='min({rows},ih)':force_original_aspect_ratio={side}:"
        "force_divisible_by=2:flags=bicubic"
    )


def filter_pictures(pictures: Iterable[Picture], chain: str) -> Iterator[Picture]:
    """Run an FFmpeg filter over every picture by itself.

    Parameters
    ----------
    pictures
        Of any sizes.
    chain
        As for ``ffmpeg -vf``: ``"scale=w=320:h=-2:flags=bicubic"``.

    Raises
    ------
    InputError
        FFmpeg does not take the filter, or it gives out no picture.
    """
    pictures = list(pictures)
    filtered = filter_frames(map(frame_of, pictures), chain)
    for item, frame in zip(pictures, filtered, strict=True):
        yield _read_as(frame, item.format, item.index)


def filter_frames(frames: Iterable[av.VideoFrame], chain: str) -> Iterator[av.VideoFrame]:
    """Run an FFmpeg filter over every frame by itself; they keep their formats.

    Raises
    ------
    InputError
        FFmpeg does not take the filter, or it gives out no picture.
    """
    for frame in frames:
        try:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=av.VideoFormat(frame.format.name, frame.width, frame.height),
                time_base=Fraction(1, 25),
            )
            sink = graph.add("buffersink")
            graph.link_nodes(source, *_nodes(graph, chain), sink).configure()
            frame.pts = 0
            graph.push(frame)
            graph.push(None)
            filtered = graph.pull()
        except (av.FFmpegError, ValueError, TypeError) as error:
            raise InputError(f"filter {chain!r} cannot be run: {error}") from error
        assert isinstance(filtered, av.VideoFrame)
        yield filtered.reformat(format=frame.format.name)


def _nodes(graph: av.filter.Graph, chain: str) -> list[av.filter.context.FilterContext]:
    nodes = []
    for part in _split(chain):
        name, _, arguments = part.partition("=")
        nodes.append(graph.add(name.strip(), arguments or None))
    return nodes


def _split(chain: str) -> list[str]:
    """Split a chain at its commas, but not at those in quotes."""
    parts, quoted = [""], False
    for letter in chain:
        if letter == "'":
            quoted = not quoted
        if letter == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
