"""Who may ask: whoever can open the Unix socket, and over TCP whoever knows the token."""

from __future__ import annotations

import hmac
import json
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from pathlib import Path

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

_COOKIE = "idse_token"
_LEAST = 16


def read_token(path: Path) -> str:
    """Read a token from a file: its first line.

    Raises
    ------
    InputError
        The file cannot be read, or what it holds is too short or no plain text.
    """
    try:
        text = path.read_text(encoding="ascii").split("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read a token from {path}: {error}") from error
    if len(text) < _LEAST or not text.isprintable() or any(c in text for c in ' ;,"\\'):
        raise InputError(
            f"the token in {path} must have at least {_LEAST} characters, without blanks and "
            "quotes: make one with  openssl rand -hex 24"
        )
    return text


def make_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


class RequireToken:
    """Lets requests over TCP through only with the token.

    ``Authorization: Bearer TOKEN``, or for browsers once ``/?token=TOKEN``, which sets a cookie.

    Parameters
    ----------
    app
        What is protected.
    token
        None lets nothing through that comes over TCP.
    """

    def __init__(self, app: App, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or self._is_local(scope) or self._has_token(scope):
            await self._app(scope, receive, send)
        elif scope["path"] == "/" and self._equals(_asked(scope)):
            assert self._token is not None
            cookie = f"{_COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict"
            headers = [(b"location", b"/"), (b"set-cookie", cookie.encode())]
            await _respond(send, 303, headers)
        else:
            body = json.dumps({"error": "give the token: Authorization: Bearer TOKEN"}).encode()
            headers = [
                (b"www-authenticate", b"Bearer"),
                (b"content-type", b"application/json"),
                (b"connection", b"close"),  # a body that was sent is not read
            ]
            await _respond(send, 401, headers, body)

    @staticmethod
    def _is_local(scope: Scope) -> bool:
        """Tell whether the request came by a Unix socket, whose name has no port."""
        server = scope.get("server")
        return server is not None and server[1] is None

    def _has_token(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            text = value.decode("latin-1")
            if name == b"authorization":
                kind, _, token = text.partition(" ")
                if kind.lower() == "bearer" and self._equals(token.strip()):
                    return True
            elif name == b"cookie" and self._equals(_cookie(text)):
                return True
        return False

    def _equals(self, text: str | None) -> bool:
        if self._token is None or text is None:
            return False
        return hmac.compare_digest(text.encode(), self._token.encode())


def _asked(scope: Scope) -> str | None:
    query = scope["query_string"].decode("latin-1")
    found = parse_qs(query).get("token")
    return found[0] if found else None


def _cookie(text: str) -> str | None:
    try:
        found = SimpleCookie(text).get(_COOKIE)
    except CookieError:
        return None
    return None if found is None else str(found.value)


async def _respond(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b""
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
