"""``idse doctor``: what works is said to work, what is broken is found."""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.full

DOCTOR = [sys.executable, "-m", "idse.cli", "doctor"]


def doctor(*words, **variables):
    return subprocess.run(
        [*DOCTOR, *words],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {name: str(value) for name, value in variables.items()},
    )


def test_what_is_here_works(tmp_path):
    done = doctor("--json", IDSE_SOCKET=tmp_path / "nobody")
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["ffmpeg"]["works"] is True
    assert "QPs as asked for" in checks["ffmpeg"]["detail"]
    assert checks["PyAV"]["works"] is True
    assert checks["sidecar's answers"]["works"] is True
    assert checks["idse serve"]["works"] is None
    assert checks["student"]["works"] is True
    assert checks["student"]["detail"].startswith("video by all, stills by all; runs by ")


def test_a_program_that_is_not_reached_is_broken(tmp_path):
    script = tmp_path / "ffmpeg"
    script.write_text(f'#!/bin/sh\nexec env -u LD_PRELOAD {shutil.which("ffmpeg")} "$@"\n')
    script.chmod(0o755)
    done = doctor(PATH=f"{tmp_path}:{os.environ['PATH']}", IDSE_SOCKET=tmp_path / "nobody")
    assert done.returncode == 2
    assert "BROKEN  ffmpeg: its libx264 is not reached" in done.stdout
    assert done.stderr == "idse doctor: broken here: ffmpeg, sidecar's answers\n"
    assert "ok      PyAV" in done.stdout
