"""``python -m idse.cli`` and the command ``idse``: the command line as a process of its own."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

# numpy's OpenBLAS would start a thread per core, which spin for a while where x264 could run; no
# command multiplies matrices that are worth them. What it starts itself is to know nothing of this.
_THREADS = "OPENBLAS_NUM_THREADS"
_chosen = os.environ.get(_THREADS)
os.environ.setdefault(_THREADS, "1")

from idse.cli import main  # noqa: E402 - imports numpy

if _chosen is None:
    del os.environ[_THREADS]


def run() -> NoReturn:
    """Run the command line and leave at once.

    Every file is closed and every thread joined when ``main`` returns. Tearing the interpreter down
    after that takes 0.75 s once torch is loaded, a tenth of a short transcode.
    """
    code = main()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
