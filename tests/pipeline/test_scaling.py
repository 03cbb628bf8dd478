"""Coding pictures smaller than they come: sizes, shapes, looks, and what is refused."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from media_clips import clip, ffmpeg, times, video

from idse.allocation import OffsetPolicy, Rect
from idse.cli.__main__ import main
from idse.errors import InputError
from idse.importance.maps import ImportanceMap, MapMetadata, write_maps
from idse.picture import PictureFormat
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.max_resolution import MaxResolution
from idse.pipeline.options import EncodeOptions
from idse.pipeline.report import Warnings
from idse.pipeline.scaling import Scaler
from idse.pipeline.source import DecodedFrame, Source
from idse.pipeline.transcode import transcode

pytestmark = pytest.mark.fast


def quick(limit, **options):
    return EncodeOptions(
        preset="veryfast",
        options={"crf": "10"} | options,
        max_resolution=MaxResolution.parse(limit),
    )


def frames(path):
    with Source(str(path), warnings=Warnings()) as source:
        return [item for item in source.items() if isinstance(item, DecodedFrame)]


@pytest.mark.parametrize(
    ("text", "size", "rotation", "expected"),
    [
        ("480", (1920, 1080), 0, (854, 480)),
        ("480", (1920, 1080), 90, (480, 270)),  # 1920 lines as it is shown
        ("854x480", (1920, 1080), 0, (854, 480)),
        ("854x480", (1080, 1920), 0, (270, 480)),
        ("854x480", (1080, 1920), 270, (480, 854)),
        ("1080", (1920, 1080), 0, (1920, 1080)),
        ("2160", (1279, 719), 0, (1279, 719)),  # nothing is enlarged, nor made even
        ("360", (1279, 719), 0, (640, 360)),
    ],
)
def test_sizes_keep_the_shape_and_are_even(text, size, rotation, expected):
    form = PictureFormat(width=size[0], height=size[1], rotation=rotation)
    assert MaxResolution.parse(text).fit(form) == expected


@pytest.mark.parametrize(
    "text", ["", "480p", "0", "12", "x480", "640x", "640x20", "-480", "640:480"]
)
def test_what_is_no_resolution_is_refused_with_its_text(text):
    with pytest.raises(InputError, match="resolution"):
        MaxResolution.parse(text)


def test_shape_is_kept_to_the_last_sample_by_the_sample_aspect_ratio():
    form = PictureFormat(width=1279, height=719)
    scaler = Scaler(form, (640, 360), "asked for")
    assert scaler.aspect(None) * Fraction(640, 360) == Fraction(1279, 719)
    assert scaler.aspect(Fraction(4, 3)) * Fraction(640, 360) == Fraction(4 * 1279, 3 * 719)
    exact = Scaler(PictureFormat(width=1280, height=720), (640, 360), "asked for")
    assert exact.aspect(None) is None
    # 720 lines that state no matrix are BT.709 to a player, 360 would be BT.601.
    assert "colormatrix" not in exact.options(None, {})
    hd = PictureFormat(width=1280, height=720, matrix="bt709")
    assert Scaler(hd, (640, 360), "").options(None, {}) == {"colormatrix": "bt709"}
    assert Scaler(hd, (640, 360), "").options(None, {"colormatrix": "bt709"}) == {}


def test_rectangles_grow_to_whole_samples():
    scaler = Scaler(PictureFormat(width=1920, height=1080), (640, 360), "")
    assert scaler.rects([Rect(0, 0, 3, 3), Rect(100, 50, 101, 100)]) == (
        Rect(0, 0, 1, 1),
        Rect(33, 16, 34, 34),
    )


@pytest.mark.parametrize(
    ("pix_fmt", "codec"),
    [
        ("yuv420p", ["-c:v", "ffv1"]),
        ("yuv444p10le", ["-c:v", "ffv1"]),
        ("yuv422p", ["-c:v", "ffv1"]),
        ("gbrp", ["-c:v", "ffv1"]),
        ("yuvj420p", ["-c:v", "mjpeg", "-q:v", "1"]),
    ],
)
def test_pictures_come_out_as_ffmpeg_scales_them(tmp_path, pix_fmt, codec):
    path = clip(tmp_path / "in.mkv", "-pix_fmt", pix_fmt, *codec, size="320x192", seconds=0.4)
    out = tmp_path / "out.mp4"
    report = transcode(str(path), str(out), encode=quick("96"))
    assert (report.scaled_to, report.scaled_because) == ("160x96", "asked for")
    assert report.warnings == ()
    reference = tmp_path / "ref.mkv"
    form = frames(path)[0].picture.format
    scaled = "yuvj420p" if form.full_range else form.pix_fmt
    ffmpeg(
        *("-i", path, "-vf", f"scale=160:96:flags=bicubic,format={scaled}"),
        *codec,
        reference,
    )
    assert (video(out)["width"], video(out)["height"]) == (160, 96)
    assert times(out) == times(path)
    for ours, theirs in zip(frames(out), frames(reference), strict=True):
        unit = 1 << (form.bit_depth - 8)
        for a, b in zip(ours.picture.planes, theirs.picture.planes, strict=True):
            assert np.abs(a.astype(float) - b).mean() < 1.5 * unit
        assert ours.picture.format.full_range == form.full_range


def test_look_and_rotation_of_a_phone_video_stay(tmp_path):
    plain = clip(tmp_path / "plain.mp4", "-c:v", "libx264", "-vf", "setsar=4/3", size="320x192")
    turned = tmp_path / "turned.mp4"
    ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", "rotate=90", turned)
    out = tmp_path / "out.mp4"
    transcode(str(turned), str(out), encode=quick("160"))
    found, source = video(out), video(turned)
    assert (found["width"], found["height"]) == (160, 96)  # 160 lines once it is turned
    assert found["sample_aspect_ratio"] == "4:3"
    assert found["side_data_list"][0]["rotation"] == source["side_data_list"][0]["rotation"]


def test_a_bound_above_the_size_changes_nothing(tmp_path):
    path = clip(tmp_path / "in.mkv")
    for name, limit in (("without", None), ("with", "96")):
        encode = quick(limit) if limit else EncodeOptions(preset="veryfast", options={"crf": "10"})
        report = transcode(str(path), str(tmp_path / f"{name}.mp4"), encode=encode)
    assert report.scaled_to == "160x96"
    assert (tmp_path / "with.mp4").read_bytes() == (tmp_path / "without.mp4").read_bytes()


def test_a_scaled_frame_keeps_its_number_and_time(tmp_path):
    path = clip(tmp_path / "in.mp4", "-c:v", "libx264", "-bf", "0", size="320x192")
    item = frames(path)[1]
    scaled = Scaler(item.picture.format, (160, 96), "").frame(item)
    assert scaled.picture.planes[0].shape == (96, 160)
    assert (scaled.picture.index, scaled.time) == (item.picture.index, item.time)


def test_interlaced_pictures_are_refused(tmp_path):
    path = clip(
        tmp_path / "in.mkv",
        *("-vf", "setfield=tff", "-c:v", "mpeg2video", "-flags", "+ildct+ilme"),
        size="320x192",
    )
    with pytest.raises(InputError, match=r"scaled to 160x96, .*deinterlace first"):
        transcode(str(path), str(tmp_path / "out.mp4"), encode=quick("96"))
    transcode(str(path), str(tmp_path / "out.mp4"), encode=quick("192"))  # nothing to scale


def test_maps_of_the_large_pictures_are_refused(tmp_path):
    path = clip(tmp_path / "in.mkv", "-c:v", "ffv1", size="320x192")
    maps = tmp_path / "maps.safetensors"
    first = ImportanceMap.neutral(frames(path)[0].picture)
    write_maps(maps, [first], MapMetadata(model="test", n_s=1, seed=0, dtype="float32"))
    steering = SteeringOptions(policy=OffsetPolicy(), maps=maps)
    with pytest.raises(InputError, match="maps of 320x192 do not fit pictures scaled to 160x96"):
        transcode(str(path), str(tmp_path / "out.mp4"), encode=quick("96"), steering=steering)


def test_command_line(tmp_path, capsys):
    path = clip(tmp_path / "in.mkv", size="320x192")
    out = str(tmp_path / "out.mp4")
    words = ["transcode", str(path), out, "--preset", "veryfast"]
    assert main([*words, "--no-steer", "--max-resolution", "160x96", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scaled_to"] == "160x96"
    assert main([*words, "--max-resolution", "big", "--no-steer", "-y"]) == 2
    assert "'big' is neither auto" in capsys.readouterr().err
    assert main([*words, "--max-resolution", "auto", "--no-steer", "-y"]) == 2
    assert "there is none without --model: give a size" in capsys.readouterr().err
    exact = ["--model", "yolov4-tiny"]
    assert main([*words, *exact, "--max-resolution", "auto", "--bitrate", "300k", "-y"]) == 2
    assert "bitrate 300 is not" in capsys.readouterr().err
    with av.open(out) as container:
        assert container.streams.video[0].width == 160
