"""From trained networks to what students' files hold, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from idse.errors import ModelError
from idse.learned.student.engine import Engine
from idse.learned.student.file import StudentFile, StudentOp
from idse.learned.student.network import AREA, EPSILON, MEAN, MULTIPLE, STD, Op, StudentNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from torch import Tensor, nn

    from idse.learned.student.examples import Unit

Arrays = dict[str, "npt.NDArray[np.float32]"]

_WEIGHT, _BIAS = ".weight", ".bias"


def folded(network: StudentNetwork) -> Arrays:
    """Return the weights of a network with its batch normalisation folded into them.

    Returns
    -------
    dict
        ``NAME.weight``, float32 ``(out, rows, columns, in / groups)``, and ``NAME.bias``, float32.
    """
    found: Arrays = {}
    with torch.no_grad():
        for name, conv in network.convs.items():
            weight, bias = conv.weight.double(), conv.bias
            bias = weight.new_zeros(len(weight)) if bias is None else bias.double()
            if name in network.norms:
                scale, shift = _affine(network.norms[name])
                weight, bias = weight * scale[:, None, None, None], bias * scale + shift
            shaped = weight.permute(0, 2, 3, 1).contiguous()
            found[f"{name}{_WEIGHT}"] = shaped.numpy().astype(np.float32)
            found[f"{name}{_BIAS}"] = bias.numpy().astype(np.float32)
    return found


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return what batch normalisation multiplies with and adds once it is trained."""
    state = {name: value.double() for name, value in norm.state_dict().items()}
    scale = state["weight"] / (state["running_var"] + EPSILON).sqrt()
    return scale, state["bias"] - state["running_mean"] * scale


def exported(
    network: StudentNetwork,
    *,
    heads: Sequence[str],
    blend: Sequence[float],
    units: Sequence[Unit],
    card: Mapping[str, Any],
    area: int = AREA,
) -> StudentFile:
    """Return a student, for `idse.learned.student.file.write_student`.

    Parameters
    ----------
    network
        Trained.
    heads, blend, units
        Names of the teachers, what each counts in the default map, and their units.
    card
        How it was made.
    area
        Samples of the input that it was trained on.
    """
    return StudentFile(
        area=area,
        multiple=MULTIPLE,
        mean=MEAN,
        std=STD,
        heads=tuple(heads),
        blend=tuple(blend),
        teachers=tuple(dict(unit.teacher) for unit in units),
        ops=tuple(_described(op) for op in network.ops),
        map=network.output,
        tensors=folded(network),
        autocorrelation=np.stack([unit.autocorrelation for unit in units]).astype(np.float32),
        card=dict(card),
    )


def _described(op: Op) -> StudentOp:
    conv = op.op == "conv"
    return StudentOp(
        op=op.op,
        inputs=op.inputs,
        out=op.out,
        relu=op.activation == "relu",
        weight=f"{op.name}{_WEIGHT}" if conv else "",
        bias=f"{op.name}{_BIAS}" if conv else "",
        stride=op.stride,
        groups=op.channels if op.depthwise else 1,
    )


def resumed(student: StudentFile, heads: Sequence[str]) -> StudentNetwork:
    """Return a network that goes on from what a student has learned.

    Parameters
    ----------
    student
        As `exported` returned it, and as it is read from a file.
    heads
        Of the network. One that the student has too begins as it is there, others as the mean of
        all.

    Raises
    ------
    ModelError
        The student cannot be run, or was not made by `exported`.
    LibraryLoadError
        The library that runs students is missing.
    """
    Engine(student)  # what runs operations checks whether they fit together
    if (student.multiple, student.mean, student.std) != (MULTIPLE, MEAN, STD):
        raise ModelError(
            f"a student whose input has a mean of {student.mean}, deviations of {student.std} and "
            f"sides that are multiples of {student.multiple} is no start for another one"
        )
    tensors = dict(student.tensors)
    last = [op for op in student.ops if op.out == student.map]
    for name in {name for op in last for name in (op.weight, op.bias)} & set(tensors):
        tensors[name] = _rows(tensors[name], student.heads, heads)
    network = StudentNetwork(_program(student, tensors), student.map, normalised=False)
    with torch.no_grad():
        for name, conv in network.convs.items():
            assert conv.bias is not None
            conv.weight.copy_(torch.from_numpy(tensors[f"{name}{_WEIGHT}"]).permute(0, 3, 1, 2))
            conv.bias.copy_(torch.from_numpy(tensors[f"{name}{_BIAS}"]))
    return network


def _program(student: StudentFile, tensors: Mapping[str, npt.NDArray[np.float32]]) -> list[Op]:
    """Return the operations of a student, which fit together."""
    channels = {0: len(MEAN)}
    found: list[Op] = []
    for op in student.ops:
        conv = op.op == "conv"
        name = op.weight.removesuffix(_WEIGHT)
        if conv and ((op.weight, op.bias) != (name + _WEIGHT, name + _BIAS) or "." in name):
            raise ModelError(
                f"a student whose weights are called {op.weight!r} and {op.bias!r} is no start for "
                f"another one: expected NAME{_WEIGHT} and NAME{_BIAS}"
            )
        shape = tensors[op.weight].shape if conv else (channels[op.inputs[0]], 1)
        made = Op(
            op=op.op,
            inputs=op.inputs,
            out=op.out,
            activation="relu" if op.relu else "none",
            name=name,
            channels=shape[0],
            kernel=shape[1],
            stride=op.stride,
            depthwise=op.groups > 1,
        )
        found.append(made)
        whole = [channels[i] for i in op.inputs]
        channels[op.out] = sum(whole) if op.op == "concat" else made.channels
    return found


def _rows(
    values: npt.NDArray[np.float32], known: Sequence[str], wanted: Sequence[str]
) -> npt.NDArray[np.float32]:
    mean = values.mean(0)
    rows = [values[known.index(name)] if name in known else mean for name in wanted]
    return np.stack(rows).astype(np.float32)
