"""``idse ffmpeg`` and ``idse shell``: a program keeps its arguments, signals and exit code."""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from idse.cli import _steered, build_parser, main
from idse.dropin.launch import environment, library, read_outcome
from idse.errors import InputError, LibraryLoadError

IDSE = [sys.executable, "-m", "idse.cli"]
CLIP = ["-f", "lavfi", "-i", "testsrc2=s=256x192:r=10:d=2"]
FFMPEG = ["-v", "error", "-y", *CLIP, "-c:v", "libx264"]


@pytest.fixture
def offsets(tmp_path):
    """Offsets of 4 for twenty pictures."""
    path = tmp_path / "offsets"
    head = b"IDSEQPO1" + np.array([16, 12, 20, 0], "<u4").tobytes()
    path.write_bytes(head + np.full(20 * 16 * 12, 4, "<f4").tobytes())
    return path


def idse(*words, **settings):
    return subprocess.run(
        [*IDSE, *map(str, words)], check=False, capture_output=True, text=True, **settings
    )


@pytest.mark.fast
@pytest.mark.parametrize(
    ("line", "separated"),
    [
        ("ffmpeg -i a b", "ffmpeg -- -i a b"),
        ("-v ffmpeg --live -i a", "-v ffmpeg --live -- -i a"),
        ("ffmpeg --strength 0.5 --alpha=2 -i a", "ffmpeg --strength 0.5 --alpha=2 -- -i a"),
        ("ffmpeg --model m --live -- -i a", "ffmpeg --model m --live -- -i a"),
        ("ffmpeg --weighted -y --live", "ffmpeg --weighted -- -y --live"),
        ("ffmpeg -h", "ffmpeg -h"),
        ("ffmpeg --help", "ffmpeg --help --"),
        ("shell gst --x", "shell -- gst --x"),
        ("shell", "shell --"),
        ("transcode ffmpeg --live x", "transcode ffmpeg --live x"),
        ("--version", "--version"),
    ],
)
def test_own_options_end_where_the_program_begins(line, separated):
    assert _steered.separate(shlex.split(line)) == shlex.split(separated)


