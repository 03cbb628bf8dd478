"""Synthetic clips, and encoding and decoding in one line, for the tests of codecs.x264."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from idse.codecs.x264 import Encoder, Packet, X264Library, load_library
from idse.picture import PictureFormat

# Debian's package libx264-164, which Debian's ffmpeg uses, and what PyAV's wheel carries.
DEBIAN = "/usr/lib/x86_64-linux-gnu/libx264.so.164"
BUNDLED = str(next((Path(av.__file__).parent.parent / "av.libs").glob("libx264-*.so*")))
LIBRARIES = (DEBIAN, BUNDLED)
LIBRARY_IDS = ("debian", "pyav")


def library(path: str) -> X264Library:
    return load_library(path)


def moving_clip(frames=20, width=96, height=64, pix_fmt="yuv420p", seed=1, cut=True):
    """A textured plane that pans, some noise, and a scene cut in the middle."""
    picture = PictureFormat(width=width, height=height, pix_fmt=pix_fmt)
    rng = np.random.default_rng(seed)
    top = (1 << picture.bit_depth) - 1
    dtype = np.uint8 if picture.bit_depth == 8 else np.uint16
    blocks = ((height + frames) // 8 + 2, (width + 2 * frames) // 8 + 2)
    plane = np.kron(rng.integers(0, top + 1, blocks), np.ones((8, 8)))
    plane = (plane + np.roll(plane, 3, 0) + np.roll(plane, 3, 1) + np.roll(plane, 5, 1)) / 4
    sx, sy = picture.subsampling
    clip = []
    for t in range(frames):
        if cut and t == frames // 2:
            plane = np.roll(plane[::-1], 40, 1)
        luma = plane[t : t + height, 2 * t : 2 * t + width]
        luma = luma + rng.normal(0, top / 128, luma.shape)
        chroma = [
            plane[t + k : t + k + height, t : t + width][:: 1 << sy, :: 1 << sx] / 2 + top / 4
            for k in (0, 4)
        ]
        clip.append([np.clip(p, 0, top).astype(dtype) for p in (luma, *chroma)])
    return clip


def noise_clip(frames=4, width=96, height=64, pix_fmt="yuv420p", seed=2):
    """Uniform noise: every macroblock has coefficients, so every one carries its QP."""
    picture = PictureFormat(width=width, height=height, pix_fmt=pix_fmt)
    rng = np.random.default_rng(seed)
    top, dtype = (256, np.uint8) if picture.bit_depth == 8 else (1024, np.uint16)
    shapes = ((height, width), picture.chroma_shape, picture.chroma_shape)
    return [[rng.integers(0, top, s).astype(dtype) for s in shapes] for _ in range(frames)]


def encode_clip(clip, offsets=None, pts=None, types=None, **settings) -> list[Packet]:
    """Encode planes with one thread at 25 frames per second unless told otherwise."""
    height, width = clip[0][0].shape
    settings = {"width": width, "height": height, "fps": Fraction(25), **settings}
    settings["options"] = {"threads": "1", **settings.get("options", {})}
    packets = []
    with Encoder(**settings) as encoder:
        for index, planes in enumerate(clip):
            packets += encoder.encode(
                planes,
                pts=index if pts is None else pts[index],
                offsets=None if offsets is None else offsets[index],
                frame_type="auto" if types is None else types.get(index, "auto"),
            )
        packets += encoder.flush()
    return packets


def stream_of(packets) -> bytes:
    return b"".join(packet.data for packet in packets)


def decode(packets, extradata=None, threads=1, options=None):
    """Decode packets with PyAV: frames in presentation order."""
    context = av.CodecContext.create("h264", "r")
    context.thread_count = threads
    if options:
        context.options = options
    if extradata is not None:
        context.extradata = extradata
    frames = []
    for packet in packets:
        coded = av.Packet(packet.data)
        coded.pts, coded.dts = packet.pts, packet.dts
        frames += context.decode(coded)
    return frames + context.decode(None)


def qps_of(packets):
    """QP of every macroblock of every frame, in presentation order, as FFmpeg exports them."""
    frames = decode(packets, options={"export_side_data": "venc_params"})
    return [np.asarray(frame.side_data.get("VIDEO_ENC_PARAMS").qp_map()) for frame in frames]
