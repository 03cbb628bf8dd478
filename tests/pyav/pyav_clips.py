"""Clips that existing PyAV code encodes, and what of them can be read back."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np

from x264_recipes import VERBATIM

# What the preloaded library is tested with: the C side is the same.
sys.path.append(str(Path(__file__).parents[1] / "preload"))
from preload_runs import (
    COLUMNS,
    PEER,
    PICTURES,
    ROWS,
    misses,
    peer,
    preloaded,
    shown,
    until,
    wanted,
    write_offsets,
    x264_params,
)

__all__ = [
    "COLUMNS",
    "HEIGHT",
    "PEER",
    "PICTURES",
    "ROWS",
    "WIDTH",
    "begin",
    "encode",
    "finish",
    "frames",
    "misses",
    "peer",
    "preloaded",
    "put",
    "shown",
    "until",
    "wanted",
    "write_offsets",
    "x264_params",
]

WIDTH, HEIGHT = 16 * COLUMNS, 16 * ROWS


def frames(kind="yuv420p", pictures=PICTURES):
    """Noise that moves by a sample a picture."""
    noise = np.random.default_rng(1).integers(0, 256, (HEIGHT + 40, WIDTH + 40), dtype=np.uint8)
    for index in range(pictures):
        luma = noise[index : index + HEIGHT, index : index + WIDTH]
        if kind == "rgb24":
            frame = av.VideoFrame.from_ndarray(np.stack([luma] * 3, axis=-1), format=kind)
        else:
            grey = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
            frame = av.VideoFrame.from_ndarray(np.concatenate([luma, grey]), format=kind)
        frame.pts = index
        yield frame


def begin(path, params=VERBATIM):
    """A container and its stream, as any program opens them."""
    container = av.open(str(path), "w", format="h264")
    stream = container.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    stream.options = {"x264-params": x264_params(params)}
    return container, stream


def put(opened, frame):
    container, stream = opened
    container.mux(stream.encode(frame))


def finish(opened, path):
    put(opened, None)
    opened[0].close()
    return Path(path).read_bytes()


def encode(path, *, kind="yuv420p", params=VERBATIM, before=None):
    """Encode the clip; ``before`` is shown the stream first."""
    opened = begin(path, params)
    if before is not None:
        before(opened[1])
    for frame in frames(kind):
        put(opened, frame)
    return finish(opened, path)
