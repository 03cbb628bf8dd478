"""ONNX operators on elements, shapes and axes (https://onnx.ai/onnx/operators/).

Every function takes the node's attributes (and the opset under ``"opset"``), then its inputs, None
for one that was left out. Older opsets give as attributes what newer ones give as inputs; both are
read.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Attributes = dict[str, Any]
Op = Callable[..., Any]

# TensorProto.DataType
_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def as_tensor(array: npt.NDArray[Any]) -> Tensor:
    """Copy a numpy array (scalars included) into a tensor."""
    return torch.from_numpy(np.array(array, order="C"))


def numbers(value: Tensor | list[int] | None) -> list[int] | None:
    """Return shapes, axes and the like as plain integers."""
    return value.tolist() if isinstance(value, Tensor) else value


def _axes(a: Attributes, axes: Tensor | None) -> list[int] | None:
    found = numbers(axes if axes is not None else a.get("axes"))
    return found or None


def _unary(function: Callable[[Tensor], Tensor]) -> Op:
    return lambda _a, x: function(x)


def _binary(function: Callable[[Any, Any], Tensor]) -> Op:
    return lambda _a, x, y: function(x, y)


def _many(function: Callable[[Any, Any], Tensor]) -> Op:
    return lambda _a, *xs: reduce(function, xs)


def _div(_a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    if x.is_floating_point() or y.is_floating_point():
        return x / y
    return torch.div(x, y, rounding_mode="trunc")


def _mod(a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return torch.fmod(x, y) if a.get("fmod") else torch.remainder(x, y)


def _clip(
    a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    minimum = a.get("min") if low is None else low.item()
    maximum = a.get("max") if high is None else high.item()
    if minimum is None and maximum is None:
        return x
    return torch.clamp(x, minimum, maximum)


def _gelu(a: Attributes, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=a.get("approximate", "none"))


def _hard_sigmoid(a: Attributes, x: Tensor) -> Tensor:
    return torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1)


def _prelu(_a: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    result: Tensor = torch.where(x < 0, x * slope, x)
    return result


def _softmax(a: Attributes, x: Tensor, *, log: bool = False) -> Tensor:
    function = functional.log_softmax if log else functional.softmax
    if a["opset"] >= 13:
        return function(x, dim=a.get("axis", -1))
    # Before opset 13 everything from the axis on is one distribution.
    start = a.get("axis", 1) % x.ndim
    return function(x.flatten(start), dim=-1).reshape(x.shape)


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor]) -> Op:
    def op(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = _axes(a, axes)
        if dims is None:
            if a.get("noop_with_empty_axes"):
                return x
            dims = list(range(x.ndim))
        return function(x, dims, bool(a.get("keepdims", 1)))

    return op


def _prod(x: Tensor, dims: list[int], keep: bool) -> Tensor:  # noqa: FBT001 (see _reduce)
    for dim in sorted((d % x.ndim for d in dims), reverse=True):
        x = x.prod(dim, keepdim=keep)
    return x


def _arg_max(a: Attributes, x: Tensor) -> Tensor:
    return x.argmax(a.get("axis", 0), keepdim=bool(a.get("keepdims", 1)))


def _cast(a: Attributes, x: Tensor) -> Tensor:
    dtype = _DTYPES.get(a["to"])
    if dtype is None:
        raise ValueError(f"data type {a['to']} is not supported")
    return x.to(dtype)


def constant(a: Attributes) -> Tensor:
    """Return the value of a Constant node."""
    if "value" in a:
        value: Tensor = a["value"]
        return value
    for name, dtype in (("float", torch.float32), ("int", torch.int64)):
        for key in (f"value_{name}", f"value_{name}s"):
            if key in a:
                return torch.tensor(a[key], dtype=dtype)
    raise ValueError("the constant is neither a number nor a tensor")


def _constant_of_shape(a: Attributes, shape: Tensor) -> Tensor:
    value: Tensor = a.get("value", torch.zeros(1))
    return torch.full(shape.tolist(), value.item(), dtype=value.dtype)


def _shape(a: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(x.shape[a.get("start", 0) : a.get("end", x.ndim)], dtype=torch.int64)


def _reshape(a: Attributes, x: Tensor, shape: Tensor | None = None) -> Tensor:
    wanted = numbers(shape if shape is not None else a["shape"]) or []
    if not a.get("allowzero"):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1)
    # An axis of -k counts from the end; x.ndim itself is allowed and gives one column.
    rows = int(np.prod(x.shape[: axis if axis >= 0 else axis + x.ndim], dtype=np.int64))
    return x.reshape(rows, -1)


def _transpose(a: Attributes, x: Tensor) -> Tensor:
    return x.permute(a.get("perm", list(range(x.ndim))[::-1]))


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = _axes(a, axes) or []
    rank = x.ndim + len(dims)
    for dim in sorted(d % rank for d in dims):
        x = x.unsqueeze(dim)
    return x


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = _axes(a, axes)
    return x.squeeze() if dims is None else x.squeeze(tuple(dims))


def _split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    parts = numbers(sizes if sizes is not None else a.get("split"))
    if parts is None:
        count: int = a["num_outputs"] if "num_outputs" in a else a["n_outputs"]
        each = -(-x.shape[axis] // count)
        parts = [min(each, x.shape[axis] - i * each) for i in range(count)]
    return torch.split(x, parts, axis)


def _slice(  # noqa: PLR0917 (ONNX's inputs)
    a: Attributes,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first = numbers(starts if starts is not None else a["starts"]) or []
    last = numbers(ends if ends is not None else a["ends"]) or []
    dims = _axes(a, axes) or list(range(len(first)))
    for dim, start, end, step in zip(
        dims, first, last, numbers(steps) or [1] * len(first), strict=True
    ):
        length = x.shape[dim]
        if step > 0:
            x = x[(slice(None),) * (dim % x.ndim) + (slice(start, end, step),)]
        else:
            # torch has no negative steps.
            index = torch.tensor(range(length)[slice(start, end, step)], dtype=torch.int64)
            x = x.index_select(dim, index.to(x.device))
    return x


def _gather(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = a.get("axis", 0) % x.ndim
    index = torch.where(index < 0, index + x.shape[axis], index).to(x.device)
    picked = x.index_select(axis, index.flatten())
    return picked.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _expand(_a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    # The wanted shape may have ones where x does not, so this is no plain expand.
    missing = max(0, len(wanted := shape.tolist()) - x.ndim)
    own = (1,) * missing + tuple(x.shape)
    theirs = [1] * (len(own) - len(wanted)) + wanted
    return x.expand([b if a == 1 else a for a, b in zip(own, theirs, strict=True)])


def _tile(_a: Attributes, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(repeats.tolist())


def _range(_a: Attributes, start: Tensor, limit: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


def _concat(a: Attributes, *xs: Tensor) -> Tensor:
    return torch.cat(xs, dim=a["axis"])


def _einsum(a: Attributes, *xs: Tensor) -> Tensor:
    return torch.einsum(a["equation"], *xs)


def _gemm(a: Attributes, x: Tensor, y: Tensor, c: Tensor | None = None) -> Tensor:
    x = x.T if a.get("transA") else x
    y = y.T if a.get("transB") else y
    product = torch.mul(x @ y, a.get("alpha", 1.0))
    return product if c is None else product + a.get("beta", 1.0) * c


def _pow(_a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    # A 0-dimensional exponent as a Python number takes the exact derivative for squares.
    return x ** (y.item() if y.numel() == 1 else y)


OPS: dict[str, Op] = {
    "Abs": _unary(torch.abs),
    "Add": _binary(operator.add),
    "And": _binary(torch.logical_and),
    "ArgMax": _arg_max,
    "Cast": _cast,
    "Ceil": _unary(torch.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Cos": _unary(torch.cos),
    "Div": _div,
    # In inference dropout passes its input through; a mask, if asked for, is never read.
    "Dropout": lambda _a, x, *_rest: x,
    "Einsum": _einsum,
    "Elu": lambda a, x: functional.elu(x, a.get("alpha", 1.0)),
    "Equal": _binary(operator.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(torch.floor),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "Greater": _binary(operator.gt),
    "GreaterOrEqual": _binary(operator.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _unary(functional.hardswish),
    "Identity": lambda _a, x: x,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "Less": _binary(operator.lt),
    "LessOrEqual": _binary(operator.le),
    "Log": _unary(torch.log),
    "LogSoftmax": lambda a, x: _softmax(a, x, log=True),
    "MatMul": _binary(operator.matmul),
    "Max": _many(torch.maximum),
    "Min": _many(torch.minimum),
    "Mish": _unary(functional.mish),
    "Mod": _mod,
    "Mul": _binary(operator.mul),
    "Neg": _unary(torch.neg),
    "Not": _unary(torch.logical_not),
    "Or": _binary(torch.logical_or),
    "PRelu": _prelu,
    "Pow": _pow,
    "Range": _range,
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL2": _reduce(lambda x, dims, keep: x.square().sum(dims, keepdim=keep).sqrt()),
    "ReduceMax": _reduce(lambda x, dims, keep: x.amax(dims, keepdim=keep)),
    "ReduceMean": _reduce(lambda x, dims, keep: x.mean(dims, keepdim=keep)),
    "ReduceMin": _reduce(lambda x, dims, keep: x.amin(dims, keepdim=keep)),
    "ReduceProd": _reduce(_prod),
    "ReduceSum": _reduce(lambda x, dims, keep: x.sum(dims, keepdim=keep)),
    "Relu": _unary(torch.relu),
    "Reshape": _reshape,
    "Round": _unary(torch.round),
    "Shape": _shape,
    "Sigmoid": _unary(torch.sigmoid),
    "Sin": _unary(torch.sin),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _unary(functional.softplus),
    "Split": _split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(operator.sub),
    "Sum": _many(operator.add),
    "Tanh": _unary(torch.tanh),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": lambda _a, condition, x, y: torch.where(condition, x, y),
}
