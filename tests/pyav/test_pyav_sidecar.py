"""A sidecar behind PyAV: one that the test scripts, and one of our own with a real network."""

import itertools
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyav_clips import (
    PICTURES,
    begin,
    encode,
    finish,
    frames,
    misses,
    peer,
    preloaded,
    put,
    shown,
    until,
    wanted,
    write_offsets,
)

import idse_pyav
from idse.errors import CodecError

HERE = Path(__file__).parent


@pytest.mark.fast
@pytest.mark.parametrize("lookahead", [0, 9])
def test_pictures_wait_for_what_the_sidecar_says(lookahead, reported, tmp_path):
    with peer(tmp_path, "--lookahead", lookahead) as (path, _):
        idse_pyav.install(server=path, steering="--strength 0.7", model="some-network")
        encode(tmp_path / "waited.h264")
        idse_pyav.uninstall()
    assert misses(tmp_path / "waited.h264", wanted())[0] == 0
    (report,) = reported()
    assert (report["mode"], report["steered"], report["lost"]) == ("wait", PICTURES, 0)


@pytest.mark.fast
def test_a_sidecar_that_dies_costs_no_picture(reported, caplog, tmp_path):
    output = tmp_path / "killed.h264"
    with (
        caplog.at_level(logging.INFO, "idse_pyav"),
        peer(tmp_path, "--lookahead", 4) as (path, process),
        idse_pyav.install(server=path),
    ):
        opened = begin(output)
        for index, frame in enumerate(frames()):
            if index == PICTURES // 2:
                process.kill()
                process.wait()
            put(opened, frame)
        finish(opened, output)
    (report,) = reported()
    assert report["frames"] == PICTURES
    assert report["lost"] > 0
    assert report["steered"] + report["lost"] == PICTURES
    (record,) = caplog.records
    assert "encoded unsteered until there is one" in record.getMessage()


@pytest.mark.fast
def test_live_encoders_do_not_wait(reported, tmp_path):
    seen = shown(tmp_path / "seen")
    with (
        peer(tmp_path, "--seen", tmp_path / "seen") as (path, _),
        idse_pyav.install(server=path, live=True),
    ):
        opened = begin(tmp_path / "live.h264")
        # It is shown pictures once it has taken the encoder on, which need not be at once.
        last = None
        for number, frame in enumerate(itertools.cycle(list(frames()))):
            before, frame.pts = seen(), number
            put(opened, frame)
            if before:
                until(lambda before=before: seen() > before)
                last = number + 5 if last is None else last
            if number == last:
                break
        finish(opened, tmp_path / "live.h264")
    (report,) = reported()
    assert (report["mode"], report["frames"], report["waited_ns"]) == ("live", number + 1, 0)
    assert report["steered"] > 0


@pytest.mark.fast
def test_where_the_library_is_preloaded_it_stays_in_charge(tmp_path):
    offsets = write_offsets(tmp_path / "offsets", wanted())
    code = "import sys, idse_pyav; idse_pyav.install(offsets=sys.argv[1]); from pyav_clips import *"
    code += "; encode(sys.argv[2]); assert not idse_pyav.report().encoders"
    environment = preloaded(IDSE_OFFSETS=offsets)
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent)])
    done = subprocess.run(
        [sys.executable, "-c", code, offsets, tmp_path / "out.h264"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "its libx264 is steered already (idse shell)" in done.stderr
    assert misses(tmp_path / "out.h264", wanted())[0] == 0


@pytest.mark.full
def test_networks_that_cannot_be_had_cost_no_picture(caplog, tmp_path):
    stock = encode(tmp_path / "stock.h264")
    with (
        caplog.at_level(logging.INFO, "idse_pyav"),
        idse_pyav.install(model="no-such-network"),
    ):
        assert encode(tmp_path / "none.h264") == stock
    (record,) = caplog.records
    assert "no-such-network" in record.getMessage()
    with pytest.raises(CodecError, match="no-such-network"):
        idse_pyav.install(model="no-such-network", strict=True)


PROGRAM = """
import json, sys
import idse_pyav
idse_pyav.install(model="tiny_networks:sees_left", strict=True)
from pyav_clips import encode
data = [encode(sys.argv[1]) for _ in range(2)]
assert data[0] == data[1]
state = idse_pyav._control._state
processes = [sidecar._process for sidecar in state.sidecars.values()]
idse_pyav.uninstall()
facts = {
    "torch": "torch" in sys.modules,
    "ended": [process.poll() for process in processes],
    "encoders": idse_pyav.report().encoders,
}
print(json.dumps(facts))
"""


@pytest.mark.full
def test_networks_run_in_a_process_of_their_own(tmp_path):
    stock = encode(tmp_path / "stock.h264")
    environment = dict(os.environ, OMP_NUM_THREADS="1", XDG_RUNTIME_DIR=str(tmp_path))
    paths = [HERE, HERE.parent, HERE.parent / "server"]
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "steered.h264"],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    facts = json.loads(done.stdout)
    assert facts["torch"] is False
    assert facts["ended"] == [0]
    assert [item["steered"] for item in facts["encoders"]] == [PICTURES, PICTURES]
    assert (tmp_path / "steered.h264").read_bytes() != stock
