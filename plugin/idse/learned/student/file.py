"""Students' files, read without torch and checked: what is in one may come from anywhere.

One safetensors file. Metadata: ``format`` ``"idse-student"``, ``version`` ``"1"`` and, as JSON,

- ``input``: ``area`` and ``multiple`` as for `idse.learned.student.resize.input_size`, and ``mean``
  and ``std`` of Y, Cb and Cr in code values of 8 bit and limited range;
- ``heads``: names of the networks whose importance the channels of the map are;
- ``blend``: what each of them counts in the sum that the student stands for;
- ``teachers``: for each head ``size``, ``fit`` and ``stride`` of the network's input, see
  `idse.learned.student.spectrum`;
- ``program``: operations over numbered buffers, of which 0 is the input, and ``map``, the number of
  the result: natural logarithms of importance;
- ``card``: how the student was made.

Tensors: weights of convolutions ``(out, rows, columns, in / groups)``, float16 or float32, their
biases, float32 ``(out,)``, and ``autocorrelation``, float32 ``(heads, 3, lags, lags)``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors

from idse.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FORMAT = "idse-student"
VERSION = "1"

# What `native/student` takes; the numbers of a program come from a file.
_MAX_BYTES = 64 << 20
_MAX_HEADS = 64
_MAX_LAGS = 255
_PLANES = 3
_AUTOCORRELATION = "autocorrelation"

Tensors = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class StudentOp:
    """One operation; see ``native/student/student.h``.

    Attributes
    ----------
    op
        ``"conv"``, ``"upsample"``, ``"add"``, ``"concat"`` or ``"mean"``.
    inputs, out
        Buffers: one or two that are read, and the one that is written.
    relu
        Whether negative results become 0; of convolutions and additions.
    weight, bias
        Names of tensors, of convolutions.
    stride, groups
        Of convolutions.
    """

    op: str
    inputs: tuple[int, ...]
    out: int
    relu: bool = False
    weight: str = ""
    bias: str = ""
    stride: int = 1
    groups: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class StudentFile:
    """What a file holds; the module says what each of it means.

    Attributes
    ----------
    area, multiple, mean, std
        Of the input.
    heads, blend, teachers
        One for each channel of the map.
    ops, map
        The program, and its result.
    tensors
        Weights and biases by name, float32 and finite.
    autocorrelation
        float32 ``(heads, 3, lags, lags)``, lags odd: of the teachers' gradients.
    card
        How the student was made.
    """

    area: int
    multiple: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    heads: tuple[str, ...]
    blend: tuple[float, ...]
    teachers: tuple[Mapping[str, Any], ...]
    ops: tuple[StudentOp, ...]
    map: int
    tensors: Tensors
    autocorrelation: npt.NDArray[np.float32]
    card: Mapping[str, Any]


def read_student(path: Path) -> StudentFile:
    """Read a student.

    Raises
    ------
    ModelError
        The file is missing, damaged, of another version, or says something that makes no sense.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ModelError(f"student {path} has {size} bytes, more than {_MAX_BYTES}")
        with safetensors.safe_open(path, framework="numpy") as file:
            described = file.metadata() or {}
            _check_version(path, described)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"cannot read student {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, TypeError) as error:
        raise ModelError(f"{path} is no student, or is damaged: {error}") from error
    try:
        return _student(described, tensors)
    # Everything in the metadata may be missing, of another type, or nonsense.
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"student {path} is damaged: {what}") from error


def _check_version(path: Path, described: Mapping[str, str]) -> None:
    if described.get("format") != FORMAT:
        raise ModelError(
            f"{path} is no student: its format is {described.get('format')!r}, not {FORMAT!r}"
        )
    if described.get("version") != VERSION:
        raise ModelError(
            f"{path} has student version {described.get('version')!r}, this idse reads "
            f"{VERSION!r}: make it again with idse distill"
        )


