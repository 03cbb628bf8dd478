"""The student as a program of few operations, which torch trains and a small kernel runs.

A U of depthwise separable convolutions: down to a 32nd of the input, where a mean over the whole
picture says how much it matters beside others, and back up to a quarter, where each head says how
the importance is spread. Batch normalisation is there in training only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

# Samples of the input, and what its sides are multiples of: strides go down to 32.
AREA = 61440
MULTIPLE = 32
# Input = (code value - mean) / std for Y, Cb, Cr at 8 bit.
MEAN = (112.0, 128.0, 128.0)
STD = (64.0, 32.0, 32.0)
# The map has a sample for so many of the input, per side.
STRIDE = 4

# Of batch normalisation.
EPSILON = 1e-5

_WIDTHS = (16, 32, 64, 96, 128)  # channels at strides 2, 4, 8, 16, 32
_DEPTHS = (0, 1, 2, 3, 3)  # residual blocks at those strides, on the way down


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation over numbered buffers; buffer 0 is the input.

    Attributes
    ----------
    op
        ``"conv"``, ``"upsample"`` (nearest, twice each side), ``"add"`` (of two buffers, the second
        may be 1x1), ``"concat"`` (of two buffers' channels) or ``"mean"`` (over the plane: 1x1).
    inputs
        Buffers that are read.
    out
        Buffer that is written, once.
    activation
        ``"none"`` or ``"relu"``; for convolutions and additions.
    name, channels, kernel, stride, depthwise
        Of convolutions: the name of the weights, output channels, side of the kernel (odd, padded
        by half of it), 1 or 2, and whether every channel is filtered by itself.
    """

    op: str
    inputs: tuple[int, ...]
    out: int
    activation: str = "none"
    name: str = ""
    channels: int = 0
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False


class _Builder:
    """Writes a program down, and how many channels its buffers have."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.channels = [3]

    def _push(self, op: Op) -> int:
        self.ops.append(op)
        self.channels.append(op.channels)
        return op.out

    def conv(
        self, x: int, channels: int, kernel: int = 1, stride: int = 1, activation: str = "relu"
    ) -> int:
        """Append a dense convolution."""
        made = Op(
            op="conv",
            inputs=(x,),
            out=len(self.channels),
            activation=activation,
            name=f"conv{len(self.ops)}",
            channels=channels,
            kernel=kernel,
            stride=stride,
        )
        return self._push(made)

    def depthwise(self, x: int, kernel: int = 3, stride: int = 1) -> int:
        """Append a convolution of every channel by itself."""
        made = Op(
            op="conv",
            inputs=(x,),
            out=len(self.channels),
            activation="relu",
            name=f"conv{len(self.ops)}",
            channels=self.channels[x],
            kernel=kernel,
            stride=stride,
            depthwise=True,
        )
        return self._push(made)

    def simple(self, op: str, *inputs: int, activation: str = "none") -> int:
        """Append an operation without weights that keeps the first input's channels."""
        made = Op(
            op=op,
            inputs=inputs,
            out=len(self.channels),
            activation=activation,
            channels=self.channels[inputs[0]],
        )
        return self._push(made)

    def residual(self, x: int, kernel: int = 3) -> int:
        """Append a block that adds what it computes to its input."""
        change = self.conv(self.depthwise(x, kernel), self.channels[x], activation="none")
        return self.simple("add", x, change, activation="relu")


