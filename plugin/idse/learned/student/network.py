"""The student as a program of few operations, which torch trains and a small kernel runs.

The way down is MobileNetV2 up to a 16th of the input, or less, with the weights that it learned on
ImageNet (its activations not bounded at 6): some hundreds of pictures teach such a network what a
teacher looks at, but not what objects are. What is finer than a 16th of the input stays as it came;
from there on weights are trained: those at a 16th gently, where a mean over the whole picture says
how much it matters beside others, and those of the way up to a quarter, where each head says how
the importance is spread. Batch normalisation is there in training from scratch only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Samples of the input, and what its sides are multiples of: strides go down to 16.
AREA = 28672
MULTIPLE = 16
# Input = (code value - mean) / std for Y, Cb, Cr at 8 bit.
MEAN = (112.0, 128.0, 128.0)
STD = (64.0, 32.0, 32.0)
# The map has a sample for so many of the input, per side.
STRIDE = 4

# Of batch normalisation.
EPSILON = 1e-5

# Expansion, output channels, repeats and stride of the first: table 2 of Sandler et al.,
# "MobileNetV2: Inverted Residuals and Linear Bottlenecks", up to a 16th of the input.
_STEM = 32
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2))
# The first of them whose weights are trained: the first at a 16th.
_TRAINED = 3
# Channels on the way up, at a 4th, an 8th and a 16th of the input.
_WIDTHS = (32, 64, 96)
# Prefixes of the names of what came from ImageNet: what is not trained, and what is.
_BASE, _TOP = "base", "top"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What tells students for videos and for still pictures apart.

    Attributes
    ----------
    stages
        Of MobileNetV2, see the table.
    depths
        Residual blocks on the way up, at a 4th, an 8th and a 16th of the input.
    gentle
        Share of the rate at which weights are trained that came from ImageNet.
    dropout
        Share of what is known of a whole picture that training leaves out at random.
    levels
        Share of the logarithm of how much a picture matters beside others that is learned.
    """

    stages: tuple[tuple[int, int, int, int], ...]
    depths: tuple[int, int, int]
    gentle: float
    dropout: float
    levels: float


# Half of MobileNetV2, and all that sees a 16th of the input: 13 of its 17 blocks in place of 10.
# Photographs are of more things than a few cameras see: more is known of them beforehand, and few
# pictures soon teach a network to forget it. How much a new photograph matters can hardly be told
# from some hundreds of others, but networks learn their levels by heart: weights/student.md.
VIDEO = Kind(stages=_STAGES, depths=(1, 1, 2), gentle=0.3, dropout=0.0, levels=1.0)
STILLS = Kind(
    stages=(*_STAGES, (6, 96, 3, 1)), depths=(1, 1, 1), gentle=0.05, dropout=0.5, levels=0.5
)


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
        self.prefix = _BASE

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
            name=f"{self.prefix}{len(self.ops)}",
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
            name=f"{self.prefix}{len(self.ops)}",
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


def _base(b: _Builder, kind: Kind) -> list[int]:
    """Append the way down; return the buffers at a 4th, an 8th and a 16th of the input."""
    x = b.conv(0, _STEM, kernel=3, stride=2)
    levels: list[int] = []
    for expansion, channels, repeats, first in kind.stages:
        if len(levels) == _TRAINED:
            b.prefix = _TOP
        for repeat in range(repeats):
            wide = x if expansion == 1 else b.conv(x, expansion * b.channels[x])
            deep = b.depthwise(wide, stride=1 if repeat else first)
            found = b.conv(deep, channels, activation="none")
            x = b.simple("add", x, found) if repeat else found
        levels.append(x)
    return [*levels[1:_TRAINED], x]


def student_program(heads: int, kind: Kind = VIDEO) -> tuple[list[Op], int]:
    """Return the operations of a student with so many heads, and the buffer of its map."""
    b = _Builder()
    *levels, x = _base(b, kind)
    b.prefix = "conv"
    x = b.conv(x, _WIDTHS[-1])
    for _ in range(kind.depths[-1]):
        x = b.residual(x, kernel=5)
    whole = b.conv(b.conv(b.simple("mean", x), _WIDTHS[-1]), _WIDTHS[-1], activation="none")
    x = b.simple("add", x, whole, activation="relu")
    for level, width, depth in zip(
        reversed(levels), reversed(_WIDTHS[:-1]), reversed(kind.depths[:-1]), strict=True
    ):
        up = b.simple("upsample", b.conv(x, width, activation="none"))
        beside = b.conv(level, width, activation="none")
        x = b.simple("add", up, beside, activation="relu")
        for _ in range(depth):
            x = b.residual(x)
    return b.ops, b.conv(x, heads, kernel=3, activation="none")


class StudentNetwork(nn.Module):
    """A program with weights.

    Parameters
    ----------
    ops, output
        As `student_program` returns them.
    normalised
        Whether hidden convolutions that are trained are followed by batch normalisation: to train
        from scratch. Without, they have biases: to go on from what a file holds.

    Attributes
    ----------
    dropout
        Share of the channels of means over planes that are 0 in training.
    """

    def __init__(self, ops: Sequence[Op], output: int, *, normalised: bool) -> None:
        super().__init__()
        self.ops = tuple(ops)
        self.output = output
        self.dropout = 0.0
        # The first operation with weights that are trained, and all after it.
        self._trained = min(op.out for op in ops if op.name and not op.name.startswith(_BASE))
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
            came = op.name.startswith((_BASE, _TOP))
            bare = normalised and not came and op.out != output and op.out not in single
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
            if op.name.startswith(_BASE):
                self.convs[op.name].requires_grad_(requires_grad=False)
        # Dictionaries of their own, so that types are known.
        for kind, modules in (("conv", self.convs), ("norm", self.norms)):
            for name, module in modules.items():
                self.add_module(f"{kind}_{name}", module)

    @property
    def pretrained(self) -> list[nn.Conv2d]:
        """The convolutions that came from ImageNet, in the order in which they run."""
        return [conv for name, conv in self.convs.items() if name.startswith((_BASE, _TOP))]

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
        return self.trained(self.base(x))

    def base(self, x: Tensor) -> dict[int, Tensor]:
        """Return what is not trained says about pictures: the buffers that `trained` reads."""
        buffers = {0: x}
        later: set[int] = set()
        for op in self.ops:
            if op.out < self._trained:
                buffers[op.out] = self._run(op, [buffers[i] for i in op.inputs])
            else:
                later |= set(op.inputs)
        return {i: value for i, value in buffers.items() if i in later}

    def trained(self, buffers: Mapping[int, Tensor]) -> Tensor:
        """Return the map of what `base` returned."""
        found = dict(buffers)
        for op in self.ops:
            if op.out >= self._trained:
                found[op.out] = self._run(op, [found[i] for i in op.inputs])
        return found[self.output]

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
            found = functional.dropout(
                first.mean((2, 3), keepdim=True), self.dropout, self.training
            )
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
