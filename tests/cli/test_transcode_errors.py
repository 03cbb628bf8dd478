"""Bad input and bad luck: one clear line, the right exit code, nothing left behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy

from idse.importance.maps import ImportanceMap, MapMetadata, write_maps
from idse.picture import Picture, PictureFormat

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fast
METADATA = MapMetadata(model="test", n_s=1, seed=0, dtype="float32")


def ffmpeg(*args):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, args)], check=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=1", "-c:v", "mpeg4", path)
    return path


def idse(*args, cwd=None, env=None, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "idse.cli", "transcode", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ | (env or {}),
        **kwargs,
    )


def assert_refused(done, folder: Path, *words: str, before=()):
    """Exit code 2, one line that has the words, and no new file in the folder."""
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("idse transcode: ")
    for word in words:
        assert word in lines[0]
    assert sorted(item.name for item in folder.iterdir()) == sorted(before)


def truncated(clip, tmp_path, *, faststart):
    whole = tmp_path / "whole.mp4"
    flags = ["-movflags", "faststart"] if faststart else []
    ffmpeg("-i", clip, "-c", "copy", *flags, whole)
    source = tmp_path / "in.mp4"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    return source


def audio_only(_clip, tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", tmp_path / "in.m4a")
    return tmp_path / "in.m4a"


def no_frames(clip, tmp_path):
    # A file whose header promises video of which no packet is there.
    ffmpeg("-i", clip, "-c", "copy", "-frames:v", "0", tmp_path / "in.mkv")
    return tmp_path / "in.mkv"


def no_media(_clip, tmp_path):
    (tmp_path / "in.txt").write_text("this is no video\n" * 100)
    return tmp_path / "in.txt"


SOURCES = {
    "truncated before its index": (lambda c, t: truncated(c, t, faststart=False), ["in.mp4"]),
    "truncated behind its index": (
        lambda c, t: truncated(c, t, faststart=True),
        ["in.mp4", "truncated"],
    ),
    "audio only": (audio_only, ["in.m4a", "no video stream", "audio"]),
    "no frames": (no_frames, ["in.mkv"]),
    "no media": (no_media, ["in.txt"]),
    "missing": (lambda c, t: t / "missing.mp4", ["missing.mp4", "No such file"]),
    "empty": (lambda c, t: (t / "in.mp4").touch() or t / "in.mp4", ["in.mp4"]),
    "folder": (lambda c, t: t, ["cannot open"]),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_sources_that_cannot_be_transcoded(kind, clip, tmp_path):
    make, words = SOURCES[kind]
    source = make(clip, tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    assert_refused(idse(source, folder / "out.mp4", "--no-steer"), folder, *words)


def make_maps(path, *, width=160, height=96, change=0):
    form = PictureFormat(width=width, height=height)
    planes = [np.full(s, 90, np.uint8) for s in ((height, width), *[form.chroma_shape] * 2)]
    picture = Picture(planes=tuple(planes), format=form)
    write_maps(path, [ImportanceMap.neutral(picture)], METADATA)
    return path


def test_maps_that_do_not_fit(clip, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "out.mp4"
    size = make_maps(tmp_path / "size.safetensors", width=320)
    assert_refused(idse(clip, out, "--maps", size), folder, "320x96", "160x96")
    other = make_maps(tmp_path / "other.safetensors")
    assert_refused(idse(clip, out, "--maps", other), folder, "frame 0", "another video")
    with safetensors.safe_open(other, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["energy"][0, 0, 2, 3] = np.nan
    bad = tmp_path / "nan.safetensors"
    safetensors.numpy.save_file(tensors, bad, metadata)
    assert_refused(idse(clip, out, "--maps", bad), folder, "nan", "row 2", "column 3")
    assert_refused(idse(clip, out, "--maps", tmp_path / "none"), folder, "none")
    assert_refused(idse(clip, out, "--maps", folder), folder, "maps", "it is a folder")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "no-such-net"], ["no-such-net"]),
        (["--no-steer", "--preset", "quick"], ["quick", "ultrafast"]),
        (["--no-steer", "--x264-params", "pass=2"], ["CRF/CQP is incompatible with 2pass"]),
        (["--no-steer", "--x264-params", "crff=3"], ["crff", "crf"]),
        (["--no-steer", "--crf", "20", "--bitrate", "1M"], ["--crf", "--bitrate"]),
        (["--no-steer", "--threads", "-1"], ["--threads -1"]),
        (["--no-steer", "--crf", "52"], ["--crf 52", "0 to 51"]),
        (["--no-steer", "--crf", "nan"], ["--crf nan"]),
        (["--no-steer", "--crf", "-3"], ["CRF -3", "8-bit", "from 0"]),
        (["--no-steer", "--x264-params", "crf=-3"], ["CRF -3", "8-bit"]),
        (["--no-steer", "--maxrate", "1M"], ["--bufsize"]),
        (["--no-steer", "--bitrate", "many"], ["many"]),
        (["--no-steer", "--two-pass"], ["--bitrate"]),
        (["--no-steer", "--format", "avi"], ["avi", "mkv"]),
        (["--strength", "9"], ["strength", "9"]),
        (["--protect", "0,0,10"], ["0,0,10"]),
        (["--analyse-every", "-1"], ["-1"]),
        (["--no-steer", "--report", "r.csv"], ["r.csv is named as CSV", "call it r.json"]),
    ],
)
def test_options_that_cannot_be(options, words, clip, tmp_path):
    assert_refused(idse(clip, tmp_path / "out.mp4", *options), tmp_path, *words)


def test_offsets_that_x264_would_drop_are_refused(clip, tmp_path):
    maps = make_maps(tmp_path / "m.safetensors")
    done = idse(clip, tmp_path / "o.mp4", "--maps", maps, "--x264-params", "qp=20")
    assert_refused(done, tmp_path, "qp=20", before=["m.safetensors"])


def test_an_existing_output_is_replaced_only_when_told_so(clip, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"mine")
    assert_refused(idse(clip, out, "--no-steer"), tmp_path, "--overwrite", before=["out.mp4"])
    assert out.read_bytes() == b"mine"
    missing = idse(tmp_path / "missing", out, "--no-steer", "-y")
    assert missing.returncode == 2
    assert out.read_bytes() == b"mine"
    assert idse(clip, out, "--no-steer", "-y").returncode == 0
    assert out.stat().st_size > 1000
    segment = tmp_path / "list0.ts"
    segment.write_bytes(b"mine")
    done = idse(clip, tmp_path / "list.m3u8", "--no-steer")
    assert_refused(done, tmp_path, "list0.ts", "--overwrite", before=["list0.ts", "out.mp4"])
    assert idse(clip, tmp_path / "list.m3u8", "--no-steer", "-y").returncode == 0
    assert segment.stat().st_size > 1000


@pytest.mark.parametrize("name", ["in.mp4", "./in.mp4", "link.mp4"])
def test_the_input_is_never_replaced(name, clip, tmp_path):
    (tmp_path / "in.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "link.mp4").symlink_to("in.mp4")
    done = idse("in.mp4", name, "--no-steer", "-y", cwd=tmp_path)
    assert_refused(done, tmp_path, f"{name} is the input", before=["in.mp4", "link.mp4"])
    assert (tmp_path / "in.mp4").read_bytes() == clip.read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: IN, OUT"),
        (["a", "b", "--crf", "low"], "argument --crf: invalid float value: 'low'"),
        (["a", "b", "c", "--nosuch"], "unrecognized arguments c --nosuch: see"),
        (["-i", "a", "-crf", "20", "b"], "-i -crf b: names of options begin with two dashes"),
    ],
)
def test_mistakes_in_the_command_line_are_one_line_too(words, said, tmp_path):
    assert_refused(idse(*words), tmp_path, said, "see idse transcode --help")


def test_places_that_cannot_be_written(clip, tmp_path):
    done = idse(clip, tmp_path / "no" / "out.mp4", "--no-steer")
    assert_refused(done, tmp_path, "cannot write", "No such file")
    target = tmp_path / "folder.mp4"
    target.mkdir()
    done = idse(clip, target, "--no-steer", "-y")
    assert_refused(done, tmp_path, "folder", before=["folder.mp4"])


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "m3u8"])
def test_a_disk_that_fills_up(suffix, clip, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    folder = tmp_path / "out"
    folder.mkdir()
    noise = tmp_path / "noise.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=1,noise=alls=80:allf=t"),
        *("-c:v", "mpeg4", "-q:v", "2", noise),
    )
    done = idse(noise, folder / f"o.{suffix}", "--no-steer", "--crf", "5", preexec_fn=limit)
    assert_refused(done, folder, "cannot write", "File too large")


@pytest.mark.parametrize(
    ("suffix", "number", "code"),
    [
        ("mp4", signal.SIGINT, 130),
        ("m3u8", signal.SIGINT, 130),
        ("mp4", signal.SIGTERM, 143),
        ("mkv", signal.SIGHUP, 129),
    ],
)
def test_ctrl_c_and_its_like_leave_nothing(suffix, number, code, tmp_path):
    read, write = os.pipe()
    folder = tmp_path / "out"
    folder.mkdir()
    # A source that does not end: the writing side stays open.
    clip = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=8", "-c:v", "mpeg4", clip)
    command = ["transcode", "-", str(folder / f"o.{suffix}"), "--no-steer", "--preset", "ultrafast"]
    with subprocess.Popen(
        [sys.executable, "-m", "idse.cli", *command, "--x264-params", "rc-lookahead=0"],
        stdin=read,
        stderr=subprocess.PIPE,
        text=True,
        # What runs in the background of a script has Ctrl-C ignored, and hands that on.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:
        os.close(read)
        os.write(write, clip.read_bytes()[:60_000])
        for _ in range(200):
            if any(item.name.endswith(".part") for item in folder.iterdir()):
                break
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(number)
        try:
            _, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
            os.close(write)
    assert process.returncode == code
    assert stderr == "idse transcode: interrupted\n"
    assert list(folder.iterdir()) == []


NETWORK = """
import torch
from idse import FeatureExtractor

