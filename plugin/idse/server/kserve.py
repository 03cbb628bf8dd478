"""A client of the KServe v2 protocol: Python's own HTTP, a Unix socket or TCP, tensors as bytes."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.errors import AccessError, BusyError, InputError, ProtocolError
from idse.server.paths import default_socket, http_socket

if TYPE_CHECKING:
    from collections.abc import Mapping

_LENGTH = "Inference-Header-Content-Length"
_DATATYPES = {"uint8": "UINT8", "uint16": "UINT16"}
_DTYPES = {"FP32": "<f4", "INT64": "<i8", "UINT8": "u1"}


class ModelClient:
    """Calls models of ``idse serve``, or of another server that speaks the protocol.

    Parameters
    ----------
    address
        A Unix socket's path, or ``"host:port"``; None is the socket of this user's ``idse serve``.
    token
        What servers ask for over TCP.
    timeout
        Seconds to wait for an answer.

    Every call may raise

    - BusyError where the server has too much to do, or is not ready,
    - InputError where it refuses the request,
    - AccessError where the token is missing, and
    - ProtocolError where nobody answers, or something else.
    """

    def __init__(
        self,
        address: Path | str | None = None,
        *,
        token: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._address = http_socket(default_socket()) if address is None else address
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._timeout = timeout

    def ready(self) -> bool:
        """Tell whether models can be called; False also where nobody answers."""
        try:
            self._ask("GET", "/v2/health/ready")
        except (BusyError, ProtocolError):
            return False
        return True

    def status(self) -> dict[str, Any]:
        """Return what the server is doing: its networks, its queue, its encoders."""
        found: dict[str, Any] = json.loads(self._ask("GET", "/status")[1])
        return found

    def importance(
        self, image: npt.NDArray[np.uint8], **parameters: str | float
    ) -> npt.NDArray[np.float32]:
        """Return the importance per luma sample of each macroblock.

        Parameters
        ----------
        image
            uint8 ``(rows, columns, 3)`` of R'G'B', or up to 16 of them in a dimension before.
        parameters
            ``network``, ``stills`` (True: still pictures, not frames of a video), ``n_s``,
            ``seed``, ``frame_index``, ``timeout`` (microseconds).

        Returns
        -------
        float32 ``(mb_rows, mb_cols)``, of several images with a dimension before.
        """
        found = self.infer("importance", {"image": image}, parameters)
        return np.asarray(found["importance"], np.float32)

    def sketch(
        self, image: npt.NDArray[np.uint8], **parameters: str | float
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the sketched Jacobian by the samples of the image as Y'CbCr 4:4:4.

        Parameters
        ----------
        image, parameters
            As for `importance`, but a single image.

        Returns
        -------
        ``y``, ``cb`` and ``cr``: float32 ``(n_s, rows, columns)``.
        """
        return self.infer("sketch", {"image": image}, parameters)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        parameters: Mapping[str, str | float] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Call a model with arrays of uint8 or uint16; return what it gives out, by name."""
        described, tail = [], []
        for name, array in inputs.items():
            if array.dtype.name not in _DATATYPES:
                raise InputError(f"input {name!r} is {array.dtype}, expected uint8 or uint16")
            data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
            described.append(
                {
                    "name": name,
                    "datatype": _DATATYPES[array.dtype.name],
                    "shape": list(array.shape),
                    "parameters": {"binary_data_size": len(data)},
                }
            )
            tail.append(data)
        asked = {
            "inputs": described,
            "parameters": {**(parameters or {}), "binary_data_output": True},
        }
        head = json.dumps(asked).encode()
        body = b"".join([head, *tail])
        length, answer = self._ask("POST", f"/v2/models/{model}/infer", body, len(head))
        return _arrays(answer, length)

    def _ask(
        self, method: str, path: str, body: bytes | None = None, json_length: int | None = None
    ) -> tuple[int | None, bytes]:
        """Make a request; return the length of its JSON, where bytes follow it, and its body."""
        headers = dict(self._headers)
        if json_length is not None:
            headers[_LENGTH] = str(json_length)
        connection = _Connection(self._address, self._timeout)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            length = answer.getheader(_LENGTH)
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ProtocolError(f"no server answers at {self._address}: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise _failure(answer.status, data)
        return None if length is None else int(length), data


class _Connection(http.client.HTTPConnection):
    """HTTP over TCP, or over a Unix socket."""

    def __init__(self, address: Path | str, timeout: float) -> None:
        self._path = os.fspath(address) if isinstance(address, Path) else None
        super().__init__("idse" if self._path else str(address), timeout=timeout)

    def connect(self) -> None:
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _failure(status: int, data: bytes) -> Exception:
    try:
        reason = json.loads(data)["error"]
    except (ValueError, TypeError, KeyError):
        reason = f"status {status}"
    if status in (429, 503):
        return BusyError(f"the server is busy: {reason}")
    if status in (401, 403):
        return AccessError(f"the server lets nobody in without the token: {reason}")
    if 400 <= status < 500:
        return InputError(f"the server refuses this: {reason}")
    return ProtocolError(f"the server failed: {reason}")


def _arrays(answer: bytes, length: int | None) -> dict[str, npt.NDArray[Any]]:
    """Read a response, whose tensors may be bytes behind the JSON."""
    try:
        facts = json.loads(answer[:length])
        rest = memoryview(answer)[len(answer) if length is None else length :]
        found = {}
        for item in facts["outputs"]:
            dtype = np.dtype(_DTYPES[item["datatype"]])
            size = item.get("parameters", {}).get("binary_data_size")
            if size is None:
                flat = np.array(item["data"], dtype)
            else:
                flat, rest = np.frombuffer(rest[:size], dtype), rest[size:]
            found[item["name"]] = flat.reshape(item["shape"])
    except (ValueError, TypeError, KeyError) as error:
        raise ProtocolError(f"the server's answer cannot be read: {error}") from error
    return found