@pytest.mark.fast
def test_flags_are_known_and_arguments_are_untouched():
    commands = build_parser()._subparsers._group_actions[0].choices
    for name in _steered.COMMANDS:
        flags = {
            option
            for action in commands[name]._actions
            if action.nargs == 0
            for option in action.option_strings
            if option.startswith("--")
        }
        assert flags == _steered.FLAGS
    words = ["ffmpeg", "--live", "-i", "--", "-map", "0", "-y", "--", "x"]
    args = build_parser().parse_args(_steered.separate(words))
    assert args.arguments == words[2:]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--strength", "9", "-i", "a"], "strength 9.0 must be"),
        (["--maps", "nowhere", "-i", "a"], "no such file"),
        (["--offsets", "nowhere", "-i", "a"], "no such file"),
        (["--model", "yolov4-tiny=x", "-i", "a"], "is not a number"),
        (["--model", "student@nobody", "-i", "a"], "the student has no head 'nobody'"),
        (["--n-s", "0", "-i", "a"], "n_s 0 must be at least 1"),
        (["--n-s", "65", "-i", "a"], "n_s 65 is above 64"),
        (["--seed", "-1", "-i", "a"], "seed -1 must not be negative"),
        (["--analyse-every", "-1", "-i", "a"], "analyse_every -1.0 must be"),
        (["--consumer-fps", "0", "-i", "a"], "consumer_fps 0.0 must be"),
        (["--report", "/nowhere/r", "-i", "a"], "cannot write"),
        (["--report", "r.mp4", "-i", "a"], "r.mp4 is named as mp4, and this is JSON"),
    ],
)
def test_mistakes_are_told_before_anything_runs(words, reason, capsys):
    assert main(["ffmpeg", *words]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


@pytest.mark.fast
def test_an_encode_with_offsets_and_its_report(offsets, tmp_path):
    plain, steered = tmp_path / "plain.mp4", tmp_path / "steered.mp4"
    subprocess.run(["ffmpeg", *FFMPEG, plain], check=True)
    done = idse("ffmpeg", "--offsets", offsets, "--report", tmp_path / "r", *FFMPEG, steered)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "idse ffmpeg: 20 of 20 pictures steered\n"
    assert steered.stat().st_size < 0.9 * plain.stat().st_size
    report = json.loads((tmp_path / "r").read_text())
    assert report["exit_code"] == 0
    assert report["command"][-1] == str(steered)
    (encoder,) = report["encoders"]
    assert (encoder["mode"], encoder["steered"], encoder["program"]) == ("file", 20, "ffmpeg")


@pytest.mark.fast
def test_the_exit_code_is_the_programs(offsets, tmp_path):
    done = idse("ffmpeg", "--offsets", offsets, "-v", "error", "-i", tmp_path / "nothing", "x.mp4")
    assert done.returncode == 1
    assert "No such file" in done.stderr
    assert "nothing was steered" in done.stderr
    shell = ["shell", "--offsets", offsets, "sh", "-c"]
    assert idse(*shell, "exit 41").returncode == 41
    assert idse(*shell, "kill -9 $$").returncode == 137
    missing = idse("shell", "--offsets", offsets, "no-such-program")
    assert missing.returncode == 2
    assert "there is no program 'no-such-program'" in missing.stderr


@pytest.mark.fast
def test_strict_wants_every_encoder_steered(offsets, tmp_path):
    words = ["ffmpeg", "--offsets", offsets, "--strict"]
    assert idse(*words, *FFMPEG, tmp_path / "a.mp4").returncode == 0
    assert idse(*words, *FFMPEG, "-qp", "30", tmp_path / "b.mp4").returncode != 0
    other = ["-v", "error", "-y", *CLIP, "-c:v", "mpeg4", tmp_path / "c.mp4"]
    assert idse("ffmpeg", "--offsets", offsets, *other).returncode == 0
    assert idse(*words, *other).returncode == 2


@pytest.mark.fast
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_program_which_ends_in_its_own_way(number, offsets, tmp_path):
    target, progress = tmp_path / "live.mp4", tmp_path / "progress"
    words = ["ffmpeg", "--offsets", offsets, "-v", "error", "-re", "-y", "-progress", progress]
    words += ["-stats_period", "0.1", "-f", "lavfi", "-i", "testsrc2=s=256x192:r=10"]
    words += ["-c:v", "libx264", "-tune", "zerolatency", target]
    process = subprocess.Popen(
        [*IDSE, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background may have it ignored, and so idse would ignore it.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    while not progress.exists() or "frame=4\n" not in progress.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 255  # ffmpeg's, for a signal
    assert "pictures steered" in said
    command = ["ffprobe", "-v", "error", "-count_packets", "-show_entries"]
    command += ["stream=nb_read_packets", "-of", "csv=p=0", target]
    packets = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert packets > 3


@pytest.mark.fast
def test_the_environment_keeps_what_is_not_ours(tmp_path):
    base = {"HOME": "/h", "LD_PRELOAD": "/x.so /y.so", "IDSE_OFFSETS": "/old", "IDSE_TIMEOUT": "3"}
    made = environment(base, socket=tmp_path / "s", options="--strength 1", live=True)
    assert made["LD_PRELOAD"] == f"{library()}:/x.so:/y.so"
    assert "IDSE_OFFSETS" not in made
    assert (made["IDSE_MODE"], made["IDSE_TIMEOUT"], made["HOME"]) == ("live", "3", "/h")
    again = environment(made, socket=tmp_path / "s")
    assert again["LD_PRELOAD"] == made["LD_PRELOAD"]
    with pytest.raises(LibraryLoadError, match="blank"):
        environment(base, before=[Path("/my libraries/x264.so")])


@pytest.mark.fast
def test_a_report_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    assert read_outcome(tmp_path / "none").encoders == ()
    line = {"mode": "wait", "frames": 5, "steered": 3, "lost": 2, "problem": "no sidecar"}
    (tmp_path / "r").write_text(json.dumps(line) + '\n{"mode": "wa')
    outcome = read_outcome(tmp_path / "r")
    assert (outcome.frames, outcome.steered, outcome.whole) == (5, 3, False)
    assert outcome.summary() == ("3 of 5 pictures steered, 2 without an answer; no sidecar")


@pytest.mark.fast
def test_every_option_of_a_wish_is_handed_on():
    from idse.dropin.sidecar import wish
    from idse.pipeline.arguments import add_offsets

    parser = argparse.ArgumentParser()
    add_offsets(parser)
    line = "--model a=2 --model b --strength 0.5 --protect 0,0,16,16 --protect 1,1,2,2 --weighted"
    wanted = wish(parser.parse_args(shlex.split(line)))
    assert wanted.models == ("a=2", "b")
    assert shlex.split(wanted.options) == [
        *["--model=a=2", "--model=b", "--strength=0.5"],
        *["--protect=0,0,16,16", "--protect=1,1,2,2", "--weighted"],
    ]
    with pytest.raises(InputError, match="strength"):
        wish(parser.parse_args(["--strength", "3"]))
    assert wish(parser.parse_args([])).options == ""


def steered(words, *, folder, environment=None):
    """Encode by a tiny network that the tests bring."""
    networks = Path(__file__).parents[1] / "server"
    variables = os.environ | {"PYTHONPATH": str(networks)} | (environment or {})
    done = idse(*words, env=variables, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A clip whose decoder tells nothing of motion, which an encoder cannot know either."""
    path = tmp_path_factory.mktemp("street") / "street.mkv"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=256x192:r=10:d=6"]
    subprocess.run([*command, "-c:v", "ffv1", path], check=True)
    return path


def stream(path):
    """The video of a file, without its container."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-c", "copy", "-bsf:v", "h264_mp4toannexb"]
    return subprocess.run([*command, "-f", "h264", "-"], check=True, stdout=subprocess.PIPE).stdout


def same_as_a_transcode(street, folder, library, *weighted):
    """Encode both ways, and compare byte by byte."""
    network = ["--model", "tiny_networks:sees_left", "--strength", "0.8", "--n-s", "3", *weighted]
    encode = ["-c:v", "libx264", "-preset", "slow", "-crf", "30", "-x264-params", "aq-mode=1"]
    words = ["transcode", street, "a.mkv", *network, "--crf", "30", "--preset", "slow"]
    words += ["--matrices", "flat", "--x264-params", "aq-mode=1"]
    variables = {"IDSE_X264_LIBRARY": str(library)}
    steered(words, folder=folder, environment=variables)
    words = ["ffmpeg", *network, "-v", "error", "-i", street, *encode, "b.mkv"]
    steered(words, folder=folder, environment=variables)
    assert stream(folder / "a.mkv") == stream(folder / "b.mkv")


@pytest.mark.full
def test_the_stream_is_that_of_a_transcode(street, tmp_path):
    library = next(Path("/usr/lib").glob("*-linux-gnu/libx264.so.164"), None)
    if library is None:
        pytest.skip("the system's ffmpeg is not linked with libx264 build 164")
    same_as_a_transcode(street, tmp_path, library)


@pytest.mark.full
def test_weights_are_those_of_a_transcode(street, weighted_library, tmp_path):
    same_as_a_transcode(street, tmp_path, weighted_library, "--weighted")


# Two sizes from one process, with a key frame each second.
LADDER = ["-filter_complex", "[0:v]split=2[high][wide];[wide]scale=128:96[low]"]
LADDER += ["-map", "[high]", "-map", "[low]", "-c:v", "libx264"]
LADDER += ["-g", "10", "-keyint_min", "10", "-sc_threshold", "0"]


def pictures_of(path, stream="v:0"):
    """The width and the number of pictures of a stream, decoded."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", stream]
    command += ["-show_entries", "stream=width,nb_read_frames", "-of", "csv=p=0", path]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return found.split()[0]


@pytest.mark.full
def test_an_hls_ladder(street, tmp_path):
    """Segments that begin together, every picture there."""
    words = ["ffmpeg", "--model", "tiny_networks:sees_left", "-v", "error", "-i", street, *LADDER]
    words += ["-hls_time", "1", "-hls_list_size", "0", "-var_stream_map", "v:0 v:1"]
    words += ["-master_pl_name", "master.m3u8", "-f", "hls", "ladder_%v.m3u8"]
    done = steered(words, folder=tmp_path)
    assert "120 of 120 pictures steered in 2 encoders" in done.stderr
    segments = [len(list(tmp_path.glob(f"ladder_{rung}*.ts"))) for rung in (0, 1)]
    assert segments == [6, 6]
    assert pictures_of(tmp_path / "ladder_0.m3u8") == "256,60"
    assert pictures_of(tmp_path / "ladder_1.m3u8") == "128,60"


@pytest.mark.full
def test_a_dash_ladder(street, tmp_path):
    """Both representations in one manifest, in segments that begin together."""
    words = ["ffmpeg", "--model", "tiny_networks:sees_left", "-v", "error", "-i", street, *LADDER]
    words += [
        "-adaptation_sets",
        "id=0,streams=v",
        "-seg_duration",
        "1",
        "-f",
        "dash",
        "ladder.mpd",
    ]
    done = steered(words, folder=tmp_path)
    assert "120 of 120 pictures steered in 2 encoders" in done.stderr
    segments = [len(list(tmp_path.glob(f"chunk-stream{rung}-*.m4s"))) for rung in (0, 1)]
    assert segments == [6, 6]
    manifest = ET.parse(tmp_path / "ladder.mpd")
    space = {"d": "urn:mpeg:dash:schema:mpd:2011"}
    rungs = manifest.findall(".//d:Representation", space)
    assert [rung.get("width") for rung in rungs] == ["256", "128"]
    assert all(rung.get("codecs", "").startswith("avc1.") for rung in rungs)
    # What a player does: the initialisation and its segments, one after the other.
    for number, width in ((0, 256), (1, 128)):
        parts = sorted(tmp_path.glob(f"chunk-stream{number}-*.m4s"))
        whole = tmp_path / f"rung{number}.mp4"
        begin = tmp_path / f"init-stream{number}.m4s"
        whole.write_bytes(b"".join(part.read_bytes() for part in (begin, *parts)))
        assert pictures_of(whole) == f"{width},60"


@pytest.mark.full
def test_two_users_of_one_sidecar(tmp_path):
    """What `idse serve` has loaded is used; what it has not is loaded for the run."""
    networks = Path(__file__).parents[1] / "server"
    variables = os.environ | {"PYTHONPATH": str(networks), "IDSE_SOCKET": str(tmp_path / "s")}
    server = subprocess.Popen(
        [*IDSE, "serve", "--model", "tiny_networks:sees_left", "--json"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ready = json.loads(server.stdout.readline())
        for model in ("tiny_networks:sees_left", "tiny_networks:slow"):
            words = ["ffmpeg", "--model", model, *FFMPEG, "out.mp4"]
            done = steered(words, folder=tmp_path, environment={"IDSE_SOCKET": ready["encoders"]})
            assert "20 of 20 pictures steered" in done.stderr
    finally:
        server.terminate()
        log = server.communicate()[1]
    assert log.count("pictures steered") == 1
