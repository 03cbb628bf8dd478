"""Offsets from a file, through the system's ffmpeg and PyAV's own libx264, read back."""

import os
import subprocess
import sys

import numpy as np
import pytest
from preload_runs import (
    COLUMNS,
    LIBRARY,
    PICTURES,
    ROWS,
    ffmpeg,
    misses,
    preloaded,
    run,
    wanted,
    write_offsets,
    x264_params,
)

from x264_recipes import VERBATIM

pytestmark = pytest.mark.fast

PYAV = """
import sys
import av, numpy as np
path, params = sys.argv[1:3]
noise = np.random.default_rng(1).integers(0, 256, (192 + 40, 256 + 40), dtype=np.uint8)
with av.open(path, "w", format="h264") as container:
    stream = container.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = 256, 192, "yuv420p"
    stream.options = {"x264-params": params}
    for index in range(24):
        luma = noise[index : index + 192, index : index + 256]
        planes = np.concatenate([luma, np.full((96, 256), 128, np.uint8)])
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = index
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
"""


def pyav(output, **settings):
    command = [sys.executable, "-c", PYAV, output, x264_params(VERBATIM)]
    return run(command, output, **settings)


@pytest.mark.parametrize(("encode", "build"), [(ffmpeg, 164), (pyav, 165)])
def test_offsets_are_exact_and_none_leave_the_stream_alone(encode, build, tmp_path):
    asked = wanted()
    offsets = write_offsets(tmp_path / "offsets", asked)
    nothing = write_offsets(tmp_path / "zeros", [np.zeros((ROWS, COLUMNS))] * PICTURES)
    stock = encode(tmp_path / "stock.h264", stock=True)
    assert encode(tmp_path / "inert.h264").data == stock.data
    same = encode(tmp_path / "same.h264", IDSE_OFFSETS=nothing)
    assert same.data == stock.data
    assert same.report["unsteered"] == PICTURES
    steered = encode(tmp_path / "steered.h264", IDSE_OFFSETS=offsets)
    if steered.report["build"] != build:
        pytest.skip(f"the library here is build {steered.report['build']}")
    wrong, coded = misses(tmp_path / "steered.h264", asked)
    assert wrong == 0
    assert coded > 500
    report = steered.report
    assert (report["frames"], report["steered"]) == (PICTURES, PICTURES)
    assert steered.stderr == ""


def test_what_the_application_asks_for_is_added(tmp_path):
    asked = [np.full((ROWS, COLUMNS), 4, np.float32)] * PICTURES
    offsets = write_offsets(tmp_path / "offsets", asked)
    # 6/51 of the QP range in the left half.
    region = "addroi=0:0:iw/2:ih:-6/51"
    output = tmp_path / "sum.h264"
    ffmpeg(output, after=["-vf", region], IDSE_OFFSETS=offsets)
    expected = asked[0].copy()
    expected[:, : COLUMNS // 2] -= 6
    wrong, coded = misses(output, [expected] * PICTURES)
    assert wrong == 0
    assert coded > 500
    alone = ffmpeg(tmp_path / "roi.h264", after=["-vf", region], stock=True)
    nothing = write_offsets(tmp_path / "zeros", [np.zeros((ROWS, COLUMNS))] * PICTURES)
    same = ffmpeg(tmp_path / "same.h264", after=["-vf", region], IDSE_OFFSETS=nothing)
    assert same.data == alone.data


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"qp": "30"}, "x264 ignores QP offsets with these options"),
        ({"crf": "30", "aq-mode": "0", "mbtree": "0"}, "x264 ignores QP offsets"),
        ({"crf": "30"}, "IDSE_OFFSETS is for pictures of another size"),
    ],
)
def test_offsets_that_cannot_count_are_told_of_and_change_nothing(options, reason, tmp_path):
    shape = (ROWS, COLUMNS) if "ignores" in reason else (ROWS, COLUMNS + 1)
    offsets = write_offsets(tmp_path / "offsets", [np.full(shape, 3, np.float32)] * PICTURES)
    stock = ffmpeg(tmp_path / "stock.h264", params=options, stock=True)
    told = ffmpeg(tmp_path / "told.h264", params=options, IDSE_OFFSETS=offsets)
    assert told.data == stock.data
    assert told.stderr.count("\n") == 1
    assert reason in told.stderr
    assert reason in told.report["problem"]
    strict = ffmpeg(
        tmp_path / "strict.h264",
        params=options,
        IDSE_OFFSETS=offsets,
        IDSE_STRICT=1,
        check=False,
    )
    assert strict.code != 0
    assert reason in strict.stderr


def test_a_file_that_ends_early_or_is_none_costs_no_picture(tmp_path):
    asked = wanted(10)
    offsets = write_offsets(tmp_path / "offsets", asked)
    output = tmp_path / "short.h264"
    short = ffmpeg(output, IDSE_OFFSETS=offsets)
    assert (short.report["steered"], short.report["unsteered"]) == (10, PICTURES - 10)
    zeros = [np.zeros((ROWS, COLUMNS), np.float32)] * (PICTURES - 10)
    assert misses(output, asked + zeros)[0] == 0
    (tmp_path / "broken").write_bytes(b"IDSEQPO1 what?")
    broken = ffmpeg(tmp_path / "broken.h264", IDSE_OFFSETS=tmp_path / "broken")
    assert "IDSE_OFFSETS is no file of QP offsets" in broken.stderr
    assert broken.data == ffmpeg(tmp_path / "stock.h264", stock=True).data


def test_a_process_that_opens_no_encoder_notices_nothing(tmp_path):
    environment = preloaded(IDSE_SOCKET=tmp_path / "s", IDSE_REPORT=tmp_path / "report")
    code = "import threading; print(threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert not (tmp_path / "report").exists()
    without = {name: value for name, value in environment.items() if name != "LD_PRELOAD"}
    files = [
        subprocess.run(["ls", "/proc/self/fd"], env=env, check=True, stdout=subprocess.PIPE).stdout
        for env in (environment, without)
    ]
    assert files[0] == files[1]


def test_only_functions_of_x264_are_exported():
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", LIBRARY], check=True, capture_output=True, text=True
    ).stdout
    names = {line.split()[-1] for line in listed.splitlines()}
    opening = {name for name in names if name.startswith("x264_encoder_open_")}
    assert {"x264_encoder_open_164", "x264_encoder_open_165"} <= opening
    assert names - opening == {
        "x264_encoder_encode",
        "x264_encoder_close",
        "x264_encoder_delayed_frames",
        "x264_encoder_maximum_delayed_frames",
    }
    needed = subprocess.run(["ldd", LIBRARY], check=True, capture_output=True, text=True).stdout
    assert not {"x264", "python"} & set(needed.replace(".", " ").replace("/", " ").split())


def test_several_libraries_of_x264_in_one_process(tmp_path):
    """PyAV's is found by who calls, although another one is global."""
    code = "import ctypes; ctypes.CDLL('libx264.so.164', ctypes.RTLD_GLOBAL)\n" + PYAV
    environment = dict(os.environ)
    probe = subprocess.run(
        [sys.executable, "-c", code.splitlines()[0]], env=environment, check=False
    )
    if probe.returncode:
        pytest.skip("there is no libx264.so.164 on this system")
    asked = wanted()
    offsets = write_offsets(tmp_path / "offsets", asked)
    output = tmp_path / "both.h264"
    both = run(
        [sys.executable, "-c", code, output, x264_params(VERBATIM)], output, IDSE_OFFSETS=offsets
    )
    assert both.report["build"] >= 165
    assert misses(output, asked)[0] == 0
