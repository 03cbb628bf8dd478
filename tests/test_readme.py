"""Every command and every piece of Python in the README runs as it stands."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from idse.vision.registry import sample_images

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]

WRITTEN = {
    ".mp4",
    ".mkv",
    ".json",
    ".npy",
    ".png",
    ".safetensors",
    ".jpg",
    ".csv",
    ".parquet",
    ".ivae",
}

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the README encodes, and the checkout's tools under the name it uses."""
    path = tmp_path_factory.mktemp("readme")
    (path / "tools").symlink_to(ROOT / "tools")
    subprocess.run(
        [
            *["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=256x192:r=10:d=2"],
            *["-f", "lavfi", "-i", "sine=d=2", "-c:v", "mpeg4", "-q:v", "2", "-c:a", "aac"],
            path / "street.mp4",
        ],
        check=True,
    )
    (path / "photos").mkdir()
    for name, sample in zip(
        ("street.png", "photos/a.png"), sample_images("yolov4-tiny"), strict=True
    ):
        with Image.open(sample) as photo:
            photo.thumbnail((480, 480))
            photo.save(path / name)
            photo.save(path / "photos" / f"{Path(name).stem}.jpg")
    return path


def test_the_readme_is_read_as_meant():
    assert len(COMMANDS) >= 12
    assert len(PYTHON) == 5
    assert {kind for kind, _ in BLOCKS} == {"sh", "console", "python"}
    # The only command that a test cannot run is the one that runs the tests.
    assert [text for kind, text in BLOCKS if kind == "console"] == ["tools/test\n"]


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, folder, yolo):
    words = shlex.split(command)
    assert words[0] == "tools/idse"
    done = subprocess.run(words, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in words[3:]:
        if Path(word).suffix in WRITTEN:
            assert (folder / word).stat().st_size > 0, f"{word} was not written"


@pytest.mark.parametrize("code", PYTHON)
def test_python(code, tmp_path):
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path)
    assert done.returncode == 0


def test_wheel_alone_gives_a_working_command(tmp_path):
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    # A copy: an in-place build of this checkout must not meet another one.
    source = tmp_path / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    ).stdout
    for name in filter(None, tracked.decode().split("\0")):
        target = source / name
        if (ROOT / name).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [environment / "bin/pip", "install", "-q", "-c", ROOT / "tools/constraints.txt", source],
        check=True,
    )
    clip = tmp_path / "clip.mkv"
    subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            *["-f", "lavfi", "-i", "testsrc2=s=64x48:d=1", "-c:v", "ffv1"],
            clip,
        ],
        check=True,
    )
    idse = environment / "bin/idse"
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    target = tmp_path / "out.mp4"
    subprocess.run([idse, "transcode", clip, target, "--no-steer"], check=True, env=clean)
    subprocess.run([idse, "inspect", target], check=True, env=clean, stdout=subprocess.DEVNULL)
    # The built-in student needs nothing more; a network names the extra that it needs.
    student, network = tmp_path / "student.mp4", tmp_path / "network.mp4"
    words = [idse, "transcode", clip, student, "--json"]
    done = subprocess.run(words, check=True, env=clean, stdout=subprocess.PIPE, text=True)
    report = json.loads(done.stdout)
    assert report["model"] == "student"
    assert report["frames_unsteered"] == 0
    words = [idse, "transcode", clip, network, "--model", "yolov4-tiny"]
    done = subprocess.run(words, check=False, env=clean, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'idse[torch]'" in done.stderr
    assert not network.exists()
