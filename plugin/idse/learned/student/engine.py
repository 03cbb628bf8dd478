"""Runs students by ``native/student``: no torch, one core, the same bits on every run."""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.errors import InputError, ModelError
from idse.learned.student import _raw
from idse.learned.student.resize import input_size, limited_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.learned.student.file import StudentFile
    from idse.picture import Picture

FloatMap = npt.NDArray[np.float32]


class Engine:
    """A student's network, ready to run.

    Parameters
    ----------
    student
        What to run.
    isa
        ``"best"``, ``"portable"``, ``"avx2"`` or ``"avx512"``. The last two compute the same bits.

    Attributes
    ----------
    isa
        The instruction set that is used.

    Raises
    ------
    ModelError
        The program makes no sense, or the machine lacks the instruction set.
    LibraryLoadError
        The library is missing or cannot be used.
    """

    def __init__(self, student: StudentFile, *, isa: str = "best") -> None:
        self._student = student
        self._library = _raw.library()
        # Buffers are the handle's: one picture at a time.
        self._lock = threading.Lock()
        ops, weights = _program(student)
        why = ctypes.create_string_buffer(_raw.REASON_BYTES)
        handle = self._library.idse_student_new(
            ops,
            len(ops),
            weights.ctypes.data,
            weights.size,
            student.map,
            _raw.ISAS[isa],
            why,
            len(why),
        )
        if not handle:
            raise ModelError(f"student cannot be run: {why.value.decode()}")
        best = self._library.idse_student_best_isa()
        names = {number: name for name, number in _raw.ISAS.items()}
        self.isa = names[_raw.ISAS[isa] or best]
        self._handle = ctypes.c_void_p(handle)
        weakref.finalize(self, self._library.idse_student_free, self._handle)

    def run(self, picture: Picture) -> FloatMap:
        """Return the map of a picture.

        Returns
        -------
        ndarray
            float32 ``(rows, columns, heads)``, of the picture as it is decoded: natural logarithms
            of what each network looks at, in a unit of its own.

        Raises
        ------
        ModelError
            The map has another number of channels than the student has heads, or is not finite; or
            the picture's shape asks for more memory than a student gets.
        InputError
            Samples of a row do not follow each other.
        """
        form, student = picture.format, self._student
        turns = form.rotation // 90
        shown = (form.width, form.height)[:: -1 if turns % 2 else 1]
        rows, columns = input_size(*shown, area=student.area, multiple=student.multiple)
        planes = self._planes(picture)
        with self._lock:
            shape = self._fit(rows, columns)
            found = np.empty((shape.rows, shape.cols, shape.heads), np.float32)
            if self._library.idse_student_run(self._handle, planes, turns, found.ctypes.data):
                raise MemoryError("no memory for a student's row of samples")
        if shape.heads != len(student.heads):
            raise ModelError(
                f"student's map has {shape.heads} channels for {len(student.heads)} heads"
            )
        if not np.isfinite(found).all():
            raise ModelError(f"student's map of frame {picture.index} is not finite")
        return np.rot90(found, -turns) if turns else found

    def _fit(self, rows: int, columns: int) -> _raw.Shape:
        shape = _raw.Shape()
        why = ctypes.create_string_buffer(_raw.REASON_BYTES)
        if self._library.idse_student_fit(
            self._handle, rows, columns, ctypes.byref(shape), why, len(why)
        ):
            raise ModelError(f"student cannot take this picture: {why.value.decode()}")
        return shape

    def _planes(self, picture: Picture) -> ctypes.Array[_raw.Plane]:
        """Describe the planes and how their code values become the network's."""
        student, codes = self._student, limited_codes(picture.format)
        found = (_raw.Plane * 3)()
        for i, (plane, raw) in enumerate(zip(picture.planes, found, strict=True)):
            factor, summand = codes[i]
            if plane.strides[1] != plane.itemsize:
                raise InputError(f"columns of plane {i} lie {plane.strides[1]} bytes apart")
            raw.samples, raw.stride = plane.ctypes.data, plane.strides[0]
            raw.height, raw.width = plane.shape
            raw.sample_bytes = plane.itemsize
            raw.scale = factor / student.std[i]
            raw.offset = (summand - student.mean[i]) / student.std[i]
        return found


def _program(student: StudentFile) -> tuple[ctypes.Array[_raw.Op], npt.NDArray[np.float32]]:
    """Return the operations as C takes them, and all weights in one array.

    Raises
    ------
    ModelError
        A convolution's tensors are missing or of a shape that is none of one.
    """
    starts: dict[str, int] = {}
    parts: list[npt.NDArray[np.float32]] = []
    total = 0
    for name, value in student.tensors.items():
        starts[name] = total
        parts.append(value.reshape(-1))
        total += value.size
    channels = {0: 3}
    found = (_raw.Op * len(student.ops))()
    for raw, op in zip(found, student.ops, strict=True):
        raw.kind = _raw.KINDS[op.op]
        raw.in0, raw.in1 = op.inputs[0], op.inputs[-1]
        raw.out, raw.relu = op.out, op.relu
        before = [channels.get(i, 0) for i in op.inputs]
        channels[op.out] = sum(before) if op.op == "concat" else before[0]
        if op.op != "conv":
            continue
        weight, bias = (student.tensors.get(name) for name in (op.weight, op.bias))
        if weight is None or bias is None:
            raise ModelError(f"student lacks the weights {op.weight!r} or {op.bias!r}")
        out, kernel = len(weight), weight.shape[1] if weight.ndim == 4 else 0
        inputs = before[0] // op.groups
        if weight.shape != (out, kernel, kernel, inputs) or bias.shape != (out,):
            raise ModelError(
                f"student's {op.weight} is {weight.shape} with a bias of {bias.shape}: expected "
                f"(out, k, k, {inputs}) and (out,)"
            )
        raw.channels, raw.kernel, raw.stride, raw.groups = out, kernel, op.stride, op.groups
        raw.weight, raw.bias = starts[op.weight], starts[op.bias]
        channels[op.out] = out
    return found, np.concatenate(parts) if parts else np.zeros(0, np.float32)


def spread(found: FloatMap, blend: Sequence[float], down: FloatMap, across: FloatMap) -> FloatMap:
    """Interpolate a map, whose logarithms are linear between the middles of its cells.

    Parameters
    ----------
    found
        float32 ``(rows, columns, heads)``: natural logarithms.
    blend
        For each head what it counts, 0 or more.
    down, across
        float32: places where to look, 0 being the first row's upper edge and 1 the last one's
        lower edge.

    Returns
    -------
    ndarray
        float32 ``(len(down), len(across))``, >= 0: the sum over heads of blend times importance;
        the same bits on every machine.
    """
    rows, columns, heads = found.shape
    found = np.ascontiguousarray(found)
    shares = np.array(blend, np.float32)
    if found.dtype != np.float32 or shares.shape != (heads,) or down.ndim != 1 or across.ndim != 1:
        raise InputError(
            f"map of {found.dtype} {found.shape}, blend of {shares.shape} and places of "
            f"{down.shape} and {across.shape} do not fit together"
        )
    places = [
        np.ascontiguousarray(at, np.float32) * n for at, n in ((down, rows), (across, columns))
    ]
    scratch = np.empty(columns + len(across), np.float32)
    out = np.empty((len(down), len(across)), np.float32)
    _raw.library().idse_student_spread(
        found.ctypes.data,
        rows,
        columns,
        heads,
        shares.ctypes.data,
        places[0].ctypes.data,
        len(down),
        places[1].ctypes.data,
        len(across),
        scratch.ctypes.data,
        out.ctypes.data,
    )
    return out
