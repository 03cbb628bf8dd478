"""``idse serve`` as a process of its own, and raw HTTP to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

from idse.picture import PictureFormat
from idse.server.client import FrameSession

HERE = Path(__file__).parent
TOKEN = "0123456789abcdef-secret"


class Served:
    def __init__(self, folder, *arguments, model="tiny_networks:sees_left", **environment):
        (folder / "token").write_text(TOKEN + "\n")
        self.path = folder / "serve.sock"
        self.log = folder / "log"
        paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *[sys.executable, "-m", "idse.cli", "serve", "--json", "--model", model],
                    *["--socket", self.path, "--tcp", "127.0.0.1:0"],
                    *["--token-file", folder / "token", *arguments],
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
                text=True,
            )
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.facts = json.loads(line)
        self.tcp = self.facts["tcp"]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def memory(self):
        """Resident bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def request(self, method, path, body=None, headers=None):
        """Ask over the Unix socket; return status, headers and body."""
        with connected(self.facts["http"]) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def get(self, path):
        status, _, body = self.request("GET", path)
        assert status == 200, body
        return json.loads(body)


@contextlib.contextmanager
def connected(path):
    connection = http.client.HTTPConnection("idse", timeout=60)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as link:
        link.settimeout(60)
        link.connect(path)
        connection.sock = link
        yield connection


@contextlib.contextmanager
def served(folder, *arguments, **options):
    made = Served(folder, *arguments, **options)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        made.process.stdout.close()


def session(server, *words):
    """An encoder of 96x64 that the server steers."""
    return FrameSession(
        PictureFormat(width=96, height=64),
        fps=Fraction(25),
        time_base=Fraction(1, 25),
        path=server.path,
        timeout=60,
        arguments=["--n-s", "1", *words],
    )
