"""How a server ends: what is under way is finished, and what it leaves is no hindrance."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from served import served, session

from idse.server.priority import NICENESS

pytestmark = pytest.mark.full
PLANES = tuple(np.full(shape, 90, np.uint8) for shape in ((64, 96), (32, 48), (32, 48)))


def body(**changes):
    """A request that is right, but for some changes."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": [2, 2, 3], "data": [7] * 12}
    return json.dumps({"inputs": [tensor], **changes})


def test_the_end_drops_nothing(tmp_path):
    """SIGTERM while an encoder is at work and a request is under way: both are finished."""
    with served(tmp_path, "--grace", "20", model="tiny_networks:slow") as made:
        begun, answers = threading.Event(), []

        def ask():
            text = body(parameters={"n_s": 64})
            begun.set()
            answers.append(made.request("POST", "/v2/models/importance/infer", text)[0])

        with session(made) as encoder:
            for n in range(5):
                encoder.push(PLANES, pts=n)
            asking = threading.Thread(target=ask)
            asking.start()
            begun.wait(10)
            end = time.monotonic() + 10
            while not made.get("/status")["running"] and time.monotonic() < end:
                time.sleep(0.01)
            made.process.send_signal(signal.SIGTERM)
            end = time.monotonic() + 10
            while made.request("GET", "/v2/health/ready")[0] != 503:
                assert time.monotonic() < end
            assert made.request("POST", "/v2/models/importance/infer", body())[0] == 503
            for n in range(5, 10):
                encoder.push(PLANES, pts=n)
            assert [answer.index for answer in encoder.finish()] == list(range(10))
        asking.join(30)
        assert answers == [200]
        assert made.process.wait(30) == 0
        assert not made.path.exists()
        messages = [line["message"] for line in made.lines()]
        assert {"loaded", "draining", "drained"} <= set(messages)


def test_it_gives_way_to_encoders(tmp_path):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    for words, niceness in (((), NICENESS), (("--nice", "0"), 0)):
        with served(tmp_path, *words) as made:
            tasks = [int(task.name) for task in Path(f"/proc/{made.process.pid}/task").iterdir()]
            found = {os.getpriority(os.PRIO_PROCESS, task) for task in tasks}
        assert found == {max(own, niceness)}


def test_a_second_signal_ends_it_at_once(tmp_path):
    with served(tmp_path, "--grace", "60") as made, session(made):
        made.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 10
        while made.request("GET", "/v2/health/ready")[0] != 503:
            assert time.monotonic() < end
        made.process.send_signal(signal.SIGTERM)
        assert made.process.wait(10) == 128 + signal.SIGTERM
        # What it left is no hindrance.
        with served(tmp_path) as again:
            assert again.get("/v2/health/ready") == {"ready": True}


def test_a_server_that_nobody_needs_ends_by_itself(tmp_path):
    with served(tmp_path, "--exit-when-idle", "1") as made:
        assert made.process.wait(30) == 0