def _student(described: Mapping[str, str], tensors: Mapping[str, npt.NDArray[Any]]) -> StudentFile:
    facts = {
        name: json.loads(described[name])
        for name in ("input", "heads", "blend", "teachers", "program", "map", "card")
    }
    heads = tuple(_text(name) for name in _some(facts["heads"], "heads", most=_MAX_HEADS))
    blend = _numbers(facts["blend"], "blend", len(heads))
    if min(blend) < 0 or max(blend) <= 0:
        raise ValueError(f"blend {list(blend)} must be 0 or more, and more for one of the heads")
    teachers = _some(facts["teachers"], "teachers", most=_MAX_HEADS)
    if len(teachers) != len(heads):
        raise ValueError(f"{len(teachers)} teachers are not one for each of {len(heads)} heads")
    given = facts["input"]
    std = _numbers(given["std"], "std", _PLANES)
    if min(std) <= 0:
        raise ValueError(f"std {list(std)} must be above 0")
    if not isinstance(facts["card"], dict):
        raise TypeError("card is no object")
    weights = {
        name: _floats(name, value) for name, value in tensors.items() if name != _AUTOCORRELATION
    }
    return StudentFile(
        area=_whole(given["area"], "area", 1, 1 << 24),
        multiple=_whole(given["multiple"], "multiple", 1, 1024),
        mean=_numbers(given["mean"], "mean", _PLANES),
        std=std,
        heads=heads,
        blend=blend,
        teachers=tuple(_teacher(item) for item in teachers),
        ops=tuple(_op(item) for item in _some(facts["program"], "program", most=256)),
        map=_whole(facts["map"], "map", 0, 255),
        tensors=weights,
        autocorrelation=_autocorrelation(tensors, len(heads)),
        card=facts["card"],
    )


def _autocorrelation(
    tensors: Mapping[str, npt.NDArray[Any]], heads: int
) -> npt.NDArray[np.float32]:
    found = _floats(_AUTOCORRELATION, tensors[_AUTOCORRELATION])
    lags = found.shape[-1] if found.ndim == 4 else 0
    if found.shape != (heads, _PLANES, lags, lags) or not lags % 2 or lags > _MAX_LAGS:
        raise ValueError(f"autocorrelation is {found.shape}, expected ({heads}, 3, lags, lags)")
    return found


def _teacher(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check how a teacher takes pictures in."""
    size = [_whole(n, "size", 1, 1 << 14) for n in _some(item["size"], "size", most=2)]
    fit, stride = item["fit"], item["stride"]
    if len(size) != 2 or fit not in {"letterbox", "stretch"}:
        raise ValueError(f"teacher {dict(item)} has no size or fit of an input")
    stride = None if stride is None else _whole(stride, "stride", 1, 1 << 14)
    return {"size": size, "fit": fit, "stride": stride}


def _op(item: Mapping[str, Any]) -> StudentOp:
    """Read one operation; whether it fits the others is checked by what runs it."""
    kind = _text(item["op"])
    given = item["in"]
    inputs = [given] if isinstance(given, int) else _some(given, "in", most=2)
    activation = item.get("activation", "none")
    if activation not in {"none", "relu"}:
        raise ValueError(f"activation {activation!r} is not none or relu")
    two = kind in {"add", "concat"}
    if kind not in {"conv", "upsample", "add", "concat", "mean"} or len(inputs) != 1 + two:
        raise ValueError(f"operation {kind!r} of {len(inputs)} buffers is unknown")
    if activation != "none" and kind not in {"conv", "add"}:
        raise ValueError(f"operation {kind!r} has no activation")
    conv = kind == "conv"
    return StudentOp(
        op=kind,
        inputs=tuple(_whole(i, "in", 0, 255) for i in inputs),
        out=_whole(item["out"], "out", 0, 255),
        relu=activation == "relu",
        weight=_text(item["weight"]) if conv else "",
        bias=_text(item["bias"]) if conv else "",
        stride=_whole(item.get("stride", 1), "stride", 1, 2),
        groups=_whole(item.get("groups", 1), "groups", 1, 1 << 16),
    )


def _floats(name: str, value: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if value.dtype not in (np.float16, np.float32):
        raise ValueError(f"tensor {name} is {value.dtype}, not float16 or float32")
    found = np.ascontiguousarray(value, np.float32)
    if not np.isfinite(found).all():
        raise ValueError(f"tensor {name} is not finite")
    return found


def _some(value: object, what: str, *, most: int) -> list[Any]:
    if not isinstance(value, list) or not 0 < len(value) <= most:
        raise ValueError(f"{what} is no list of 1 to {most}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: object, what: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{what} {value!r} is no whole number from {low} to {high}")
    return value


def _numbers(value: object, what: str, count: int) -> tuple[float, ...]:
    read: Callable[[Any], float] = float
    found = tuple(read(item) for item in _some(value, what, most=count))
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(f"{what} {value!r} is not {count} finite numbers")
    return found
