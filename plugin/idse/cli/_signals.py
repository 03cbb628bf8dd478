"""How signals end a command: in order, so that nothing half done is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

# Seconds that libraries get to return to Python, where alone a signal can be heeded. Who stops a
# service kills it after ten.
_PATIENCE = 3.0


def end_in_order() -> list[int]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does. Call it in the main thread.

    A second SIGTERM ends it at once, and so does one after `_PATIENCE` that finds it waiting inside
    a library, as for a server that does not answer. Further SIGHUPs do nothing: a terminal that is
    closed may send several. One that is ignored (nohup) stays so. Commands that take them another
    way still do.

    Returns
    -------
    Empty, until a signal is heeded: then its number.
    """
    ended: list[int] = []

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ended.append(number)
        raise KeyboardInterrupt

    def watch() -> None:
        while numbers := os.read(readable, 64):
            time.sleep(_PATIENCE)
            for number in numbers:
                if signal.getsignal(number) is end:  # which heeding it changes
                    os._exit(128 + number)

    # Their numbers are written whatever the main thread does.
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(readable, True)
    threading.Thread(target=watch, name="watch signals", daemon=True).start()
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)
    return ended
