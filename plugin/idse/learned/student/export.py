"""Students as files: one safetensors file that says what to compute, readable without torch.

Metadata: ``format`` ``"idse-student"``, ``version`` ``"1"``, and as JSON ``input`` (``area``,
``multiple``, ``mean``, ``std``), ``heads`` (see `idse.learned.student.card`), ``blend``,
``program``, ``map`` and ``card``. Tensors: weights float16 ``(out, rows, columns, in / groups)``,
biases float32, and ``autocorrelation``, float32 ``(heads, 3, lags, lags)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from idse.learned.student.network import AREA, MEAN, MULTIPLE, STD, Op, StudentNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

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
    scale = state["weight"] / (state["running_var"] + 1e-5).sqrt()
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


def described_input() -> dict[str, Any]:
    """Return what the file says about the network's input."""
    return {"area": AREA, "multiple": MULTIPLE, "mean": list(MEAN), "std": list(STD)}
