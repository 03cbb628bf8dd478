"""Log lines of a server: one JSON object each, on standard error."""

from __future__ import annotations

import json
import logging
import time


class JsonFormatter(logging.Formatter):
    """Writes a record as a JSON object: time, level, logger, message, and facts that come along.

    Facts are given as ``extra={"facts": {...}}``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{when}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "facts", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def use_json_logs(level: int) -> None:
    """Let the process log in JSON from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("idse.server").setLevel(level)
