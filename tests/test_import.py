"""The core works without its extras."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.fast


def test_the_command_line_starts_without_heavy_imports():
    code = "import sys, idse.cli; idse.cli.build_parser(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    assert not {"av", "onnx", "PIL", "scipy", "torch"} & {*done.stdout.split()}


def test_names_that_are_imported_late_are_listed():
    code = "import sys, idse; print(*dir(idse)); assert 'numpy' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    assert {"encode_jpeg", "JpegEncoder", "load_model", "__version__"} <= {*done.stdout.split()}


def test_native_libraries_load_and_refuse_another_abi():
    from idse import kernels, native
    from idse.errors import LibraryLoadError

    native.load("idse_kernels", kernels.ABI)
    with pytest.raises(LibraryLoadError, match=r"ABI \d+, this package expects 99"):
        native.load("idse_kernels", 99)


def test_defaults_shown_are_the_defaults_used():
    from idse.allocation import OffsetPolicy
    from idse.cli import build_parser
    from idse.importance.bounds import DEFAULT_ROWS
    from idse.pipeline.makers import default_interval
    from idse.pipeline.schedule import ANALYSE_EVERY

    parser = build_parser()
    maps = parser.parse_args(["map", "in.mp4", "out.safetensors"])
    assert (maps.n_s, maps.analyse_every) == (DEFAULT_ROWS, None)
    assert default_interval(["student"]) == 0
    assert default_interval(["yolov4-tiny", "mobilenet_v2=2"]) == ANALYSE_EVERY
    commands = parser._subparsers._group_actions[0].choices
    shown = " ".join(commands["transcode"].format_help().split())
    policy = OffsetPolicy()
    assert f"rows of a network's sketch ({DEFAULT_ROWS})" in shown
    assert f"0: every frame (what a student does; {ANALYSE_EVERY:g} by networks)" in shown
    assert f"how hard to steer ({policy.strength:g})" in shown
    assert f"weight of squared error beside importance ({policy.alpha:g})" in shown
    assert f"largest offset ({policy.max_offset:g})" in shown
