"""Networks of whole numbers: the hyper-synthesis that entropy parameters come from.

What a stream's probabilities depend on must come out the same on every machine. Sums of floats do
not: their order depends on the library, its threads and the CPU. So every value here is a whole
number, held in float64 because that is what every BLAS multiplies fast, and no sum can pass 2^53,
below which float64 adds whole numbers exactly in any order, with or without fused multiply-add.
Each layer's bound is computed from its weights when it is made, and what breaks it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from idse.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

Whole = npt.NDArray[np.float64]

# Rounded hyper latents are clipped to this, in either direction.
MAX_INPUT: Final = 1 << 12

# And everything a layer returns to this.
MAX_ACTIVATION: Final = 1 << 23

# Binary places after the point in everything a layer returns.
FRACTION: Final = 10

_EXACT: Final = 1 << 53
_MAX_SHIFT: Final = 48


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerLayer:
    """A convolution, then what follows it.

    Attributes
    ----------
    weight : int16 array ``(outputs, inputs, k, k)``
        k odd; zeros around the plane.
    bias : int64 array ``(outputs,)``
        In units of the sums.
    shift : uint8 array ``(outputs,)``
        Sums are divided by 2^shift and rounded, halves up; at most 48.
    shuffle
        2: groups of four outputs become one channel of twice the size (output 4 c + 2 i + j is row
        i, column j of each 2x2 in channel c), which is what a transposed convolution of stride 2
        amounts to; 1: nothing.
    relu
        Whether negative results become 0.
    """

    weight: npt.NDArray[np.int16]
    bias: npt.NDArray[np.int64]
    shift: npt.NDArray[np.uint8]
    shuffle: int
    relu: bool

    @property
    def outputs(self) -> int:
        """Channels, after the shuffle."""
        return len(self.weight) // self.shuffle**2

    def check(self, limit: int) -> None:
        """Prove that inputs of at most ``limit`` give exact sums.

        Raises
        ------
        ModelError
            They might not; or the layer's arrays are of another kind or contradict each other.
        """
        weight, bias, shift = self.weight, self.bias, self.shift
        kinds = (weight.dtype, bias.dtype, shift.dtype)
        if kinds != (np.dtype(np.int16), np.dtype(np.int64), np.dtype(np.uint8)):
            raise ModelError(f"an integer layer of {', '.join(map(str, kinds))} is not this kind")
        if (
            weight.ndim != 4
            or weight.shape[2] != weight.shape[3]
            or weight.shape[2] % 2 == 0
            or bias.shape != weight.shape[:1]
            or shift.shape != weight.shape[:1]
            or self.shuffle not in (1, 2)
            or not self.outputs
            or len(weight) % self.shuffle**2
        ):
            raise ModelError(f"an integer layer of shape {weight.shape} contradicts itself")
        if shift.max() > _MAX_SHIFT:
            raise ModelError(f"an integer layer divides by 2^{shift.max()}, at most 2^{_MAX_SHIFT}")
        sums = np.abs(weight.astype(np.int64)).sum(axis=(1, 2, 3))
        rounding = 1 << _MAX_SHIFT
        for total, offset in zip(sums.tolist(), bias.tolist(), strict=True):
            if total * limit + abs(offset) + rounding >= _EXACT:
                raise ModelError("an integer layer's sums could pass 2^53: its model is damaged")

    def run(self, x: Whole) -> Whole:
        """Return ``(outputs, h s, w s)`` of ``(inputs, h, w)``, whole numbers both; s `shuffle`."""
        weight = self.weight
        kernel = weight.shape[2]
        height, width = x.shape[1:]
        padded = np.pad(x, [(0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
        columns = windows.reshape(-1, height * width)
        sums = weight.reshape(len(weight), -1).astype(np.float64) @ columns
        sums += self.bias[:, None].astype(np.float64)
        # Exact: scaling by powers of two, and a half at most 48 places down from 53.
        sums *= np.exp2(-self.shift.astype(np.float64))[:, None]
        sums += 0.5
        np.floor(sums, out=sums)
        np.clip(sums, 0 if self.relu else -MAX_ACTIVATION, MAX_ACTIVATION, out=sums)
        if self.shuffle == 1:
            return sums.reshape(-1, height, width)
        s = self.shuffle
        grid = sums.reshape(-1, s, s, height, width).transpose(0, 3, 1, 4, 2)
        return grid.reshape(-1, height * s, width * s)


class IntegerNetwork:
    """Layers one after the other.

    Parameters
    ----------
    layers
        At least one.

    Attributes
    ----------
    scale
        Outputs per input, along either side.
    halo
        How many inputs around a span of them its outputs depend on.

    Raises
    ------
    ModelError
        Layers do not fit each other, or sums could be inexact.
    """

    def __init__(self, layers: Sequence[IntegerLayer]) -> None:
        if not layers:
            raise ModelError("an integer network needs at least one layer")
        limit, scale, reach = MAX_INPUT, 1, 0.0
        for before, layer in zip((None, *layers), layers, strict=False):
            layer.check(limit)
            if before is not None and before.outputs != layer.weight.shape[1]:
                raise ModelError(
                    f"a layer of {layer.weight.shape[1]} inputs follows one of {before.outputs} "
                    "outputs"
                )
            limit = MAX_ACTIVATION
            reach += layer.weight.shape[2] // 2 / scale
            scale *= layer.shuffle
        self.layers = tuple(layers)
        self.scale = scale
        self.halo = int(np.ceil(reach))

    @property
    def inputs(self) -> int:
        """Channels that `run` takes."""
        return int(self.layers[0].weight.shape[1])

    @property
    def outputs(self) -> int:
        """Channels that `run` returns."""
        return self.layers[-1].outputs

    def run(self, values: npt.NDArray[np.int32], start: int, end: int) -> npt.NDArray[np.int32]:
        """Return the outputs that belong to some rows of a plane.

        Parameters
        ----------
        values : int32 array ``(inputs, rows, columns)``
            The whole plane; clipped to +-`MAX_INPUT`.
        start, end
            Rows of it.

        Returns
        -------
        int32 array ``(outputs, scale (end - start), scale columns)``
            In units of 2^-`FRACTION`; the same whichever rows are asked for together.
        """
        top, bottom = max(start - self.halo, 0), min(end + self.halo, values.shape[1])
        x = np.clip(values[:, top:bottom], -MAX_INPUT, MAX_INPUT).astype(np.float64)
        for layer in self.layers:
            x = layer.run(x)
        rows = slice((start - top) * self.scale, (end - top) * self.scale)
        return x[:, rows].astype(np.int32)
