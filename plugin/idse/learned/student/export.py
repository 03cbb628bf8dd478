"""From trained networks to students' files (see `idse.learned.student.file`), and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import save

from idse.errors import ModelError
from idse.files import write_atomically
from idse.learned.student.file import FORMAT, VERSION
from idse.learned.student.network import AREA, EPSILON, MEAN, MULTIPLE, STD, Op, StudentNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor, nn

    from idse.learned.student.examples import Unit
    from idse.learned.student.file import StudentFile

Arrays = dict[str, "npt.NDArray[Any]"]


def folded(network: StudentNetwork) -> Arrays:
    """Return the weights of a network with its batch normalisation folded into them.

    Returns
    -------
    dict
        ``NAME.weight``, float16 ``(out, rows, columns, in / groups)``, and ``NAME.bias``, float32.
    """
    found: Arrays = {}
    with torch.no_grad():
        for name, conv in network.convs.items():
            weight, bias = conv.weight.double(), conv.bias
            bias = weight.new_zeros(len(weight)) if bias is None else bias.double()
            if name in network.norms:
                scale, shift = _affine(network.norms[name])
                weight, bias = weight * scale[:, None, None, None], bias * scale + shift
            found[f"{name}.weight"] = weight.permute(0, 2, 3, 1).contiguous().numpy().astype("f2")
            found[f"{name}.bias"] = bias.numpy().astype("f4")
    return found


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return what batch normalisation multiplies with and adds once it is trained."""
    state = {name: value.double() for name, value in norm.state_dict().items()}
    scale = state["weight"] / (state["running_var"] + EPSILON).sqrt()
    return scale, state["bias"] - state["running_mean"] * scale


def described(ops: Sequence[Op]) -> list[dict[str, Any]]:
    """Return a program as the file has it."""
    found: list[dict[str, Any]] = []
    for op in ops:
        item: dict[str, Any] = {"op": op.op, "out": op.out}
        item["in"] = list(op.inputs) if len(op.inputs) > 1 else op.inputs[0]
        if op.op in {"conv", "add"}:
            item["activation"] = op.activation
        if op.op == "conv":
            item |= {"weight": f"{op.name}.weight", "bias": f"{op.name}.bias"}
            item |= {"stride": op.stride, "groups": op.channels if op.depthwise else 1}
        found.append(item)
    return found


def write_student(
    path: Path,
    network: StudentNetwork,
    *,
    heads: Sequence[str],
    blend: Sequence[float],
    units: Sequence[Unit],
    card: Mapping[str, Any],
) -> None:
    """Write a student.

    Parameters
    ----------
    path
        Where to.
    network
        Trained.
    heads, blend, units
        Names of the teachers, what each counts in the default map, and their units.
    card
        How it was made.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    autocorrelation = np.stack([unit.autocorrelation for unit in units]).astype(np.float32)
    facts = {
        "input": described_input(),
        "heads": list(heads),
        "blend": list(blend),
        "teachers": [dict(unit.teacher) for unit in units],
        "program": described(network.ops),
        "map": network.output,
        "card": dict(card),
    }
    metadata = {name: json.dumps(value) for name, value in facts.items()}
    metadata |= {"format": FORMAT, "version": VERSION}
    data = save(folded(network) | {"autocorrelation": autocorrelation}, metadata)
    write_atomically(path, data)


def load_folded(network: StudentNetwork, student: StudentFile, heads: Sequence[str]) -> None:
    """Take over a student's weights, as a start for another one.

    Parameters
    ----------
    network
        Not normalised.
    student
        Of the same program, but for the number of heads.
    heads
        Those of ``network``. One that the student has too begins as it is there, others as the
        mean of all.

    Raises
    ------
    ModelError
        The student is of another program.
    """
    last = next(op.name for op in network.ops if op.out == network.output)
    with torch.no_grad():
        for name, conv in network.convs.items():
            weight, bias = (student.tensors.get(f"{name}.{part}") for part in ("weight", "bias"))
            if weight is None or bias is None or conv.bias is None:
                raise ModelError(f"a student without {name} is no start for this one")
            if name == last:
                weight, bias = (_rows(value, student.heads, heads) for value in (weight, bias))
            shaped = torch.from_numpy(weight).permute(0, 3, 1, 2)
            if shaped.shape != conv.weight.shape:
                raise ModelError(
                    f"a student whose {name} is {tuple(shaped.shape)} is no start for one of "
                    f"{tuple(conv.weight.shape)}"
                )
            conv.weight.copy_(shaped)
            conv.bias.copy_(torch.from_numpy(bias))


def _rows(
    values: npt.NDArray[np.float32], known: Sequence[str], wanted: Sequence[str]
) -> npt.NDArray[np.float32]:
    mean = values.mean(0)
    rows = [values[known.index(name)] if name in known else mean for name in wanted]
    return np.stack(rows).astype(np.float32)


def described_input() -> dict[str, Any]:
    """Return what the file says about the network's input."""
    return {"area": AREA, "multiple": MULTIPLE, "mean": list(MEAN), "std": list(STD)}
