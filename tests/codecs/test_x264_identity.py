"""The same options on the same build give the bits of FFmpeg's libx264 wrapper."""

import ctypes
import hashlib
import json
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from x264_clips import (
    BUNDLED,
    DEBIAN,
    LIBRARIES,
    LIBRARY_IDS,
    encode_clip,
    library,
    moving_clip,
    stream_of,
)

from idse.codecs.x264 import Encoder

pytestmark = pytest.mark.fast

GOLDEN = Path(__file__).parents[1] / "golden" / "x264_streams.json"

# name: (pixel format, preset, our options, FFmpeg's options)
CASES = {
    "default": ("yuv420p", "medium", {}, {}),
    "crf": ("yuv420p", "medium", {"crf": "30"}, {"crf": "30"}),
    "ultrafast": ("yuv420p", "ultrafast", {}, {}),
    "veryslow": ("yuv420p", "veryslow", {"crf": "20"}, {"crf": "20"}),
    "abr": ("yuv420p", "fast", {"bitrate": "200"}, {"b": "200k"}),
    "vbv": (
        "yuv420p",
        "fast",
        {"crf": "20", "vbv-maxrate": "250", "vbv-bufsize": "100"},
        {"crf": "20", "maxrate": "250k", "bufsize": "100k"},
    ),
    "no-b": ("yuv420p", "slow", {"bframes": "0", "keyint": "7"}, {"bf": "0", "g": "7"}),
    "5-b": ("yuv420p", "medium", {"bframes": "5", "b-pyramid": "1"}, {"bf": "5", "b-pyramid": "1"}),
    "cqp": ("yuv420p", "fast", {"qp": "30"}, {"qp": "30"}),
    "10-bit": ("yuv420p10le", "medium", {}, {}),
    "10-bit-422": ("yuv422p10le", "fast", {}, {}),
    "444": ("yuv444p", "fast", {}, {}),
    "full-range": ("yuvj420p", "fast", {}, {}),
}


def run_ffmpeg(clip, pix_fmt, target, arguments):
    height, width = clip[0][0].shape
    subprocess.run(
        [
            *("ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", pix_fmt, "-r", "25"),
            *("-s", f"{width}x{height}", "-i", "-", "-c:v", "libx264", *arguments, "-y", target),
        ],
        input=b"".join(plane.tobytes() for planes in clip for plane in planes),
        check=True,
    )


# Not VBV with frame threads: x264 itself is not deterministic there.
@pytest.mark.parametrize(
    ("name", "threads"),
    [(name, threads) for name in CASES for threads in "13" if (name, threads) != ("vbv", "3")],
)
def test_bitstream_of_debians_ffmpeg(name, threads, tmp_path):
    pix_fmt, preset, options, theirs = CASES[name]
    clip = moving_clip(pix_fmt=pix_fmt)
    arguments = ["-preset", preset, "-threads", threads]
    for option, value in theirs.items():
        arguments += [f"-{option}", value]
    settings = {
        "pix_fmt": pix_fmt,
        "preset": preset,
        "options": {**options, "threads": threads},
        "library": library(DEBIAN),
    }
    run_ffmpeg(clip, pix_fmt, tmp_path / "in-band.h264", arguments)
    in_band = encode_clip(clip, global_headers=False, **settings)
    assert stream_of(in_band) == (tmp_path / "in-band.h264").read_bytes()

    run_ffmpeg(clip, pix_fmt, tmp_path / "global.mp4", arguments)
    packets = encode_clip(clip, **settings)
    with av.open(str(tmp_path / "global.mp4")) as container:
        stream = container.streams.video[0]
        extradata = bytes(stream.codec_context.extradata)
        coded = [packet for packet in container.demux(stream) if packet.size]
        tick = 25 * stream.time_base
    assert [packet.data for packet in packets] == [bytes(packet) for packet in coded]
    assert [(p.pts, p.dts, p.keyframe) for p in packets] == [
        (packet.pts * tick, packet.dts * tick, packet.is_keyframe) for packet in coded
    ]
    with Encoder(width=96, height=64, fps=Fraction(25), **settings) as encoder:
        assert encoder.extradata == extradata


