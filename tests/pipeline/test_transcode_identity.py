"""Bytes that must be equal: to ffmpeg's, between runs, and between neutral and stock."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from media_clips import SYSTEM_X264, clip, elementary, ffmpeg, times

from idse.allocation import OffsetPolicy
from idse.errors import InputError
from idse.importance.maps import ImportanceMap, MapMetadata, write_maps
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.options import EncodeOptions
from idse.pipeline.report import Warnings
from idse.pipeline.source import DecodedFrame, Source
from idse.pipeline.transcode import transcode

pytestmark = pytest.mark.fast
QUICK = EncodeOptions(preset="veryfast")
METADATA = MapMetadata(model="test", n_s=1, seed=0, dtype="float32")


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """Two scenes of 1 s each, lossless: every decoder gives the same pictures."""
    folder = tmp_path_factory.mktemp("moving")
    return clip(
        folder / "moving.mkv",
        *("-vf", "drawbox=enable='gte(t,1)':color=gray:t=fill,noise=alls=12:allf=t"),
        *("-c:v", "ffv1", "-pix_fmt", "yuv420p"),
        size="192x128",
        seconds=2,
    )


def pictures(path):
    with Source(str(path), warnings=Warnings()) as source:
        for item in source.items():
            if isinstance(item, DecodedFrame):
                yield item.picture


def steer(maps, **policy):
    return SteeringOptions(policy=OffsetPolicy(**policy), maps=maps)


def corner_maps(source, path, every=10):
    """Maps in which the upper left quarter matters 64 times as much."""
    maps = []
    for picture in pictures(source):
        if picture.index % every == 0:
            energy = ImportanceMap.neutral(picture).energy.copy()
            energy[0, : energy.shape[1] // 2, : energy.shape[2] // 2] *= 64
            maps.append(ImportanceMap.of(picture, energy))
    write_maps(path, maps, METADATA)
    return path


@pytest.mark.parametrize(
    ("suffix", "params"),
    [
        ("mp4", ""),
        ("mkv", "crf=30:bframes=0"),
        ("ts", "bitrate=300:keyint=20"),
        ("mp4", "vbv-maxrate=200:vbv-bufsize=200:threads=1:slices=2"),
    ],
)
def test_unsteered_is_what_ffmpeg_writes_with_the_same_library(moving, tmp_path, suffix, params):
    assert SYSTEM_X264 is not None, "needs the libx264 that the system's ffmpeg is linked with"
    ours, theirs = tmp_path / f"ours.{suffix}", tmp_path / f"theirs.{suffix}"
    options = ["--x264-params", params] if params else []
    done = subprocess.run(
        [sys.executable, "-m", "idse.cli", "transcode", moving, ours, "--no-steer", *options],
        env=os.environ | {"IDSE_X264_LIBRARY": str(SYSTEM_X264)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    ffmpeg("-i", moving, "-c:v", "libx264", *(["-x264-params", params] if params else []), theirs)
    assert elementary(ours) == elementary(theirs)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_neutral_map_gives_the_file_that_no_steering_gives(moving, tmp_path, suffix):
    maps = tmp_path / "neutral.safetensors"
    neutral = [ImportanceMap.neutral(p) for p in pictures(moving) if p.index % 7 == 0]
    write_maps(maps, neutral, METADATA)
    stock, steered = tmp_path / f"stock.{suffix}", tmp_path / f"steered.{suffix}"
    transcode(str(moving), str(stock), encode=QUICK)
    report = transcode(str(moving), str(steered), encode=QUICK, steering=steer(maps))
    assert report.frames_analysed == len(neutral)
    assert steered.read_bytes() == stock.read_bytes()


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_two_steered_runs_are_equal_and_differ_from_stock(moving, tmp_path, suffix):
    maps = corner_maps(moving, tmp_path / "corner.safetensors")
    files = [tmp_path / f"{name}.{suffix}" for name in ("one", "two", "stock")]
    for path in files[:2]:
        transcode(str(moving), str(path), encode=QUICK, steering=steer(maps))
    transcode(str(moving), str(files[2]), encode=QUICK)
    one, two, stock = (path.read_bytes() for path in files)
    assert one == two
    assert one != stock
    assert times(files[0]) == times(moving)


def test_both_passes_get_the_same_offsets(moving, tmp_path, monkeypatch):
    maps = corner_maps(moving, tmp_path / "corner.safetensors")
    seen: list[list[bytes]] = []
    from idse.pipeline import transcode as module

    class Recorder(module.Encoder):
        def __init__(self, **kwargs):
            seen.append([])
            super().__init__(**kwargs)

        def encode(self, planes, *, pts, offsets=None, **kwargs):
            seen[-1].append(b"" if offsets is None else offsets.tobytes())
            return super().encode(planes, pts=pts, offsets=offsets, **kwargs)

    monkeypatch.setattr(module, "Encoder", Recorder)
    encode = EncodeOptions(preset="veryfast", options={"bitrate": "200"}, two_pass=True)
    out = tmp_path / "out.mp4"
    report = transcode(str(moving), str(out), encode=encode, steering=steer(maps))
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert any(np.frombuffer(item, np.float32).any() for item in seen[0])
    assert report.frames == len(seen[0]) == 50
    # The rate that was asked for, within what a clip of two seconds allows.
    assert len(elementary(out)) * 8 / 2 == pytest.approx(200_000, rel=0.35)


@pytest.mark.parametrize("two_pass", [False, True])
def test_a_failure_of_the_steering_costs_offsets_and_not_the_video(
    moving, tmp_path, monkeypatch, two_pass
):
    from idse.importance.motion import MotionEstimator

    maps = corner_maps(moving, tmp_path / "corner.safetensors")
    push = MotionEstimator.push

    def fails_on_frame_7(self, picture):
        if picture.index == 7:
            raise ZeroDivisionError("no\nidea")
        return push(self, picture)

    monkeypatch.setattr(MotionEstimator, "push", fails_on_frame_7)
    options = {"bitrate": "200"} if two_pass else {}
    encode = EncodeOptions(preset="veryfast", options=options, two_pass=two_pass)
    out = tmp_path / "out.mp4"
    report = transcode(str(moving), str(out), encode=encode, steering=steer(maps))
    assert report.frames == 50
    # 7, and 8 and 9 before the next map; 25 to 29 after the cut, before theirs.
    assert report.frames_unsteered == 3 + 5
    assert report.frames_analysed == 5
    assert len(report.warnings) == 1
    assert "frame 7 (ZeroDivisionError: no idea)" in report.warnings[0]
    out.unlink()
    with pytest.raises(InputError, match=r"frame 7.*--strict"):
        transcode(str(moving), str(out), encode=encode, steering=steer(maps), strict=True)
    assert not out.exists()


def test_user_options_win_and_steering_changes_none(moving, tmp_path):
    maps = corner_maps(moving, tmp_path / "corner.safetensors")
    files = [tmp_path / "stock.mp4", tmp_path / "steered.mp4"]
    encode = EncodeOptions(preset="veryfast", options={"crf": "31", "aq-mode": "3", "sar": "3:2"})
    transcode(str(moving), str(files[0]), encode=encode)
    transcode(str(moving), str(files[1]), encode=encode, steering=steer(maps))
    summaries = []
    for path in files:
        data = path.read_bytes()
        start = data.index(b"options: ")
        summaries.append(data[start : data.index(b"\0", start)])
    assert summaries[0] == summaries[1]
    assert b"crf=31.0" in summaries[0]
    assert b"aq=3:1.00" in summaries[0]
