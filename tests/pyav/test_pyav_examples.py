"""A program before and after it was told of networks."""

import difflib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import av
import pytest
from pyav_clips import misses, peer, wanted

import idse_pyav

EXAMPLES = Path(__file__).resolve().parents[2] / "pyav_hooks" / "examples"
PICTURES, ROWS, COLUMNS = 20, 12, 16


@pytest.fixture
def street(tmp_path):
    path = tmp_path / "street.mp4"
    source = f"testsrc2=s=256x192:r=10:d={PICTURES / 10:g}"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "mpeg4", path]
    subprocess.run(command, check=True)
    return path


@pytest.mark.fast
def test_the_program_itself_is_not_changed():
    texts = [(EXAMPLES / f"{name}.py").read_text().splitlines() for name in ("before", "after")]
    assert len([line for line in texts[0][1:] if line]) <= 12
    compared = difflib.ndiff(texts[0][1:], texts[1][1:])
    changed = [line for line in compared if line[0] in "+-?" and line[1:].strip()]
    lines = ["import idse_pyav", 'idse_pyav.install(model="yolov4-tiny")']
    assert sorted(changed) == sorted(f"+ {line}" for line in lines)


@pytest.mark.fast
def test_before_is_steered_as_it_stands(street, reported, monkeypatch, tmp_path):
    output = tmp_path / "small.mp4"
    monkeypatch.setattr(sys, "argv", ["before.py", str(street), str(output)])
    with peer(tmp_path, "--lookahead", 6) as (path, _), idse_pyav.install(server=path):
        runpy.run_path(str(EXAMPLES / "before.py"))
    (report,) = reported()
    assert report["steered"] == PICTURES
    with av.open(str(output)) as container:
        assert len(list(container.decode(video=0))) == PICTURES
    assert misses(output, wanted(PICTURES, ROWS, COLUMNS))[1] > 0


@pytest.mark.full
def test_after_steers_by_a_network(street, yolo, tmp_path):
    sizes = {}
    for name in ("before", "after"):
        output = tmp_path / f"{name}.mp4"
        code = f"import runpy, json; runpy.run_path({str(EXAMPLES / f'{name}.py')!r})"
        if name == "after":
            code += "; import idse_pyav; print(json.dumps(idse_pyav.report().encoders))"
        done = subprocess.run(
            [sys.executable, "-c", code, street, output],
            env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_RUNTIME_DIR": str(tmp_path)},
            check=True,
            capture_output=True,
            text=True,
        )
        sizes[name] = output.stat().st_size
    (report,) = json.loads(done.stdout)
    assert (report["frames"], report["steered"], report["lost"]) == (PICTURES, PICTURES, 0)
    assert done.stderr == ""
    assert sizes["before"] != sizes["after"]
