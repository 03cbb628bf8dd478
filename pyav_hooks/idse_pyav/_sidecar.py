"""The networks' process, for encoders of this one.

It is `idse.dropin.sidecar.sidecar` in a process of its own: whoever encodes imports no torch. It
ends when its standard input does, so that it outlives nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path

from idse.dropin.sidecar import Wish, sidecar
from idse.errors import IdseError, ModelError, describe

# Seconds in which networks must be there: on first use they are downloaded.
_START = 300.0
_END = 15.0
_CODE = "from idse_pyav._sidecar import main; main()"


class Sidecar:
    """Start one.

    Parameters
    ----------
    models
        Its networks; empty takes the default one.

    Attributes
    ----------
    path
        The socket of encoders: its own, or that of the user's ``idse serve`` where it has them.

    Raises
    ------
    ModelError
        It does not start; the message says why.
    """

    def __init__(self, models: tuple[str, ...]) -> None:
        paths = [str(Path(item).resolve()) for item in sys.path]
        self._pid = os.getpid()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE, json.dumps(models)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # Ctrl-C is for the program alone
            )
        except OSError as error:
            raise ModelError(f"cannot start {sys.executable}: {error}") from error
        answer = self._first_line()
        if "socket" not in answer:
            self.close()
            raise ModelError(answer.get("error", "the networks' process ended without a word"))
        self.path = Path(answer["socket"])

    def close(self) -> None:
        """End it, after encoders have had some seconds to finish."""
        if self._pid != os.getpid():
            return
        self.let_go()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def let_go(self) -> None:
        """Have no part in keeping it alive: in a child of fork() it is the parent's."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _first_line(self) -> dict[str, str]:
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], _START)[0]:
            return {"error": f"networks are not loaded after {_START:g} s"}
        try:
            answer = json.loads(output.readline())
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}


def main() -> None:
    """Be the networks' process."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever networks print
    try:
        with sidecar(Wish(models=json.loads(sys.argv[1]))) as path:
            os.write(answers, json.dumps({"socket": str(path)}).encode() + b"\n")
            sys.stdin.buffer.read()
    except IdseError as error:
        os.write(answers, json.dumps({"error": describe(error)}).encode() + b"\n")