calls = 0

class Moody(torch.nn.Module):
    def forward(self, x):
        global calls
        calls += 1
        if calls in {bad}:
            raise RuntimeError("no mood for call %d" % calls)
        return torch.nn.functional.avg_pool2d(x, 8).flatten(1)

def make():
    return FeatureExtractor(Moody(), size=(48, 80), mean=[0.5] * 3, std=[0.5] * 3)
"""


@pytest.mark.parametrize("strict", [False, True])
def test_a_network_that_raises_on_some_frames(strict, clip, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "moody.py").write_text(NETWORK.replace("{bad}", "(2, 4)"))
    done = idse(
        *(clip, folder / "out.mp4", "--model", "moody:make", "--analyse-every", "0.2", "--json"),
        *(["--strict"] if strict else []),
        env={"PYTHONPATH": str(tmp_path)},
    )
    if strict:
        assert_refused(done, folder, "no mood for call 2", "--strict")
        return
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    # Frames 0, 5 (fails), 6, 11 (fails), 12, 17, 22.
    assert report["frames"] == 25
    assert report["frames_analysed"] == 5
    assert report["frames_unsteered"] == 2
    assert len(report["warnings"]) == 1
    assert "frame 5" in report["warnings"][0]
    assert done.stderr.count("no mood") == 1
    assert report["model"] == "moody:make"
    assert (folder / "out.mp4").exists()


def test_pipes_carry_video_in_and_out(clip, tmp_path):
    whole = tmp_path / "whole.mkv"
    ffmpeg("-i", clip, "-c", "copy", whole)
    for name in ("ts", "mkv", "mp4"):
        out = tmp_path / f"piped.{name}"
        with whole.open("rb") as source, out.open("wb") as target:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "idse.cli", "transcode", "-", "-", "--format", name),
                    *("--no-steer", "--report", str(tmp_path / "r.json")),
                ],
                stdin=source,
                stdout=target,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert (done.returncode, done.stderr) == (0, b"")
        report = json.loads((tmp_path / "r.json").read_text())
        assert report["bytes"] == out.stat().st_size
        shown = subprocess.run(
            [
                *("ffprobe", "-v", "error", "-count_frames", "-of", "csv=p=0"),
                *("-show_entries", "stream=nb_read_frames", str(out)),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.split()[0].strip(",") == "25"
    refused = idse(whole, "-", "--no-steer")
    assert refused.returncode == 2
    assert "--format" in refused.stderr
    os.mkfifo(tmp_path / "pipe")
    for once in ("-", "udp://127.0.0.1:9", tmp_path / "pipe"):
        refused = idse(once, tmp_path / "x.mp4", "--no-steer", "--two-pass", "--bitrate", "1M")
        assert refused.returncode == 2
        assert f"twice, which '{once}' cannot do" in refused.stderr


def test_report_has_every_field_and_tune_machine_prints_what_it_sets(clip, tmp_path):
    done = idse(clip, tmp_path / "o.mp4", "--no-steer", "--tune", "machine", "--report", "-")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert set(report) == {
        *("frames", "frames_analysed", "frames_unsteered", "bytes", "seconds"),
        *("analysis_seconds", "encode_seconds", "peak_rss_bytes", "x264_build", "model"),
        *("warnings", "frames_measured", "segments", "scaled_to", "scaled_because"),
        *("parameters_set", "frames_simplified", "segments_simplified"),
    }
    assert report["frames"] == report["frames_unsteered"] == 25
    assert report["bytes"] == (tmp_path / "o.mp4").stat().st_size
    assert report["model"] is report["parameters_set"] is None
    line = done.stderr.strip()
    assert line == "idse transcode: --tune machine sets deblock=-2:-2"
    assert b"deblock=1:-2:-2" in (tmp_path / "o.mp4").read_bytes()


def test_help_teaches_by_example():
    done = idse("--help")
    assert done.returncode == 0
    assert done.stdout.count("idse transcode ") > 8


def test_names_of_results_are_checked_before_any_work(clip, tmp_path):
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    source.write_bytes(clip.read_bytes())
    for report, words in {
        source: ["in.mp4 is the input"],
        out: ["out.mp4 is the input or another result"],
        tmp_path / "no" / "r.json": ["cannot write", "no folder"],
        tmp_path: ["cannot write", "folder"],
    }.items():
        done = idse(source, out, "--no-steer", "--report", report)
        assert_refused(done, tmp_path, *words, before=["in.mp4"])
    assert source.read_bytes() == clip.read_bytes()
