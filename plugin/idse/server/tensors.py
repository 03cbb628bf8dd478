"""Tensors of the KServe v2 protocol: in JSON, or behind it as bytes.

The Open Inference Protocol (KServe, "Predict Protocol - Version 2") and Triton's extension of it
for binary tensor data: JSON of ``Inference-Header-Content-Length`` bytes, then the tensors' bytes
in the order of the inputs, each as long as its ``binary_data_size`` says.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from idse.errors import InputError
from idse.server.limits import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = "inference-header-content-length"
# Numbers in JSON take many times their size in memory.
MAX_JSON = 16 << 20
_MAX_SIDE = 16384
_DTYPES: dict[str, npt.DTypeLike] = {"UINT8": "u1", "UINT16": "<u2"}
_NAMES = {"float32": "FP32", "int64": "INT64", "uint8": "UINT8"}

Parameters = dict[str, bool | int | float | str]
Name = Field(min_length=1, max_length=64)


class InputTensor(BaseModel):
    """A tensor that is handed in: UINT8, or UINT16 for samples of 10 bit."""

    model_config = ConfigDict(extra="forbid")
    name: str = Name
    datatype: Literal["UINT8", "UINT16"]
    shape: list[int] = Field(min_length=1, max_length=4)
    parameters: Parameters = {}
    data: list[Any] | None = Field(default=None, description="numbers, nested or flat")


class OutputRequest(BaseModel):
    """A tensor that is asked for; ``binary_data`` in its parameters says how."""

    model_config = ConfigDict(extra="forbid")
    name: str = Name
    parameters: Parameters = {}


class InferenceRequest(BaseModel):
    """A call of a model."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(default="", max_length=256)
    parameters: Parameters = {}
    inputs: list[InputTensor] = Field(min_length=1, max_length=8)
    outputs: list[OutputRequest] = Field(default=[], max_length=8)


class OutputTensor(BaseModel):
    """A tensor that is handed out."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters = {}
    data: list[float] | None = None


class InferenceResponse(BaseModel):
    """What a model returns."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[OutputTensor]


def read_request(
    body: bytes, json_length: str | None
) -> tuple[InferenceRequest, dict[str, npt.NDArray[Any]]]:
    """Read a request and its tensors.

    Parameters
    ----------
    body
        As it came.
    json_length
        The header ``Inference-Header-Content-Length``; None where there is none.

    Returns
    -------
    The request, and its inputs by name: little-endian, shaped, C-contiguous and read-only.

    Raises
    ------
    InputError
        It is no request, or a tensor is not what it says.
    """
    length = _json_length(body, json_length)
    try:
        request = InferenceRequest.model_validate_json(body[:length])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"the request cannot be read: {place}: {first['msg']}") from error
    tensors: dict[str, npt.NDArray[Any]] = {}
    rest = memoryview(body)[length:]
    for tensor in request.inputs:
        if tensor.name in tensors:
            raise InputError(f"input {tensor.name!r} is given twice")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            tensors[tensor.name] = _from_json(tensor)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise InputError(f"input {tensor.name!r}: binary_data_size {size} is not in the body")
        tensors[tensor.name] = _from_bytes(tensor, rest[:size])
        rest = rest[size:]
    if rest:
        raise InputError(f"{len(rest)} bytes behind the last tensor")
    return request, tensors


def _json_length(body: bytes, header: str | None) -> int:
    length = len(body)
    if header is not None:
        if not (header.isascii() and header.isdigit()) or len(header) > 12:
            raise InputError(f"{HEADER} {header[:40]!r} is no length")
        length = int(header)
        if length > len(body):
            raise InputError(f"{HEADER} {length} is above the body's {len(body)} bytes")
    if length > MAX_JSON:
        raise InputError(f"{length} bytes of JSON are more than {MAX_JSON}: send tensors as bytes")
    return length


def wants_bytes(request: InferenceRequest, name: str) -> bool:
    """Tell whether an output is asked for as bytes."""
    for output in request.outputs:
        if output.name == name and "binary_data" in output.parameters:
            return output.parameters["binary_data"] is True
    return request.parameters.get("binary_data_output") is True


def write_response(
    request: InferenceRequest, model: str, version: str, outputs: Mapping[str, npt.NDArray[Any]]
) -> tuple[bytes, int | None]:
    """Write a response.

    Parameters
    ----------
    request
        What is answered: its outputs are given, all where it names none.
    model, version
        What answered.
    outputs
        Arrays by name.

    Returns
    -------
    The body, and the length of its JSON where bytes follow it.

    Raises
    ------
    InputError
        An output is asked for that there is not.
    """
    wanted = [output.name for output in request.outputs] or list(outputs)
    unknown = set(wanted) - set(outputs)
    if unknown:
        raise InputError(f"output {min(unknown)!r} is not one of {', '.join(outputs)}")
    described, tail = [], []
    for name in dict.fromkeys(wanted):
        array = outputs[name]
        item: dict[str, object] = {
            "name": name,
            "datatype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
        }
        if wants_bytes(request, name):
            data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            item["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            item["data"] = array.ravel().tolist()
        described.append(item)
    answer: dict[str, object] = {"model_name": model, "model_version": version}
    if request.id:
        answer["id"] = request.id
    answer["outputs"] = described
    head = json.dumps(answer).encode()
    return b"".join([head, *tail]), len(head) if tail else None


def _shape(tensor: InputTensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    # A row of bytes may be a file.
    most = MAX_BODY if len(shape) == 1 else _MAX_SIDE
    if not all(1 <= side <= most for side in shape):
        raise InputError(f"input {tensor.name!r}: sides of {shape} must be 1 to {most}")
    return shape


def _from_bytes(tensor: InputTensor, data: memoryview) -> npt.NDArray[Any]:
    shape, dtype = _shape(tensor), np.dtype(_DTYPES[tensor.datatype])
    if tensor.data is not None:
        raise InputError(f"input {tensor.name!r} has data and bytes")
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise InputError(
            f"input {tensor.name!r}: {len(data)} bytes are not {tensor.datatype} {shape}"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _from_json(tensor: InputTensor) -> npt.NDArray[Any]:
    shape, dtype = _shape(tensor), np.dtype(_DTYPES[tensor.datatype])
    if tensor.data is None:
        raise InputError(f"input {tensor.name!r} has neither data nor binary_data_size")
    values = _flat(tensor.data)
    # Not by numpy: it would make room for the longest string among them, for every number.
    if not all(type(value) is int for value in values):
        raise InputError(f"input {tensor.name!r}: data must be whole numbers, evenly nested")
    if len(values) != math.prod(shape):
        raise InputError(f"input {tensor.name!r}: {len(values)} numbers are not {shape}")
    most = np.iinfo(dtype).max
    if min(values) < 0 or max(values) > most:
        raise InputError(f"input {tensor.name!r}: numbers must be 0 to {most}")
    return np.array(values, dtype).reshape(shape)


def _flat(data: list[Any]) -> list[Any]:
    while data and all(type(part) is list for part in data):
        data = [value for part in data for value in part]
    return data