def student_program(heads: int) -> tuple[list[Op], int]:
    """Return the operations of a student with so many heads, and the buffer of its map."""
    b = _Builder()
    x = b.conv(0, _WIDTHS[0], kernel=3, stride=2)
    levels = []
    for width, depth in zip(_WIDTHS[1:], _DEPTHS[1:], strict=True):
        x = b.conv(b.depthwise(x, stride=2), width)
        kernel = 5 if width == _WIDTHS[-1] else 3
        for _ in range(depth):
            x = b.residual(x, kernel)
        levels.append(x)
    whole = b.conv(b.conv(b.simple("mean", x), _WIDTHS[-1]), _WIDTHS[-1], activation="none")
    x = b.simple("add", x, whole, activation="relu")
    for level in reversed(levels[:-1]):
        up = b.simple("upsample", b.conv(x, b.channels[level], activation="none"))
        x = b.residual(b.simple("add", level, up, activation="relu"))
    return b.ops, b.conv(x, heads, kernel=3, activation="none")


class StudentNetwork(nn.Module):
    """A program with weights.

    Parameters
    ----------
    ops, output
        As `student_program` returns them.
    normalised
        Whether hidden convolutions are followed by batch normalisation: to train from scratch.
        Without, they have biases: to go on from what a file holds.
    """

    def __init__(self, ops: Sequence[Op], output: int, *, normalised: bool) -> None:
        super().__init__()
        self.ops = tuple(ops)
        self.output = output
        self.convs: dict[str, nn.Conv2d] = {}
        self.norms: dict[str, nn.BatchNorm2d] = {}
        channels = {0: 3}
        single = {op.out for op in self.ops if op.op == "mean"}
        for op in self.ops:
            count = sum(channels[i] for i in op.inputs) if op.op == "concat" else op.channels
            channels[op.out] = count
            if op.op != "conv":
                continue
            if op.inputs[0] in single:
                single.add(op.out)
            # A single sample is nothing to normalise by.
            bare = normalised and op.out != output and op.out not in single
            self.convs[op.name] = nn.Conv2d(
                channels[op.inputs[0]],
                op.channels,
                op.kernel,
                op.stride,
                op.kernel // 2,
                groups=op.channels if op.depthwise else 1,
                bias=not bare,
            )
            if bare:
                self.norms[op.name] = nn.BatchNorm2d(op.channels, eps=EPSILON)
        # Dictionaries of their own, so that types are known.
        for kind, modules in (("conv", self.convs), ("norm", self.norms)):
            for name, module in modules.items():
                self.add_module(f"{kind}_{name}", module)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of normalised pictures.

        Parameters
        ----------
        x
            ``(n, 3, rows, columns)``, sides multiples of `MULTIPLE`.

        Returns
        -------
        Tensor
            ``(n, heads, rows / STRIDE, columns / STRIDE)``.
        """
        buffers = {0: x}
        for op in self.ops:
            buffers[op.out] = self._run(op, [buffers[i] for i in op.inputs])
        return buffers[self.output]

    def _run(self, op: Op, inputs: list[Tensor]) -> Tensor:
        first = inputs[0]
        if op.op == "conv":
            found: Tensor = self.convs[op.name](first)
            if op.name in self.norms:
                found = self.norms[op.name](found)
        elif op.op == "upsample":
            found = functional.interpolate(first, scale_factor=2, mode="nearest")
        elif op.op == "add":
            found = first + inputs[1]
        elif op.op == "concat":
            found = torch.cat(inputs, dim=1)
        else:
            found = first.mean((2, 3), keepdim=True)
        return functional.relu(found) if op.activation == "relu" else found


def multiply_adds(ops: Sequence[Op], rows: int, columns: int) -> int:
    """Count the multiplications of a program's convolutions for an input of so many samples."""
    sizes = {0: (rows, columns, 3)}
    total = 0
    for op in ops:
        height, width, count = sizes[op.inputs[0]]
        if op.op == "conv":
            height, width = -(-height // op.stride), -(-width // op.stride)
            total += height * width * op.channels * op.kernel**2 * (1 if op.depthwise else count)
        elif op.op == "upsample":
            height, width = 2 * height, 2 * width
        elif op.op == "mean":
            height = width = 1
        count = op.channels if op.op != "concat" else sum(sizes[i][2] for i in op.inputs)
        sizes[op.out] = (height, width, count)
    return total
