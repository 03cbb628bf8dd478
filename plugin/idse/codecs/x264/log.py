"""x264's log messages, handed on to Python's ``logging``."""

from __future__ import annotations

import ctypes
import logging

from idse.codecs.x264 import _param_raw, _raw

logger = logging.getLogger("idse.codecs.x264")

_LEVELS = {
    _raw.LOG_ERROR: logging.ERROR,
    _raw.LOG_WARNING: logging.WARNING,
    _raw.LOG_INFO: logging.INFO,
    _raw.LOG_DEBUG: logging.DEBUG,
}
_MESSAGE_SIZE = 2048  # longer messages are cut, as x264's own buffers do

_vsnprintf = _raw.VSNPRINTF(("vsnprintf", ctypes.CDLL(None)))


class LogSink:
    """The log function of one encoder. It must outlive the encoder's handle.

    x264 calls it from any of its threads. Nothing that is raised in a logging handler, and no
    KeyboardInterrupt that happens to arrive there, may unwind through C: it is kept, and
    ``raise_failure`` raises it once the call into x264 has returned.
    """

    def __init__(self) -> None:
        self.function = _param_raw.LogFunction(self._receive)
        self._errors: list[str] = []
        self._failure: BaseException | None = None

    @property
    def level(self) -> int:
        """The most talkative x264 level that the logger lets through."""
        enabled = [level for level, python in _LEVELS.items() if logger.isEnabledFor(python)]
        return max(enabled, default=_raw.LOG_ERROR)

    def take_errors(self) -> str:
        """Return and forget the error messages so far, joined; ``"no reason given"`` for none."""
        errors, self._errors = self._errors, []
        return "; ".join(errors) or "no reason given"

    def raise_failure(self, *, failed: bool = False) -> None:
        """Raise what was raised inside the log function, if anything was.

        Errors that x264 told are logged here, unless the call into it ``failed``: then they are for
        the exception's message (``take_errors``), and need not be told twice.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if not failed:
            errors, self._errors = self._errors, []
            for message in errors:
                logger.error("%s", message)

    def _receive(
        self, _private: int | None, level: int, text: bytes, arguments: int | None
    ) -> None:
        try:
            buffer = ctypes.create_string_buffer(_MESSAGE_SIZE)
            _vsnprintf(ctypes.addressof(buffer), _MESSAGE_SIZE, text, arguments)
            message = buffer.value.decode("utf-8", "replace").rstrip()
            if level == _raw.LOG_ERROR:
                self._errors.append(message)
            else:
                logger.log(_LEVELS.get(level, logging.DEBUG), "%s", message)
        except BaseException as error:  # noqa: BLE001 (kept for raise_failure, see above)
            self._failure = error
