"""The benchmarks run to their end and write what they promise; what they measure is not judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench"


def run(name, tmp_path, *arguments):
    environment = os.environ | {"IDSE_BENCH_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, BENCH / f"{name}.py", "--results", tmp_path, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    markdown = (tmp_path / f"{name}.md").read_text()
    assert markdown in done.stdout
    return json.loads((tmp_path / f"{name}.json").read_text()), markdown


def test_first_gain(shared, tmp_path):
    found, markdown = run("first_gain", tmp_path, "--quick")
    assert "`python tools/bench/first_gain.py --results" in markdown
    for part in ("images", "video"):
        distance = found[part]["bd_rate"]["output distance, yolov4-tiny"]
        assert distance["stock default"]["percent"] == 0
        assert {"steered defaults", "stock default"} == set(distance)
        curves = found[part]["curves"]
        for configuration in curves.values():
            assert configuration["bytes"] == sorted(configuration["bytes"], reverse=True)
        stock, steered = (curves[name]["PSNR-Y"] for name in ("stock default", "steered defaults"))
        assert stock != steered
        assert len(stock) == len(found["crf"]) >= 6


def test_defaults(shared, tmp_path):
    found, markdown = run("defaults", tmp_path, "--quick")
    assert "| n_s 1, every 5 s |" in markdown
    assert found["frames_analysed"]["stock default"] == 0
    assert found["frames_analysed"]["n_s 1, every 5 s"] > 0
    assert found["cpu_ratio"]["n_s 1, every 5 s"] > 0


def test_cost(shared, tmp_path):
    clip = tmp_path / "short.avi"
    source = shared / "video" / "vtest.avi"
    cut = ["ffmpeg", "-v", "error", "-i", source, "-t", "2", "-c", "copy", clip]
    subprocess.run(cut, check=True)
    options = ["--input", clip, "--runs", "1", "--loops", "2"]
    found, _ = run("cost", tmp_path, *options)
    assert set(found["turns"]) == {"ffmpeg", "idse transcode", "idse transcode --no-steer"}
    (stock,) = found["turns"]["ffmpeg"]
    assert stock["cpu"] > 0
    assert stock["wall"] > 0
    assert 10 << 20 < stock["peak"] < 4 << 30
    assert found["long"]["loops"] == 2


def test_speed(shared, tmp_path):
    found, markdown = run("speed", tmp_path, "--quick")
    (size,) = found["comparisons"]
    names = set(size["turns"])
    assert {"ffmpeg", "--no-steer", "a map every frame", "idse ffmpeg"} < names
    assert set(found["starts"]) == names
    for turns in size["turns"].values():
        assert turns[0]["bytes"] > 1000
        assert turns[0]["usage"]["cpu"] > 0
    assert found["starts"]["ffmpeg"]["first_packet"] > 0
    assert "| 180p medium | a map every frame |" in markdown


def test_jpeg_cost(shared, tmp_path):
    found, markdown = run("jpeg_cost", tmp_path, "--runs", "1", "--pictures", "1")
    stock = found["turns"]["libjpeg-turbo, optimised"]
    assert len(stock) == 2
    assert found["ratio"]["libjpeg-turbo, optimised"]["libjpeg-turbo"] == 1
    for kind in ("baseline", "progressive"):
        for turn, other in zip(found["turns"][f"ours, {kind}, to a size"], stock, strict=True):
            assert turn["size"] <= other["size"] // 2
            assert turn["network"] > 0 == other["network"]
    for sizes in found["peak_bytes"].values():
        assert 0 < sizes["1024"] < sizes["2048"] < 1 << 30
    assert "| ours, baseline, at a scale |" in markdown


def test_beat_jpeg(shared, tmp_path):
    found, markdown = run("beat_jpeg", tmp_path, "--quick", "--only", "coco", "--jobs", "1")
    (report,) = found["reports"]
    (chosen,) = report["chosen"].values()
    assert len(chosen) == 5
    (part,) = report["samples"]
    assert len(part["curves"]) == len(report["configurations"]) >= 12
    ours = part["curves"]["ours (progressive)"]
    assert ours["bytes"] == sorted(ours["bytes"])
    assert "| ours (progressive) against mozjpeg, its defaults |" in markdown
    against = report["against"]["output distance, yolov4-tiny"]
    assert len(against) == 3 * 9
    assert (tmp_path / "beat_jpeg-coco_val128.png").exists()
