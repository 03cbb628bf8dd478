"""The shared clips through every player, and memory that does not grow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from media_clips import assert_decodes, ffmpeg, frame_hashes, streams, times, video

pytestmark = pytest.mark.full
CLIPS = ("vtest.avi", "intel-car-detection.mp4", "intel-one-by-one-person-detection.mp4")


def idse(*args):
    done = subprocess.run(
        [sys.executable, "-m", "idse.cli", "transcode", *map(str, args), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=CLIPS)
def transcoded(request, shared, tmp_path_factory):
    source = shared / "video" / request.param
    out = tmp_path_factory.mktemp("real") / "out.mp4"
    report = idse(source, out, "--preset", "veryfast", "--analyse-every", "20")
    return source, out, report


def test_frames_duration_and_timestamps_are_the_sources(transcoded):
    source, out, report = transcoded
    assert times(out) == times(source)
    assert report["frames"] == len(times(source))
    assert report["frames_analysed"] >= 2
    assert report["frames_unsteered"] == 0
    assert float(video(out)["duration"]) == pytest.approx(
        float(video(source)["duration"]), abs=1e-6
    )
    for index, stream in enumerate(streams(source)):
        if stream["codec_type"] == "audio":
            assert frame_hashes(out, str(index)) == frame_hashes(source, str(index))
    assert report["peak_rss_bytes"] < 1 << 30


def player(name, path):
    """The command that plays a file to its end without a window."""
    quiet = "--no-config --vo=null --ao=null --untimed --really-quiet --msg-level=all=warn"
    decode = f"-q filesrc location={path} ! qtdemux ! h264parse ! avdec_h264 ! fakesink"
    play = "-q --intf dummy --vout dummy --aout dummy --play-and-exit --no-video-title-show"
    commands = {
        "mpv": ["mpv", *quiet.split(), str(path)],
        "gst-launch-1.0": ["gst-launch-1.0", *decode.split()],
        "cvlc": ["cvlc", *play.split(), "--rate", "30", str(path)],
    }
    if name == "cvlc" and os.geteuid() == 0:  # VLC refuses to run as root
        return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *commands[name]]
    return commands[name]


def test_ffmpeg_decodes_without_a_message(transcoded):
    assert_decodes(transcoded[1])


@pytest.mark.parametrize("name", ["mpv", "gst-launch-1.0", "cvlc"])
def test_players_play_without_a_message(name, transcoded, tmp_path):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    out = transcoded[1]
    for folder in (out.parent, *out.parent.parents):
        if folder.name.startswith("pytest"):
            folder.chmod(0o755)
    done = subprocess.run(
        player(name, out),
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
        env=os.environ | {"HOME": "/tmp", "XDG_RUNTIME_DIR": "/tmp"},
    )
    noise = (
        "dummy",
        "dbus",
        "D-Bus",
        "interface",
        "XDG_RUNTIME_DIR",
        "VLC media player",
        "plugins",
    )
    lines = (done.stdout + done.stderr).splitlines()
    messages = [line for line in lines if line.strip() and not any(word in line for word in noise)]
    assert (done.returncode, messages) == (0, [])


def test_memory_does_not_grow_with_length(shared, tmp_path):
    source = shared / "video" / "vtest.avi"
    long = tmp_path / "long.avi"
    ffmpeg("-stream_loop", "9", "-i", source, "-c", "copy", long)
    options = ("--preset", "ultrafast", "--x264-params", "aq-mode=1", "--analyse-every", "30")
    peaks = [
        idse(path, tmp_path / "out.mp4", "-y", *options)["peak_rss_bytes"]
        for path in (source, long)
    ]
    assert peaks[1] - peaks[0] < 50 << 20
    assert peaks[1] < 1 << 30


def test_neutral_steering_of_a_real_clip_is_stock(shared, tmp_path):
    source = shared / "video" / "vtest.avi"
    files = [tmp_path / "stock.mp4", tmp_path / "neutral.mp4"]
    idse(source, files[0], "--no-steer", "--preset", "veryfast")
    options = ("--preset", "veryfast", "--analyse-every", "40", "--strength", "0")
    assert idse(source, files[1], *options)["frames_analysed"] == 2
    assert files[0].read_bytes() == files[1].read_bytes()
