"""``vae-encode`` and ``vae-decode``: the learned picture codec over the KServe v2 protocol.

Files of the codec are tensors of bytes: UINT8 of one dimension. Its networks are loaded with the
first request that needs them, and wait for their turn in the queue of all analyses.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.codecs.vae.container import read_header
from idse.errors import InputError
from idse.server.inference import MAX_PIXELS, ModelFacts, TensorFacts, check_size, read_deadline
from idse.server.queue import Job

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from concurrent.futures import Future

    from idse.pipeline.images.vae import VaeCodec
    from idse.server.queue import AnalysisQueue
    from idse.server.tensors import Parameters

Array = npt.NDArray[Any]

_IMAGE = TensorFacts(name="image", datatype="UINT8", shape=[-1, -1, 3])
_STREAM = TensorFacts(name="stream", datatype="UINT8", shape=[-1])
MODELS = {
    "vae-encode": ModelFacts(
        name="vae-encode",
        about="the learned picture codec: a file of at most so many target_bytes or bpp",
        inputs=[_IMAGE],
        outputs=[_STREAM],
    ),
    "vae-decode": ModelFacts(
        name="vae-decode",
        about="the learned picture codec: the picture in a file",
        inputs=[_STREAM],
        outputs=[_IMAGE],
    ),
}
# Beside those of the protocol's own.
_PARAMETERS = {"vae-encode": {"target_bytes", "bpp", "timeout"}, "vae-decode": {"timeout"}}
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureCall:
    """A picture to code, or a file to decode.

    Attributes
    ----------
    name
        Of the model.
    data
        What is handed in.
    limit
        Bytes that the file may have; 0 for ``vae-decode``.
    size
        Width and height.
    deadline
        `time.monotonic` seconds; None: at any time.
    """

    name: str
    data: Array
    limit: int
    size: tuple[int, int]
    deadline: float | None


def available(codec: VaeCodec) -> bool:
    """Tell whether there is a model of the codec, and what runs it."""
    needed = ("torch", "constriction")
    return bool(codec.names) and all(importlib.util.find_spec(name) for name in needed)


def read_call(name: str, inputs: Mapping[str, Array], parameters: Parameters) -> PictureCall:
    """Check what a caller wants.

    Parameters
    ----------
    name
        ``"vae-encode"`` or ``"vae-decode"``.
    inputs
        ``image``: uint8 ``(rows, columns, 3)`` R'G'B'; or ``stream``: uint8 ``(bytes,)``.
    parameters
        ``target_bytes`` or ``bpp`` of ``vae-encode``; ``timeout`` (microseconds).

    Raises
    ------
    InputError
        Something of it makes no sense, or is too large.
    """
    known = _PARAMETERS[name]
    unknown = set(parameters) - known - {"binary_data_output", "priority"}
    if unknown:
        raise InputError(f"parameter {min(unknown)!r} is not one of {', '.join(sorted(known))}")
    (wanted,) = MODELS[name].inputs
    if set(inputs) != {wanted.name}:
        raise InputError(f"inputs are {', '.join(sorted(inputs))}, expected {wanted.name}")
    data = inputs[wanted.name]
    sides = wanted.shape
    if data.dtype != np.uint8 or data.ndim != len(sides) or (data.ndim == 3 and data.shape[2] != 3):
        raise InputError(f"{wanted.name} is {data.dtype} {data.shape}, expected uint8 {sides}")
    if name == "vae-decode":
        header = read_header(data.data, max_pixels=MAX_PIXELS)
        size, limit = (header.width, header.height), 0
    else:
        size = data.shape[1], data.shape[0]
        check_size(*size)
        limit = _limit(parameters, size)
    return PictureCall(
        name=name, data=data, limit=limit, size=size, deadline=read_deadline(parameters)
    )


def _limit(parameters: Parameters, size: tuple[int, int]) -> int:
    given = {key: parameters[key] for key in ("target_bytes", "bpp") if key in parameters}
    if len(given) != 1:
        raise InputError("vae-encode needs one of the parameters target_bytes and bpp")
    ((name, value),) = given.items()
    whole = isinstance(value, int) or name == "bpp"
    if isinstance(value, bool | str) or not whole or not 0 < value < _MOST_BYTES:
        kind = "number" if name == "bpp" else "whole number"
        raise InputError(f"{name} {value!r} must be a {kind} above 0 and below {_MOST_BYTES}")
    bits = 8 * value if name == "target_bytes" else value * size[0] * size[1]
    return max(1, int(bits / 8))


def submit(
    call: PictureCall, codec: VaeCodec, queue: AnalysisQueue, client: Hashable
) -> Future[dict[str, Array]]:
    """Let a call wait for its turn; the result are the model's outputs by name.

    Raises
    ------
    BusyError
        It cannot be served in time.
    """

    def run() -> dict[str, Array]:
        if call.name == "vae-decode":
            return {"image": codec.decode(call.data.tobytes(), max_pixels=MAX_PIXELS)}
        coded = codec.encode(call.data, call.limit).data
        return {"stream": np.frombuffer(coded, np.uint8)}

    # A size in octaves is enough for an estimate of the time.
    octave = (call.size[0] * call.size[1]).bit_length()
    job = Job(client=client, kind=(call.name, octave), call=run, deadline=call.deadline)
    return queue.submit(job)
