"""``idse distill``."""

from __future__ import annotations

import dataclasses
import json

import av
import numpy as np
import pytest
from PIL import Image

from idse.cli import main
from idse.learned.student import analyser
from idse.learned.student.analyser import load_student, student_path
from idse.learned.student.file import read_student, write_student
from idse.pipeline.samples import Decoder, Sample

pytestmark = pytest.mark.fast

FACTORY = """
import torch
from idse.vision import FeatureExtractor

def small():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 5, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3)
    return FeatureExtractor(torch.nn.Sequential(*layers), size=(64, 64))

def blind():
    return FeatureExtractor(torch.nn.Sequential(Nothing()), size=(64, 64))

class Nothing(torch.nn.Module):
    def forward(self, x):
        return x * 0
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("IDSE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "distill_factory.py").write_text(FACTORY)
    images = tmp_path / "images"
    images.mkdir()
    random = np.random.default_rng(0)
    for k in range(9):
        coarse = random.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((176, 144)).save(images / f"{k}.png")
    return tmp_path


def video(path, frames=24):
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 176, 144
        for k in range(frames):
            image = np.full((144, 176, 3), 4 * k, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def distill(*arguments):
    return main(["distill", "--model", "distill_factory:small", *arguments])


def test_a_student_of_any_network(place, capsys):
    small = ["--images", "images", "--out", "a.safetensors", "--pictures", "18", "--steps", "2"]
    assert distill(*small, "--json") == 0
    captured = capsys.readouterr()
    card = json.loads(captured.out)
    assert captured.err == ""
    assert card["pictures"] == 16
    assert card["held_out"]["images"]["distill_factory:small"]["pictures"] == 2
    student = read_student(place / "a.safetensors")
    assert student.heads == ("distill_factory:small",)
    assert student.ops == read_student(student_path("student", stills=True)).ops
    with Decoder() as decoder:
        picture = decoder.picture(Sample(path=place / "images" / "0.png"))
    weight = load_student(str(place / "a.safetensors")).weight(picture)
    assert weight.shape == (9, 11)
    assert (weight > 0).all()
    # Again: lessons and checkpoint are there, and the same student comes of them.
    assert distill(*small) == 0
    again = read_student(place / "a.safetensors")
    assert again.card == student.card
    for name, tensor in student.tensors.items():
        np.testing.assert_array_equal(tensor, again.tensors[name])
    assert "rank correlation" in capsys.readouterr().out


def test_a_student_for_a_video(place, capsys):
    video(place / "v.avi")
    arguments = ["--video", "v.avi", "--out", "v.safetensors", "--pictures", "10", "--steps", "1"]
    assert distill(*arguments, "--json") == 2
    assert "5 pictures are too few" in capsys.readouterr().err
    video(place / "v.avi", frames=60)
    assert distill(*arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 9
    video_ops = read_student(student_path("student")).ops
    assert read_student(place / "v.safetensors").ops == video_ops
    both = [*arguments, "--images", "images", "--json"]
    assert distill(*both) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["gentle"] == 0.3
    assert read_student(place / "v.safetensors").ops == video_ops


def test_a_student_has_the_input_of_what_it_starts_from(place, monkeypatch):
    path = student_path("student", stills=True)
    start = dataclasses.replace(read_student(path), area=9216)
    monkeypatch.setattr(analyser, "_WEIGHTS", place)
    write_student(place / path.name, start)
    small = ["--images", "images", "--out", "a.safetensors", "--pictures", "8", "--steps", "1"]
    assert distill(*small) == 0
    assert read_student(place / "a.safetensors").area == 9216


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "a.safetensors"], "nothing to learn from"),
        (["--images", "nowhere", "--out", "a.safetensors"], "no such folder of images: nowhere"),
        (["--images", "home", "--out", "a.safetensors"], "holds no image"),
        (["--images", "images", "--out", "a.pt"], "must end in .safetensors"),
        (["--images", "images", "--out", "no/a.safetensors"], "there is no folder"),
        (["--images", "images", "--out", "a.safetensors", "--pictures", "3"], "at least 8"),
        (["--images", "images", "--out", "a.safetensors", "--steps", "0"], "at least 1 of 1"),
        (["--video", "images/0.txt", "--out", "a.safetensors"], "cannot be read"),
        (["--model", "distill_factory:small", "--images", "images", "--out", "a.safetensors"],
         "given twice"),
        (["--model", "distill_factory:blind", "--images", "images", "--out", "a.safetensors",
          "--pictures", "9"], "sees nothing"),
        (["--model", "distill_factory:small=0", "--images", "images", "--out", "a.safetensors"],
         "must be above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(place, capsys, arguments, message):
    (place / "home").mkdir(exist_ok=True)
    assert distill(*arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (place / "a.safetensors").exists()
