"""GStreamer's x264enc: a plugin that is loaded with RTLD_LOCAL, and drains in its own way."""

import itertools
import shutil
import subprocess

import pytest
from preload_runs import (
    COLUMNS,
    PICTURES,
    ROWS,
    misses,
    peer,
    run,
    wanted,
    write_offsets,
    x264_params,
)

from idse.codecs.h264 import read_macroblocks
from x264_recipes import VERBATIM

pytestmark = pytest.mark.full

# x264enc bounds the rate of constant quality, too, unless it is told not to.
QUALITY = ["pass=qual", f"quantizer={VERBATIM['crf']}", "vbv-buf-capacity=0"]


@pytest.fixture(scope="module", autouse=True)
def installed():
    tool = shutil.which("gst-inspect-1.0")
    if (
        tool is None
        or subprocess.run([tool, "x264enc"], check=False, capture_output=True).returncode
    ):
        pytest.skip("GStreamer's x264enc is not installed (gstreamer1.0-plugins-ugly)")


def gstreamer(output, *, options, fmt="I420", **settings):
    recipe = {name: value for name, value in options.items() if name != "crf"}
    caps = f"video/x-raw,format={fmt},width=256,height=192,framerate=10/1"
    command = ["gst-launch-1.0", "-q", "videotestsrc", f"num-buffers={PICTURES}", "pattern=snow"]
    command += ["!", caps, "!", "x264enc", *QUALITY]
    command += [f"option-string={x264_params(recipe)}"] if recipe else []
    command += [
        "!",
        "video/x-h264,stream-format=byte-stream",
        "!",
        "filesink",
        f"location={output}",
    ]
    return run(command, output, **settings)


def test_offsets_from_a_file(tmp_path):
    asked = wanted()
    offsets = write_offsets(tmp_path / "offsets", asked)
    output = tmp_path / "out.h264"
    done = gstreamer(output, options=VERBATIM, IDSE_OFFSETS=offsets)
    wrong, coded = misses(output, asked)
    assert wrong == 0
    assert coded > ROWS * COLUMNS * PICTURES // 2
    assert done.report["steered"] == PICTURES


@pytest.mark.parametrize("fmt", ["I420", "YV12", "NV12", "Y42B", "Y444"])
def test_a_sidecar_steers_and_leaves_alone(fmt, tmp_path):
    output = tmp_path / "out.h264"
    with peer(tmp_path, "--lookahead", 9) as (socket, _):
        done = gstreamer(output, options=VERBATIM, fmt=fmt, IDSE_SOCKET=socket)
    assert misses(output, wanted())[0] == 0
    assert (done.report["steered"], done.report["lost"]) == (PICTURES, 0)
    stock = gstreamer(tmp_path / "stock.h264", options={}, fmt=fmt, stock=True)
    with peer(tmp_path, "--lookahead", 9, "--neutral") as (socket, _):
        held = gstreamer(tmp_path / "held.h264", options={}, fmt=fmt, IDSE_SOCKET=socket)
    assert held.data == stock.data


def test_times_are_those_of_the_pictures(tmp_path):
    """With a constant rate x264enc hands in nanoseconds, whatever the time base says."""
    seen = tmp_path / "seen"
    with peer(tmp_path, "--lookahead", 2, "--seen", seen) as (socket, _):
        gstreamer(tmp_path / "out.h264", options={}, IDSE_SOCKET=socket)
    lines = [line.split() for line in seen.read_text().splitlines()]
    times = []
    for line in lines:
        num, den = line[9].split("/")
        times.append(int(line[1]) * int(num) / int(den))
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert steps == pytest.approx([0.1] * (PICTURES - 1))


def test_without_a_sidecar_the_pipeline_goes_on(tmp_path):
    output = tmp_path / "out.h264"
    done = gstreamer(output, options={}, IDSE_SOCKET=tmp_path / "nobody")
    assert len(list(read_macroblocks(output))) == PICTURES
    assert "no sidecar" in done.stderr
