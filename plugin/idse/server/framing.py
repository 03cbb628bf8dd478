"""Messages of the protocol of encoders on a connection: whole ones, or none."""

from __future__ import annotations

import socket
import time
from array import array
from typing import TYPE_CHECKING

from idse.errors import ProtocolError
from idse.server.protocol import MESSAGE_BYTES, unpack

if TYPE_CHECKING:
    from idse.server.protocol import Message


def receive(connection: socket.socket) -> Message | None:
    """Wait for the next message; None where the other end closed the connection between two.

    Raises
    ------
    ProtocolError
        What came is no message, or ended within one.
    """
    data = receive_bytes(connection, MESSAGE_BYTES)
    return None if not data else unpack(data)


def receive_bytes(connection: socket.socket, size: int, *, end: float | None = None) -> bytes:
    """Wait for so many bytes; none where the other end closed the connection before the first.

    Parameters
    ----------
    connection
        Its timeout is for each part that comes, unless there is an ``end``.
    size
        Bytes.
    end
        `time.monotonic` seconds at which all must have come; None: whenever they come.

    Raises
    ------
    ProtocolError
        The connection ended within them.
    TimeoutError
        They did not come in time.
    """
    parts = bytearray()
    while len(parts) < size:
        if end is not None:
            connection.settimeout(max(end - time.monotonic(), 1e-3))
        try:
            part = connection.recv(size - len(parts))
        except ConnectionError as error:
            raise ProtocolError(f"the connection broke: {error.strerror}") from error
        if not part:
            if parts:
                raise ProtocolError(f"the connection ended after {len(parts)} of {size} bytes")
            break
        parts += part
    return bytes(parts)


def receive_descriptors(
    connection: socket.socket, size: int, most: int
) -> tuple[bytes, list[int], int]:
    """Receive bytes and the descriptors that come with them, which the caller closes.

    Programs that are started do not inherit them; `socket.recv_fds` forgets to see to that.

    Parameters
    ----------
    connection
        Of a Unix socket.
    size, most
        Bytes and descriptors, at most; further descriptors are closed.

    Returns
    -------
    The bytes, the descriptors, and the flags of `socket.socket.recvmsg`.
    """
    found = array("i")
    data, messages, flags, _ = connection.recvmsg(
        size, socket.CMSG_LEN(most * found.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, content in messages:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    return data, list(found), flags
