"""``idse map`` as a user runs it."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from idse.cli import main
from idse.importance import read_maps
from idse.pipeline.frames import picture

pytestmark = pytest.mark.fast

FACTORY = """
import torch
from torch import nn
from idse.vision import FeatureExtractor


class Watcher(nn.Module):
    def __init__(self, dark_fails):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 5, stride=2)
        self.dark_fails = dark_fails

    def forward(self, x):
        if self.dark_fails and x.mean() < 0.3:
            raise RuntimeError("too dark")
        return self.conv(x).tanh()


def watcher():
    return FeatureExtractor(Watcher(False), size=(32, 48))


def fragile():
    return FeatureExtractor(Watcher(True), size=(32, 48))
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A module of the user's own, with networks small enough for many runs."""
    (tmp_path / "my_models.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return "my_models:watcher"


def make_clip(path, *, frames=30, cut_at=None, dark=()):
    """A textured clip of 10 fps that drifts; lossless, so that every frame differs."""
    rng = np.random.default_rng(4)
    scenes = [
        np.asarray(
            Image.fromarray(rng.integers(60, 200, (20, 30), dtype=np.uint8)).resize((320, 240))
        )
        for _ in range(2)
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for i in range(frames):
            scene = scenes[int(cut_at is not None and i >= cut_at)]
            luma = scene[50 : 50 + 120, 40 + i : 40 + i + 160]
            full = np.full((180, 160), 128, np.uint8)
            full[:120] = luma // 8 + 16 if i in dark else luma
            frame = av.VideoFrame.from_ndarray(full, "yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_video_is_analysed_on_schedule_and_ties_maps_to_frames(models, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip.mkv")
    target = tmp_path / "maps.safetensors"
    command = ["map", str(clip), str(target), "--model", models, "--analyse-every", "1", "--json"]
    command += ["--n-s", "3", "--seed", "9"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frame_indices"] == [0, 10, 20]
    maps = read_maps(target)
    assert (maps.metadata.model, maps.metadata.n_s, maps.metadata.seed) == (models, 3, 9)
    with av.open(str(clip)) as container:
        pictures = [picture(frame, i) for i, frame in enumerate(container.decode(video=0))]
    maps.check_source(pictures[0].format)
    for shown in pictures:
        maps.check_frame(shown)
    assert [m.frame_index for m in maps.maps] == [0, 10, 20]
    assert [m.pts for m in maps.maps] == [pictures[i].pts for i in (0, 10, 20)]
    first = target.read_bytes()
    assert main(command) == 0
    assert target.read_bytes() == first


def test_scene_cuts_are_analysed(models, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip.mkv", cut_at=17)
    rarely = ["--analyse-every", "5"]
    assert main(["map", str(clip), "out", "--model", models, "--json", *rarely]) == 0
    assert json.loads(capsys.readouterr().out)["frame_indices"] == [0, 17]


@pytest.mark.parametrize("schedule", [[], ["--analyse-every", "5"]])
def test_maps_steer_as_the_network_itself_does(models, tmp_path, schedule):
    make_clip(tmp_path / "clip.mkv", frames=110, cut_at=17)
    network = ["--model", models, *schedule]
    encode = ["--preset", "superfast"]
    assert main(["map", "clip.mkv", "maps", *network]) == 0
    assert main(["transcode", "clip.mkv", "direct.mkv", *network, *encode]) == 0
    assert main(["transcode", "clip.mkv", "maps.mkv", "--maps", "maps", *encode]) == 0
    assert main(["transcode", "clip.mkv", "stock.mkv", "--no-steer", *encode]) == 0
    files = [(tmp_path / f"{name}.mkv").read_bytes() for name in ("direct", "maps", "stock")]
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_image_with_overlay(models, tmp_path, capsys):
    rgb = np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "in.png")
    assert main(["map", "in.png", "out", "--model", models, "--overlay", "o.png"]) == 0
    assert "1 frame of in.png analysed by my_models:watcher" in capsys.readouterr().out
    (only,) = read_maps("out").maps
    assert (only.width, only.height, only.pix_fmt) == (100, 70, "yuv444p")
    with Image.open("o.png") as drawn:
        assert drawn.size[0] == 2 * 100 + 8
        np.testing.assert_array_equal(np.asarray(drawn)[:70, :100], rgb)


def test_several_networks_with_weights(models, tmp_path):
    make_clip(tmp_path / "clip.mkv", frames=3)
    assert main(["map", "clip.mkv", "out", "--model", models, "--model", f"{models}=0.5"]) == 0
    assert read_maps("out").metadata.model == f"{models}=1 {models}=0.5"


def test_frames_that_the_network_fails_on_get_no_map(models, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip.mkv", dark=(10, 11))
    command = ["map", str(clip), "out", "--model", "my_models:fragile", "--analyse-every", "1"]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    # The next frame that it can look at stands in, and the second counts from there.
    assert report["frame_indices"] == [0, 12, 22]
    assert len(report["warnings"]) == 1
    assert "frame 10 failed: RuntimeError: too dark" in report["warnings"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.mp4", "out"], "absent.mp4"),
        (["my_models.py", "out"], "my_models.py"),
        (["clip.mkv", "out", "--model", "no-such-model"], "unknown model 'no-such-model'"),
        (["clip.mkv", "out", "--model", "my_models:watcher=-1"], "weight -1.0"),
        (["clip.mkv", "out", "--model", "my_models:watcher=x"], "weight 'x'"),
        (["clip.mkv", "out", "--model", "my_models:watcher", "--n-s", "0"], "n_s 0"),
        (["clip.mkv", "out", "--model", "my_models:watcher", "--seed", "-3"], "seed -3"),
        (["clip.mkv", "out", "--model", "student", "--n-s", "0"], "n_s 0 must be at least 1"),
        (["clip.mkv", "out", "--model", "student", "--seed", "-1"], "seed -1 must not be negative"),
        (["clip.mkv", "out", "--model", "student@nobody"], "the student has no head 'nobody'"),
        (["clip.mkv", "no/out", "--model", "my_models:watcher"], "no/out"),
        (["clip.mkv", "clip.mkv", "--model", "my_models:watcher"], "clip.mkv is the input"),
        (["clip.mkv", "out", "--overlay", "out"], "out is the input or another result"),
        (
            ["clip.mkv", "out.npz"],
            "out.npz is named as NPZ, and this is safetensors: call it out.s",
        ),
        (["clip.mkv", "out.MP4"], "out.MP4 is named as mp4"),
        (["clip.mkv", "out", "--overlay", "out.jpg"], "out.jpg is named as JPEG, and this is PNG"),
        (["clip.mkv", "-"], "this goes into a file"),
        (["dark.mkv", "out", "--model", "my_models:fragile"], "too dark"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(models, tmp_path, capsys, arguments, message):
    make_clip(tmp_path / "clip.mkv", frames=2)
    make_clip(tmp_path / "dark.mkv", frames=2, dark=(0, 1))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert main(["map", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("idse map: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
