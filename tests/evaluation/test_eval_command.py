"""`idse eval` as it is typed: its files, a second run that measures nothing, errors in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from eval_media import write_clip, write_images
from PIL import Image

from idse.cli import main

HERE = Path(__file__).resolve().parent


def idse(cache, *arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "idse.cli", "eval", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(HERE), "IDSE_EVAL_CACHE": str(cache)},
        **kwargs,
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), [(192, 176), (176, 192), (192, 180)])


JUDGES = ("--judge", "eval_networks:judge", "--judge", "eval_networks:other")
STOCK = ("--config", "stock: --no-steer", "--config", "fast: --no-steer --preset veryfast")


@pytest.mark.fast
def test_images(images, tmp_path):
    stem = tmp_path / "out"
    steered = ("--config", "steered: --model eval_networks:judge")
    asked = (images, *STOCK, *steered, *JUDGES, "--resamples", 100)
    done = idse(tmp_path, *asked, "--out", stem)
    assert done.returncode == 0, done.stderr
    markdown = stem.with_suffix(".md").read_text()
    assert done.stdout == markdown
    found = json.loads(stem.with_suffix(".json").read_text())
    assert found["anchor"] == "stock"
    (part,) = found["samples"]
    for metric in ("output distance, {}", "top-1 agreement, {}"):
        for judge in ("judge", "other"):
            column = part["bd_rate"][metric.format(f"eval_networks:{judge}")]
            assert list(column) == ["stock", "fast", "steered"]
    assert part["bd_rate"]["PSNR-Y"]["stock"]["percent"] == 0
    assert part["curves"]["stock"]["bytes"] == sorted(part["curves"]["stock"]["bytes"])[::-1]
    assert part["curves"]["steered"]["PSNR-Y"] != part["curves"]["stock"]["PSNR-Y"]
    with Image.open(tmp_path / f"out-{images.name}.png") as picture:
        assert picture.width > 1000

    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    times = [path.stat().st_mtime_ns for path in before]
    again = idse(tmp_path, *asked, "--json")
    told = json.loads(again.stdout)
    assert told["samples"] == found["samples"]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
    assert [path.stat().st_mtime_ns for path in before] == times


@pytest.mark.full
def test_a_clip_and_the_best_of_its_first_half(tmp_path):
    clip = write_clip(tmp_path / "clip.mkv", seconds=6)
    suite = tmp_path / "own.toml"
    suite.write_text(
        """
title = "A title"
anchor = "chosen"
[best]
name = "chosen"
clips = [{ x264 = { subme = [1, 7] } }]
[[configuration]]
name = "stock"
arguments = "--no-steer"
[[configuration]]
name = "small"
arguments = "--no-steer"
filter = "downscale"
alone = true
"""
    )
    part = "--select second --block 1 --judge-every 1 --rates 20,24,28,32,36,40 --resamples 100"
    asked = ("--suite", suite, *JUDGES[:2], *part.split(), "--json", "--jobs", 2)
    done = idse(tmp_path, clip, *asked)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    chosen = found["chosen"]["clip.mkv"]["chosen"]
    (stage,) = chosen["stages"]
    assert set(stage) == {"subme=1", "subme=7"}
    best = min(stage, key=lambda name: stage[name])
    assert best in chosen["arguments"]
    assert chosen["on"].startswith("0 to 3 s")
    (part,) = found["samples"]
    assert list(part["curves"]) == ["chosen", "stock", "small"]
    assert len(part["segments_of_10_s"]["stock"]) == 1
    assert "min(96,iw)" in found["configurations"][1]["filter"]
    assert part["cpu_ratio"]["stock"] > 0
    # The frames of 106x64 are compared at the source's size, and lose there.
    assert max(part["curves"]["small"]["PSNR-Y"]) < max(part["curves"]["stock"]["PSNR-Y"])


ERRORS = {
    "no source": ((*STOCK,), "nothing to encode"),
    "missing source": (("nowhere.mp4", *STOCK), "nowhere.mp4"),
    "one configuration": (("IMAGES", "--config", "a: --no-steer"), "two or more"),
    "bad option": (("IMAGES", *STOCK, "--config", "c: --no-stear"), "--no-stear"),
    "bad anchor": (("IMAGES", *STOCK, "--anchor", "best"), "'best'"),
    "few rates": (("IMAGES", *STOCK, "--rates", "20,30"), "20, 30"),
    "bad rates": (("IMAGES", *STOCK, "--rates", "low"), "low"),
    "bad selection": (("IMAGES", *STOCK, "--select", "some"), "some"),
    "bad suite": (("IMAGES", "--suite", "none-such"), "paper-sketch: No such file or directory"),
    "no clip": ((str(HERE / "eval_networks.py"), *STOCK), "cannot be read: Invalid data"),
    "no folder": (("IMAGES", *STOCK, "--out", "nowhere/out"), "nowhere"),
    "jobs": (("IMAGES", *STOCK, "--jobs", "0"), "jobs 0"),
    "maps": (("IMAGES", *STOCK, "--config", "m: --maps a.safetensors"), "'m'"),
    "guard": (
        ("IMAGES", *STOCK, "--config", "g: --guard --model yolov4-tiny"),
        "guard True",
    ),
    "student": (("IMAGES", *STOCK, "--config", "g: --guard"), "and student is a student"),
    "size": (("IMAGES", *STOCK, "--config", "s: --no-steer --max-resolution 64"), "max-resolution"),
    "judge": (("IMAGES", *STOCK, "--judge", "no-such-net"), "no-such-net"),
    "layer": (("IMAGES", *STOCK, "--judge", "eval_networks:judge@0"), "layer"),
}


@pytest.mark.fast
@pytest.mark.parametrize("kind", ERRORS)
def test_errors_are_one_line(kind, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDSE_EVAL_CACHE", str(tmp_path / "cache"))
    arguments, words = ERRORS[kind]
    given = [str(images) if word == "IMAGES" else word for word in arguments]
    assert main(["eval", *given]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("idse eval: ")
    assert words in line


@pytest.mark.full
def test_ctrl_c_ends_everything_and_keeps_what_was_measured(tmp_path):
    clip = write_clip(tmp_path / "clip.mkv", seconds=30, rate=25, size="320x240")
    arguments = [clip, *STOCK, *JUDGES[:2], "--block", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "idse.cli", "eval", *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HERE), "IDSE_EVAL_CACHE": str(tmp_path / "cache")},
        start_new_session=True,
        # A test run in the background ignores Ctrl-C, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "cache").glob("measurements/*.npz")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.strip().splitlines() == ["idse eval: interrupted"]
    assert list((tmp_path / "cache").glob("measurements/*.npz"))


@pytest.mark.fast
def test_suites_are_listed(tmp_path):
    done = idse(tmp_path, "--list-suites")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert "best-of-stock" in names
    assert len(names) >= 5
