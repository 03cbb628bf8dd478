"""Bounds on what requests may bring, before anything reads them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from idse.server.auth import App, Receive, Scope, Send
    from idse.server.metrics import Metrics

MAX_BODY = 32 << 20
# Of all bodies that are being received or worked on.
_MAX_BODIES = 256 << 20
# Seconds in which a body must have come.
_PATIENCE = 30.0
# What no path of ours has; longer ones are not even counted by name.
_OTHER = "other"


class LimitBodies:
    """Receives bodies whole, or refuses them: too large, too many at once, too slow.

    Parameters
    ----------
    app
        What gets the requests.
    metrics
        Where they are counted.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.monotonic(), 500

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        held = 0
        try:
            expected = _declared(scope)
            if expected > MAX_BODY:
                await _refuse(watched, 413, f"a body of more than {MAX_BODY} bytes")
                return
            if self._held + expected > _MAX_BODIES:
                await _refuse(watched, 429, "too many large bodies at once: try again later")
                return
            # One that is chunked may have any size.
            held = MAX_BODY if expected < 0 else expected
            self._held += held
            try:
                async with asyncio.timeout(_PATIENCE):
                    body = await _body(receive)
            except TimeoutError:
                await _refuse(watched, 408, f"the body did not come within {_PATIENCE:g} s")
                return
            if body is None:
                await _refuse(watched, 413, f"a body of more than {MAX_BODY} bytes")
                return
            await self._app(scope, _given(body, receive), watched)
        finally:
            self._held -= held
            route = getattr(scope.get("route"), "path", _OTHER)
            self._metrics.requested(route, status, time.monotonic() - begin)


def _declared(scope: Scope) -> int:
    """Return the size that a body is said to have; -1 where it is chunked."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 18 else MAX_BODY + 1
        if name == b"transfer-encoding":
            return -1
    return 0


async def _body(receive: Receive) -> bytes | None:
    """Receive a body; None where it is too large."""
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(parts)
        parts += message.get("body", b"")
        if len(parts) > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return bytes(parts)


def _given(body: bytes, receive: Receive) -> Receive:
    """Return what hands on a body that was received."""
    waiting = [body]

    async def given() -> MutableMapping[str, Any]:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return given


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