@pytest.mark.parametrize("name", CASES)
def test_bitstream_of_pyav(name):
    pix_fmt, preset, options, theirs = CASES[name]
    clip = moving_clip(pix_fmt=pix_fmt)
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 96, 64, pix_fmt
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.thread_count, context.thread_type = 1, "AUTO"
    context.options = {"preset": preset, **theirs}
    coded = []
    # What x264 would find in a fresh process: PyAV's is the same library, and zeroed with it.
    library(BUNDLED)
    context.open()
    for index, planes in enumerate(clip):
        frame = av.VideoFrame(96, 64, pix_fmt)
        for plane, source in zip(frame.planes, planes, strict=True):
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            rows[:, : source.shape[1] * source.itemsize] = source.view(np.uint8)
        frame.pts, frame.time_base = index, Fraction(1, 25)
        coded += context.encode(frame)
    coded += context.encode(None)
    packets = encode_clip(
        clip,
        pix_fmt=pix_fmt,
        preset=preset,
        options=options,
        global_headers=False,
        library=library(BUNDLED),
    )
    assert stream_of(packets) == b"".join(bytes(packet) for packet in coded)
    assert [(p.pts, p.dts) for p in packets] == [(packet.pts, packet.dts) for packet in coded]


@pytest.mark.parametrize("passes", [("1", "2")])
def test_two_passes_of_debians_ffmpeg(passes, tmp_path):
    clip, ours = moving_clip(frames=40), None
    for number in passes:
        log = tmp_path / "ffmpeg"
        arguments = ["-b:v", "150k", "-pass", number, "-passlogfile", str(log), "-threads", "1"]
        run_ffmpeg(clip, "yuv420p", tmp_path / "two.h264", arguments)
        options = {"bitrate": "150", "pass": number, "stats": str(tmp_path / "ours.log")}
        ours = encode_clip(clip, options=options, global_headers=False, library=library(DEBIAN))
        assert stream_of(ours) == (tmp_path / "two.h264").read_bytes()


def golden_streams(x264):
    """Hashes of streams that must not change: one thread, on any CPU."""
    streams = {}
    # Rows of 16 macroblocks and canonical functions: the same bits with and without AVX-512.
    clip = moving_clip(frames=12, width=256, height=48)
    offsets = [np.random.default_rng(i).normal(0, 3, (3, 16)).astype("f4") for i in range(12)]
    for name, settings in {
        "medium": {},
        "ultrafast": {"preset": "ultrafast", "steer": True},
        "slower": {"preset": "slower"},
        "abr": {"options": {"bitrate": "300"}},
        "annexb": {"global_headers": False},
    }.items():
        options = {"cpu-independent": "1", **settings.pop("options", {})}
        for kind, given in (("stock", None), ("steered", offsets)):
            packets = encode_clip(clip, given, library=x264, options=options, **settings)
            streams[f"{name}-{kind}"] = hashlib.sha256(stream_of(packets)).hexdigest()
    return streams


@pytest.mark.parametrize("path", LIBRARIES, ids=LIBRARY_IDS)
def test_golden_streams(path):
    x264 = library(path)
    golden = json.loads(GOLDEN.read_text())
    found = golden_streams(x264)
    assert x264.version in golden, f"no golden streams of x264 {x264.version}: add {found}"
    assert found == golden[x264.version]


@pytest.mark.parametrize("path", LIBRARIES, ids=LIBRARY_IDS)
@pytest.mark.parametrize("threads", ["1", "3"])
def test_stream_does_not_depend_on_what_memory_held(path, threads):
    # Rows of 20 macroblocks and B-frames: x264's AVX-512 mbtree reads what was never written. glibc
    # fills what it allocates with the complement of 77, of 178 ... until x264 is given zeros.
    clip, streams = moving_clip(100, width=320, height=64), set()
    perturb = ctypes.CDLL(None).mallopt
    for fill in (0, 77, 178):
        packets = []
        with Encoder(
            width=320,
            height=64,
            fps=Fraction(25),
            preset="fast",
            options={"threads": threads, "rc-lookahead": "25"},
            library=library(path),
        ) as encoder:
            for index, planes in enumerate(clip):
                perturb(-6, fill)
                packets += encoder.encode(planes, pts=index)
            packets += encoder.flush()
        perturb(-6, 0)
        streams.add(stream_of(packets))
    assert len(streams) == 1
