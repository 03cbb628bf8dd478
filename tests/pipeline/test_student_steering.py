"""The built-in student steers everything by default, without torch, and is missed by nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from media_clips import assert_decodes, clip, elementary
from PIL import Image

import idse
from idse.allocation import OffsetPolicy
from idse.cli import main
from idse.errors import InputError
from idse.importance.maps import read_maps
from idse.learned.student import analyser
from idse.learned.student.analyser import student_path
from idse.picture import Picture, PictureFormat
from idse.pipeline.images import network
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.options import EncodeOptions
from idse.pipeline.stills import encode_set
from idse.pipeline.transcode import transcode
from idse.server.models import Models
from idse.vision import DEFAULT_MODEL

pytestmark = pytest.mark.fast

WEIGHTS = student_path("student").parent


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("street") / "street.mp4")


@pytest.fixture
def picture(tmp_path):
    """Half of it is a gradient, half noise."""
    pixels = np.zeros((96, 160, 3), np.uint8)
    pixels[:, :80] = np.arange(96, dtype=np.uint8)[:, None, None]
    pixels[:, 80:] = np.random.default_rng(1).integers(0, 256, (96, 80, 3))
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    """A package whose student is not there."""
    monkeypatch.setattr(analyser, "_WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(network, "_STUDENTS", {})


@pytest.fixture
def damaged_weights(no_weights):
    for stills in (False, True):
        path = analyser.student_path("student", stills=stills)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not at all")


def without_torch(*words):
    """Run a command where torch cannot be imported."""
    code = "import sys; sys.modules['torch'] = None; from idse.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "IDSE_HOME": "/nonexistent"},
    )


def test_a_video_is_steered_in_every_frame_without_torch(street, tmp_path):
    out = tmp_path / "out.mp4"
    done = without_torch("transcode", street, out, "--preset", "veryfast", "--strict", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["model"] == "student"
    assert report["frames_analysed"] == report["frames"] == 25
    assert report["frames_unsteered"] == 0
    assert_decodes(out)
    stock = tmp_path / "stock.mp4"
    assert without_torch("transcode", street, stock, "--no-steer").returncode == 0
    assert elementary(out) != elementary(stock)


def test_the_same_video_comes_out_every_time(street, tmp_path):
    steering = SteeringOptions(policy=OffsetPolicy(), models=("student",))
    outs = [tmp_path / f"{k}.mp4" for k in range(2)]
    for out in outs:
        transcode(str(street), str(out), encode=EncodeOptions(), steering=steering, strict=True)
    assert elementary(outs[0]) == elementary(outs[1])


def test_a_picture_is_steered_without_torch(picture, tmp_path):
    out = tmp_path / "out.jpg"
    done = without_torch("image", picture, out, "--quality", "50", "--strict", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["model"], report["steered"]) == ("student", True)
    with Image.open(out) as decoded:
        decoded.load()
        assert decoded.size == (160, 96)


def test_maps_are_written_without_torch(street, tmp_path):
    out = tmp_path / "maps.safetensors"
    done = without_torch("map", street, out, "--json")
    assert done.returncode == 0
    maps = read_maps(out)
    assert len(maps.maps) == 25
    assert maps.metadata.model == "student"
    assert maps.spectrum is not None
    done = without_torch("map", street, out, "--analyse-every", "0.5", "--model", "student")
    assert [item.frame_index for item in read_maps(out).maps] == [0, 13]


def test_a_network_without_torch_says_what_to_install(street, tmp_path):
    done = without_torch("transcode", street, tmp_path / "out.mp4", "--model", "yolov4-tiny")
    assert done.returncode == 2
    assert "pip install 'idse[torch]'" in done.stderr


def test_it_is_the_default_of_the_library(picture):
    assert DEFAULT_MODEL == "student"
    data = idse.encode_jpeg(str(picture), quality=50, strict=True)
    assert data == idse.encode_jpeg(str(picture), quality=50, model="student", strict=True)
    assert data != idse.encode_jpeg(str(picture), quality=50, model=None)


@pytest.mark.parametrize("weights", ["no_weights", "damaged_weights"])
def test_without_its_weights_a_video_is_not_steered(street, tmp_path, request, weights):
    request.getfixturevalue(weights)
    steering = SteeringOptions(policy=OffsetPolicy(), models=("student",))
    out = tmp_path / "out.mp4"
    report = transcode(str(street), str(out), steering=steering)
    assert report.frames_unsteered == report.frames == 25
    (message,) = report.warnings
    assert "all frames go out unsteered" in message
    assert_decodes(out)
    with pytest.raises(InputError, match="an error because of --strict"):
        transcode(str(street), str(out), steering=steering, overwrite=True, strict=True)


@pytest.mark.parametrize("weights", ["no_weights", "damaged_weights"])
def test_without_its_weights_a_picture_is_stock(picture, tmp_path, request, weights, capsys):
    request.getfixturevalue(weights)
    out = tmp_path / "out.jpg"
    assert main(["image", str(picture), str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert not report["steered"]
    assert "gets libjpeg-turbo's own tables" in report["warnings"][0]
    assert main(["image", str(picture), str(out), "--strict", "-y"]) == 2


@pytest.mark.parametrize("stills", [False, True])
def test_where_one_of_its_networks_is_missing_the_other_steers(
    street, picture, tmp_path, no_weights, stills
):
    there = analyser.student_path("student", stills=stills)
    there.parent.mkdir()
    there.write_bytes((WEIGHTS / there.name).read_bytes())
    steering = SteeringOptions(policy=OffsetPolicy(), models=("student",))
    report = transcode(str(street), str(tmp_path / "out.mp4"), steering=steering)
    assert report.frames_unsteered == (report.frames if stills else 0)
    stock = idse.encode_jpeg(str(picture), quality=50, model=None)
    assert (idse.encode_jpeg(str(picture), quality=50) != stock) == stills


def test_pictures_are_steered_by_the_network_for_stills(picture):
    video, stills = (student_path("student", stills=kind) for kind in (False, True))
    found = [
        idse.encode_jpeg(str(picture), quality=50, model=str(model), strict=True)
        for model in ("student", stills, video, "student@yolov4-tiny", f"{stills}@yolov4-tiny")
    ]
    assert found[0] == found[1] != found[2]
    assert found[3] == found[4] != found[0]


def test_sets_of_pictures_are_steered_by_the_network_for_stills():
    form = PictureFormat(width=128, height=96)
    random = np.random.default_rng(0)
    planes = [random.integers(0, 256, shape).astype(np.uint8) for shape in form.plane_shapes]
    pictures = [Picture(planes=tuple(planes), format=form)]
    sets = []
    for model in ("student", *(student_path("student", stills=kind) for kind in (True, False))):
        steering = SteeringOptions(policy=OffsetPolicy(), models=(str(model),))
        sets.append(encode_set(pictures, EncodeOptions(), crf=27, steering=steering))
    assert sets[0] == sets[1] != sets[2]


def test_videos_are_steered_by_the_network_for_video(street, tmp_path):
    outs = []
    for model in ("student", *(student_path("student", stills=kind) for kind in (False, True))):
        steering = SteeringOptions(policy=OffsetPolicy(), models=(str(model),))
        out = tmp_path / f"{len(outs)}.mp4"
        transcode(str(street), str(out), steering=steering, strict=True)
        outs.append(elementary(out))
    assert outs[0] == outs[1] != outs[2]


def test_maps_are_those_of_what_is_in_the_file(street, picture, tmp_path):
    out = tmp_path / "maps.safetensors"
    for source, stills in ((picture, True), (street, False)):
        found = []
        for model in ("student", str(student_path("student", stills=stills))):
            assert main(["map", str(source), str(out), "--model", model]) == 0
            found.append([item.weight() for item in read_maps(out).maps])
        np.testing.assert_array_equal(*found)


def test_a_student_that_was_named_must_be_there(street, picture, tmp_path, capsys):
    out = str(tmp_path / "out.mp4")
    assert main(["transcode", str(street), out, "--model", "gone.safetensors"]) == 2
    assert main(["image", str(picture), f"{out}.jpg", "--model", "gone.safetensors"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all("cannot read student gone.safetensors" in line for line in errors)


def test_a_head_that_was_named_must_be_there(street, picture, tmp_path, capsys):
    words = ["--model", "student@nobody"]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(picture.read_bytes())
    for command, source, out in (
        ("transcode", street, "out.mp4"),
        ("image", picture, "out.jpg"),
        ("image", tmp_path / "in", "out"),
    ):
        assert main([command, str(source), str(tmp_path / out), *words]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all("student@nobody: the student has no head 'nobody'" in line for line in errors)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out.")]
    with pytest.raises(InputError, match="no head 'nobody'"):
        Models(["student@nobody"]).load()


@pytest.mark.parametrize("words", [["--n-s", "0"], ["--seed", "-1"]])
def test_numbers_out_of_range_are_refused_though_a_student_needs_none(
    street, picture, tmp_path, capsys, words
):
    for command, source, out in (("transcode", street, "o.mp4"), ("image", picture, "o.jpg")):
        assert main([command, str(source), str(tmp_path / out), *words]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(f"{words[0][2:].replace('-', '_')} {words[1]} must" in line for line in errors)


@pytest.mark.parametrize(
    "words",
    [
        ["transcode", "--measure"],
        ["transcode", "--guard"],
        ["transcode", "--effort", "oracle"],
        ["transcode", "--max-resolution", "auto"],
        ["image", "--accuracy", "0.9"],
        ["transcode", "--model", "student@yolov4-tiny", "--measure"],
    ],
)
def test_what_needs_a_network_says_so(street, picture, tmp_path, capsys, words):
    command, *options = words
    source, out = (street, "out.mp4") if command == "transcode" else (picture, "out.jpg")
    assert main([command, str(source), str(tmp_path / out), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--model yolov4-tiny" in line
    assert options[-2 if options[-1] in {"oracle", "auto", "0.9"} else -1].strip("-") in line
    assert not (tmp_path / out).exists()


def test_a_student_beside_a_network_is_refused(street, tmp_path, capsys):
    words = ["--model", "student", "--model", "yolov4-tiny=2"]
    assert main(["transcode", str(street), str(tmp_path / "out.mp4"), *words]) == 2
    assert "student is a student, which stands for a blend" in capsys.readouterr().err


def test_a_sidecar_of_its_own_steers_by_it(tmp_path):
    out, report = tmp_path / "out.mp4", tmp_path / "report.json"
    lavfi = ["-f", "lavfi", "-i", "testsrc2=s=256x192:r=10:d=1"]
    done = without_torch(
        *["ffmpeg", "--strict", "--report", report],
        *["-v", "error", "-y", *lavfi, "-c:v", "libx264", out],
    )
    assert done.returncode == 0, done.stderr
    (encoder,) = json.loads(report.read_text())["encoders"]
    assert encoder["steered"] == encoder["frames"] == 10


def test_a_picture_of_an_impossible_shape_is_stock(tmp_path, capsys):
    Image.new("L", (16384, 1), 77).save(tmp_path / "line.png")
    assert main(["image", str(tmp_path / "line.png"), str(tmp_path / "line.jpg"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert not report["steered"]
    assert "larger than 8192" in report["warnings"][0] or "not one of" in report["warnings"][0]
