"""QPs read from the bitstream equal those of FFmpeg's decoder, whatever the stream is made of.

One misread bit anywhere in a slice changes what follows, so equality for every macroblock of every
frame (and slices that end at their last bit, which the parser checks) proves the syntax.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from h264_clips import as_field_pairs, encode, ffmpeg_frames

from idse.codecs.h264 import read_macroblocks

pytestmark = pytest.mark.fast

PCM_BITS = 8 * 256  # no other macroblock is that large in 4:2:0


def compare(path: Path) -> list:
    """Compare with FFmpeg; return our frames."""
    ours = list(read_macroblocks(path))
    theirs = list(ffmpeg_frames(path))
    assert len(ours) == len(theirs)
    for index, (frame, (pts, kind, qp)) in enumerate(zip(ours, theirs, strict=True)):
        assert frame.pict_type == kind, index
        assert frame.pts == pts, index
        # FFmpeg's I_PCM has QP 0; the specification's inherits.
        compared = ~(frame.intra & ~frame.coded & (frame.bits > PCM_BITS))
        shifted = frame.qp.astype(int) + 6 * (frame.bit_depth - 8)
        np.testing.assert_array_equal(shifted[compared], qp[compared], f"frame {index}")
    return ours


def x264(text: str) -> list[str]:
    return ["-x264-params", text]


STREAMS = {
    "default": [],
    "slow-8x8dct": ["-preset", "slower", "-crf", "18"],
    "no-8x8dct": x264("8x8dct=0:partitions=all:me=umh"),
    "main": ["-profile:v", "main", "-preset", "ultrafast", *x264("cabac=1")],
    "cavlc": ["-preset", "slower", *x264("cabac=0")],
    "cavlc-no-8x8dct": ["-preset", "slower", *x264("cabac=0:8x8dct=0")],
    "baseline": ["-profile:v", "baseline"],
    "many-references": ["-preset", "veryslow", *x264("ref=16:bframes=8:b-pyramid=normal")],
    "cavlc-many-references": ["-preset", "veryslow", *x264("ref=16:cabac=0")],
    "temporal-direct": x264("direct=temporal:bframes=4:b-adapt=0"),
    "slices": x264("slices=4"),
    "cavlc-slices": x264("slices=4:cabac=0:bframes=3"),
    "weights": ["-vf", "fade=in:0:12", *x264("weightp=2:weightb=1")],
    "constrained-intra": x264("constrained-intra=1:bframes=0"),
    "open-gop": x264("open-gop=1:keyint=6:bframes=3:scenecut=0"),
    "intra-refresh": x264("intra-refresh=1:keyint=6"),
    "all-intra": ["-g", "1", "-crf", "12"],
    "aq3": x264("aq-mode=3:aq-strength=2"),
    "crf-51": ["-crf", "51"],
    "crf-1": ["-crf", "1"],
    "lossless": ["-qp", "0"],
    "lossless-cavlc": ["-qp", "0", *x264("cabac=0")],
    "lossless-444": ["-qp", "0", "-pix_fmt", "yuv444p"],
    "10bit": ["-pix_fmt", "yuv420p10le"],
    "10bit-near-lossless": ["-pix_fmt", "yuv420p10le", "-crf", "0"],
    "10bit-cavlc": ["-pix_fmt", "yuv420p10le", "-crf", "10", *x264("cabac=0")],
    "422": ["-pix_fmt", "yuv422p", "-crf", "16"],
    "422-cavlc-10bit": ["-pix_fmt", "yuv422p10le", "-crf", "16", *x264("cabac=0")],
    "444": ["-pix_fmt", "yuv444p", "-crf", "16"],
    "444-no-8x8dct": ["-pix_fmt", "yuv444p", *x264("8x8dct=0")],
    "444-cavlc": ["-pix_fmt", "yuv444p", "-crf", "16", *x264("cabac=0")],
    "grey": ["-pix_fmt", "gray"],
    "grey-cavlc": ["-pix_fmt", "gray", *x264("cabac=0")],
    "fake-interlaced": x264("fake-interlaced=1"),
}

# What moves combs, what rests does not: x264 codes about 40 % of the macroblocks as field ones.
INTERLACED = {
    "mbaff": [],
    "mbaff-slices": ["-preset", "veryslow", *x264("slices=3:interlaced=1")],
    "mbaff-cavlc": x264("cabac=0:slices=2:interlaced=1"),
    "mbaff-bottom-first": x264("bff=1:8x8dct=0"),
    "mbaff-b-frames": ["-preset", "slower", *x264("interlaced=1:bframes=8:direct=spatial")],
    "mbaff-temporal": ["-pix_fmt", "yuv420p10le", *x264("interlaced=1:direct=temporal")],
    "mbaff-422": ["-pix_fmt", "yuv422p", "-crf", "12"],
    "mbaff-422-cavlc": ["-pix_fmt", "yuv422p10le", *x264("cabac=0:interlaced=1")],
    "mbaff-444": ["-pix_fmt", "yuv444p", "-preset", "slower"],
    "mbaff-crf-1": ["-crf", "1"],
}


@pytest.mark.parametrize("name", STREAMS)
def test_progressive(name, tmp_path):
    path = tmp_path / "clip.mp4"
    encode(path, *STREAMS[name])
    assert {frame.structure for frame in compare(path)} == {"frame"}


@pytest.mark.parametrize("name", INTERLACED)
def test_mbaff(name, tmp_path):
    path = tmp_path / "clip.mp4"
    options = ["-flags", "+ildct+ilme", *INTERLACED[name]]
    combing = "tinterlace=4,setfield=tff"
    encode(path, *options, size="160x128", frames=8, noise=2, video_filter=combing)
    assert {frame.structure for frame in compare(path)} == {"mbaff"}


@pytest.mark.parametrize("slices", [1, 3])
def test_field_pairs(slices, tmp_path):
    frames = tmp_path / "frames.h264"
    text = f"ref=1:scenecut=0:slices={slices}"
    encode(frames, "-profile:v", "baseline", *x264(text), size="96x80")
    path = tmp_path / "fields.h264"
    path.write_bytes(as_field_pairs(frames.read_bytes()))
    pairs = list(read_macroblocks(path))
    assert len(pairs) == 6
    for pair, (_, _, qp) in zip(pairs, ffmpeg_frames(path), strict=True):
        assert pair.structure == "fields"
        np.testing.assert_array_equal(pair.qp, qp)
    # The fields hold what the frames held.
    for index, frame in enumerate(read_macroblocks(frames)):
        for array in ("qp", "coded", "skipped", "intra", "bits"):
            field = getattr(pairs[index // 2], array)[index % 2 :: 2]
            np.testing.assert_array_equal(field, getattr(frame, array))


@pytest.mark.parametrize("cabac", [0, 1])
def test_pcm_between_others(cabac, tmp_path):
    """I_PCM interrupts the arithmetic coder and leaves QP to the macroblock behind it."""
    noise = "geq=if(between(X\\,16\\,47)\\,random(1)*255\\,100+X):128:128"
    path = tmp_path / "clip.mp4"
    text = f"cabac={cabac}"
    encode(path, "-qp", "0", *x264(text), size="96x32", frames=3, noise=0, video_filter=noise)
    frames = compare(path)
    assert sum(int((frame.bits > 3072).sum()) for frame in frames) > 0


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264"])
def test_containers_agree(suffix, tmp_path):
    path = tmp_path / f"clip.{suffix}"
    encode(path, *x264("bframes=5:b-pyramid=normal:open-gop=1:keyint=8"), frames=20)
    encode(
        tmp_path / "reference.mp4",
        *x264("bframes=5:b-pyramid=normal:open-gop=1:keyint=8"),
        frames=20,
    )
    frames = list(read_macroblocks(path))
    for frame, expected in zip(frames, read_macroblocks(tmp_path / "reference.mp4"), strict=True):
        np.testing.assert_array_equal(frame.qp, expected.qp)
        assert frame.pict_type == expected.pict_type
    if suffix == "h264":
        assert {frame.pts for frame in frames} == {None}
    else:
        assert [f.pts for f in frames] == [pts for pts, _, _ in ffmpeg_frames(path)]


@pytest.mark.parametrize("cabac", [0, 1])
def test_skipped_and_intra_shares_are_those_x264_counts(cabac, tmp_path):
    path = tmp_path / "clip.mp4"
    log = encode(path, *x264(f"cabac={cabac}:bframes=3:b-adapt=0"), frames=20, noise=3)
    frames = list(read_macroblocks(path))
    for kind in "PB":
        line = re.search(
            rf"mb {kind} +I16\.\.4: *([\d.]+)% *([\d.]+)% *([\d.]+)%.* skip: *([\d.]+)%", log
        )
        counted = [float(text) for text in line.groups()]
        skipped = 100 * np.mean([f.skipped for f in frames if f.pict_type == kind])
        intra = 100 * np.mean([f.intra for f in frames if f.pict_type == kind])
        assert skipped == pytest.approx(counted[3], abs=0.06)
        assert intra == pytest.approx(sum(counted[:3]), abs=0.2)


@pytest.mark.parametrize("clip", ["intel-car-detection", "intel-one-by-one-person-detection"])
def test_real_cameras(clip, shared):
    compare(shared / "video" / f"{clip}.mp4")
