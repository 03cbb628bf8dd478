"""Hostile requests: no crash, no leak, no status of a failed server, no file touched elsewhere."""

import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hostile import attack
from served import HERE, served, session
from test_http_end import PLANES, body

# What a process of Python looks into by itself: modules, and what they come with.
KNOWN = (
    sys.prefix,
    sys.base_prefix,
    str(HERE),
    str(Path(__file__).resolve().parents[2] / "plugin"),
    "/proc/",
    "/dev/",
    "/usr/lib",
    "/lib",
)


def descriptors(made):
    return len(list(Path(f"/proc/{made.process.pid}/fd").iterdir()))


def survives(folder, count, growth):
    opened = folder / "opened"
    with served(folder, IDSE_TEST_OPENED=str(opened)) as made:
        # Once, so that everything is loaded that loads late.
        attack(made, 0, 150)
        time.sleep(1)
        before, files = made.memory(), descriptors(made)
        statuses = Counter(attack(made, 1, count))
        after = made.memory()
        assert made.process.poll() is None
        assert max(statuses) < 500, statuses
        # Connections that were just closed may take a moment.
        end = time.monotonic() + 20
        while descriptors(made) > files:
            assert time.monotonic() < end, "descriptors leak"
            time.sleep(0.05)
        assert after - before < growth, f"{before} to {after} bytes"
        # And it serves whoever is honest, as before.
        end = time.monotonic() + 20
        assert made.request("POST", "/v2/models/importance/infer", body())[0] == 200
        with session(made) as encoder:
            encoder.push(PLANES, pts=0)
            (answer,) = encoder.finish()
        assert answer.offsets is not None
        while json.loads(made.request("GET", "/status")[2])["encoders"]:
            assert time.monotonic() < end, "an encoder that left is still there"
            time.sleep(0.05)
        assert made.stop() == 0
        errors = [line for line in made.lines() if line["level"] == "error"]
        assert not errors, errors[0]
    paths = set(opened.read_text().splitlines())
    own = (*KNOWN, str(folder))
    elsewhere = {path for path in paths if path.startswith("/") and not path.startswith(own)}
    assert not elsewhere
    assert not any("passwd" in path for path in paths)


@pytest.mark.fast
def test_three_hundred_hostile_requests(tmp_path):
    survives(tmp_path, 300, 24 << 20)


@pytest.mark.full
def test_ten_thousand_hostile_requests(tmp_path):
    survives(tmp_path, 10_000, 24 << 20)
