"""Students' files: written, and read and checked without torch, for one may come from anywhere.

One safetensors file. Metadata: ``format`` ``"idse-student"``, ``version`` ``"2"`` and, as JSON,

- ``input``: ``area`` and ``multiple`` as for `idse.learned.student.resize.input_size`, and ``mean``
  and ``std`` of Y, Cb and Cr in code values of 8 bit and limited range;
- ``heads``: names of the networks whose importance the channels of the map are;
- ``blend``: what each of them counts in the sum that the student stands for;
- ``teachers``: for each head ``size``, ``fit`` and ``stride`` of the network's input, see
  `idse.learned.student.spectrum`;
- ``units``: for each head which of the autocorrelations is its own;
- ``program``: operations over numbered buffers, of which 0 is the input, and ``map``, the number of
  the result: natural logarithms of importance;
- ``card``: how the student was made.

Tensors: weights of convolutions ``(out, rows, columns, in / groups)``, float16, float32, or int8
beside ``NAME.scale``, ``(out,)``, that each output's are multiplied by
(`idse.learned.student.rounding`); their biases ``(out,)``; and ``autocorrelation``
``(units, 3, (lags * lags + 1) / 2)``: of planes of ``lags x lags``, which are the same when both
lags change their sign, the samples up to the middle one. All of these are float16 or float32.

Version ``"1"``, which is still read, has no int8, no ``units``, and whole planes of every head.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import save

from idse.errors import ModelError
from idse.files import write_atomically
from idse.learned.student.rounding import restored, rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

FORMAT = "idse-student"
VERSION = "2"
_FIRST = "1"

# What `native/student` takes; the numbers of a program come from a file.
_MAX_BYTES = 64 << 20
_MAX_HEADS = 64
_MAX_LAGS = 255
_PLANES = 3
_AUTOCORRELATION = "autocorrelation"
# What the name of rounded weights is followed by in that of their scales.
_SCALE = ".scale"
# Weights of a convolution that are not worth rounding. Those near the input are among them, where
# it does most harm.
_FEW = 512
# Digits of the card's numbers.
_DIGITS = 6

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
        float32 ``(heads, 3, lags, lags)``, lags odd: of the teachers' gradients. Each plane is the
        same when both lags change their sign.
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


def write_student(path: Path, student: StudentFile) -> None:
    """Write a student.

    Weights are rounded to int8, what they are few of to float16, as all other tensors are. Half of
    the autocorrelations is kept, and each once.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    weights = {op.weight for op in student.ops if op.op == "conv"}
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name, value in student.tensors.items():
        if name in weights and value.size > _FEW:
            tensors[name], scale = rounded(value)
            tensors[name + _SCALE] = _halved(scale)
        else:
            tensors[name] = _halved(value)
    units: list[int] = []
    kept: list[npt.NDArray[np.float32]] = []
    for planes in student.autocorrelation:
        same = [k for k, other in enumerate(kept) if np.array_equal(planes, other)]
        units.append(same[0] if same else len(kept))
        if not same:
            kept.append(planes)
    flat = np.stack(kept).reshape(len(kept), _PLANES, -1)
    tensors[_AUTOCORRELATION] = _halved(flat[..., : flat.shape[-1] // 2 + 1])
    facts = {
        "input": {name: getattr(student, name) for name in ("area", "multiple", "mean", "std")},
        "heads": student.heads,
        "blend": student.blend,
        "teachers": student.teachers,
        "units": units,
        "program": [_described(op) for op in student.ops],
        "map": student.map,
        "card": _short(dict(student.card)),
    }
    metadata = {name: json.dumps(value, separators=(",", ":")) for name, value in facts.items()}
    write_atomically(path, save(tensors, metadata | {"format": FORMAT, "version": VERSION}))


def _halved(value: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Return numbers as float16 unless one is too large for it."""
    fits = np.abs(value).max(initial=0) <= np.finfo(np.float16).max
    return value.astype(np.float16 if fits else np.float32)


def _described(op: StudentOp) -> dict[str, Any]:
    """Return an operation as the file has it: without what goes without saying."""
    found: dict[str, Any] = {"op": op.op, "out": op.out}
    found["in"] = list(op.inputs) if len(op.inputs) > 1 else op.inputs[0]
    if op.relu:
        found["activation"] = "relu"
    if op.op == "conv":
        found |= {"weight": op.weight, "bias": op.bias}
        found |= {name: n for name in ("stride", "groups") if (n := getattr(op, name)) != 1}
    return found


def _short(value: object) -> object:
    """Return what a card holds, with numbers of few digits."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _short(item) for name, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, list | tuple) else value


def _check_version(path: Path, described: Mapping[str, str]) -> None:
    if described.get("format") != FORMAT:
        raise ModelError(
            f"{path} is no student: its format is {described.get('format')!r}, not {FORMAT!r}"
        )
    if described.get("version") not in {_FIRST, VERSION}:
        raise ModelError(
            f"{path} has student version {described.get('version')!r}, this idse reads "
            f"{_FIRST!r} and {VERSION!r}: make it again with idse distill"
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
    if described["version"] == _FIRST:
        units = list(range(len(heads)))
        planes = _floats(_AUTOCORRELATION, tensors[_AUTOCORRELATION])
    else:
        units = [
            _whole(n, "units", 0, _MAX_HEADS)
            for n in _some(json.loads(described["units"]), "units", most=_MAX_HEADS)
        ]
        tensors = _unrounded(tensors)
        planes = _unfolded(_floats(_AUTOCORRELATION, tensors[_AUTOCORRELATION]))
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
        autocorrelation=_autocorrelation(planes, units, len(heads)),
        card=facts["card"],
    )


def _autocorrelation(
    planes: npt.NDArray[np.float32], units: Sequence[int], heads: int
) -> npt.NDArray[np.float32]:
    """Check autocorrelations, and return one for each head."""
    lags = planes.shape[-1] if planes.ndim == 4 else 0
    count = len(planes) if planes.ndim else 0
    if planes.shape != (count, _PLANES, lags, lags) or not lags % 2 or lags > _MAX_LAGS:
        raise ValueError(f"autocorrelation is {planes.shape}, expected (units, 3, lags, lags)")
    if len(units) != heads or max(units) >= count:
        raise ValueError(
            f"autocorrelation is {planes.shape}: units {list(units)} are not one of {count} for "
            f"each of {heads} heads"
        )
    return planes[list(units)]


def _unfolded(halves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return whole planes of those up to their middle."""
    count = halves.shape[-1] if halves.ndim == 3 else 0
    lags = math.isqrt(max(2 * count - 1, 0))
    if lags * lags != 2 * count - 1 or lags > _MAX_LAGS:
        raise ValueError(
            f"autocorrelation is {halves.shape}, expected (units, 3, (lags * lags + 1) / 2)"
        )
    whole = np.concatenate([halves, halves[..., -2::-1]], axis=-1)
    return whole.reshape(*halves.shape[:2], lags, lags)


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


def _unrounded(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return tensors without scales: int8 has been multiplied by them."""
    found = dict(tensors)
    for name, value in tensors.items():
        if value.dtype != np.int8:
            continue
        scale = _floats(name + _SCALE, found.pop(name + _SCALE))
        if scale.shape != value.shape[:1]:
            raise ValueError(f"{name}{_SCALE} is {scale.shape}, expected {value.shape[:1]}")
        found[name] = restored(value, scale)
    return found


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
