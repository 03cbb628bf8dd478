"""``python -m idse.cli`` and the command ``idse``: the command line as a process of its own."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from idse.cli import EXIT_INTERRUPTED, main
from idse.cli._signals import end_in_order

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"


def run() -> NoReturn:
    """Run the command line and leave at once.

    Every file is closed and every thread joined when ``main`` returns. Tearing the interpreter down
    after that takes 0.75 s once torch is loaded, a tenth of a short transcode.
    """
    _open_streams()
    ended = end_in_order()
    try:
        _load_numpy()
        code = main()
    except KeyboardInterrupt:  # before or after all else
        code = EXIT_INTERRUPTED
    if ended:
        code = 128 + ended[0]
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)


def _open_streams() -> None:
    """Open the standard streams that are closed.

    Python has None for them, and their numbers would be those of the next files that are opened,
    into which C libraries would then print. Reading finds nothing, a result that nobody gets is
    an error, and what is wrong is told to nobody.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            access = os.O_WRONLY if name == "stderr" else os.O_RDONLY
            opened = os.open(os.devnull, access)  # the lowest number that is free: the stream's
            mode = "r" if name == "stdin" else "w"
            # Text that cannot be encoded is no error where nobody reads it.
            stream = os.fdopen(opened, mode, errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)


def _load_numpy() -> None:
    """Load numpy without the threads of its OpenBLAS, which spin where x264 could run.

    No command multiplies matrices that are worth them. Programs that a command starts are to know
    nothing of this.
    """
    if _BLAS_THREADS in os.environ:
        return
    os.environ[_BLAS_THREADS] = "1"
    import numpy as np  # noqa: F401

    del os.environ[_BLAS_THREADS]


if __name__ == "__main__":
    run()
