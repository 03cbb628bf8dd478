"""A picture's latents, ready to be coded at any step."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from idse.codecs.vae.integers import MAX_INPUT
from idse.codecs.vae.prior import OCTAVE
from idse.codecs.vae.tables import MAX_VALUE, SymbolReader, SymbolWriter
from idse.codecs.vae.tiling import round_up, tiled
from idse.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from idse.codecs.vae.network import Network
    from idse.codecs.vae.prior import Prior
    from idse.codecs.vae.tables import Integers

# Latents per feature map in a band: what entropy coding holds at once. Part of the format.
_BAND: Final = 4096

# Sides of tiles, in samples: what the transforms hold at once. Not part of the format.
TILE: Final = 768
_HYPER_TILE: Final = 2048


def bands(prior: Prior, rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield first and last row (excluded) of every band, in units of the coarsest latents.

    Parameters
    ----------
    prior
        Knows how many latents one of those is.
    rows, columns
        Of latents.
    """
    count = rows // prior.scale
    height = max(_BAND // (prior.scale * columns), 1)
    for start in range(0, count, height):
        yield start, min(start + height, count)


def grid(network: Network, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of latents of a picture."""
    stride = network.transforms.stride
    return round_up(height, network.unit) // stride, round_up(width, network.unit) // stride


def side_index(prior: Prior, z: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Return the table of every hyper latent of a plane ``(rows, columns)``, flat."""
    return np.repeat(np.arange(len(prior.side or ()), dtype=np.int32), z[0] * z[1])


class Latents:
    """What analysis made of a picture.

    Parameters
    ----------
    pixels : uint8 array ``(height, width, 3)``
        R'G'B'.
    network
        Runs once, here.

    Attributes
    ----------
    network
        As given.
    height, width
        Of the picture.
    side
        Hyper latents and their tables, flat; None where the model has none.
    side_bits
        What they take.

    Raises
    ------
    CodecError
        The network returned what is not finite.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8], network: Network) -> None:
        self.network = network
        self.height, self.width = pixels.shape[:2]
        self._prior = prior = network.prior
        rows, columns = grid(network, *pixels.shape[:2])
        y = _analyse(pixels, network, (rows, columns))
        z = _hyper_analyse(y, network)
        self._spreads = np.empty(y.shape, np.int16)
        self._bands = list(bands(prior, rows, columns))
        base = prior.delta(0)
        for start, end in self._bands:
            band = self._rows(start, end)
            means, self._spreads[band] = prior.parameters(z, start, end, columns)
            y[band] -= means * np.float32(1 / OCTAVE)
            y[band] /= base
        # In units of each feature map's own step, as far from its mean as it is.
        self._distances = y
        self.side: tuple[Integers, npt.NDArray[np.int32]] | None = None
        self.side_bits = 0.0
        if z is not None and prior.side is not None:
            self.side = z.ravel(), side_index(prior, z.shape[1:])
            self.side_bits = prior.side.bits(*self.side)

    def _rows(self, start: int, end: int) -> tuple[slice, slice]:
        return np.s_[:, start * self._prior.scale : end * self._prior.scale]

    def scaled(self, step: int) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]]:
        """Yield band after band: how many steps latents are from their mean, and their tables.

        Both are ``(latents, h, w)``; the step is as of `bits`.
        """
        scale = np.float32(2.0 ** (-step / OCTAVE))
        for start, end in self._bands:
            band = self._rows(start, end)
            yield self._distances[band] * scale, self._prior.index(self._spreads[band], step)

    def coded(
        self, step: int, deadzone: float = 0.0
    ) -> Iterator[tuple[Integers, npt.NDArray[np.int32]]]:
        """Yield every band's values and tables, flat; parameters as of `bits`."""
        scale = np.float32(2.0 ** (-step / OCTAVE))
        for start, end in self._bands:
            band = self._rows(start, end)
            values = self._distances[band] * scale
            if deadzone:
                nearer = np.maximum(np.abs(values) - np.float32(deadzone), 0)
                np.copysign(nearer, values, out=values)
            np.rint(values, out=values)
            np.clip(values, -MAX_VALUE, MAX_VALUE, out=values)
            index = self._prior.index(self._spreads[band], step)
            yield values.astype(np.int32).ravel(), index.ravel()

    def bits(self, step: int, deadzone: float = 0.0) -> float:
        """Return the size of the payload at a step, in bits, but for its last two bytes.

        Parameters
        ----------
        step
            1024 times the binary logarithm of the step.
        deadzone
            How much of a step latents are moved towards their mean before they are rounded.
        """
        coded = self.coded(step, deadzone)
        return self.side_bits + sum(self._prior.tables.bits(v, i) for v, i in coded)

    def write(self, step: int, deadzone: float = 0.0) -> bytes:
        """Return the payload; parameters as of `bits`."""
        writer = SymbolWriter()
        if self.side is not None and self._prior.side is not None:
            writer.write(self._prior.side, *self.side)
        for values, index in self.coded(step, deadzone):
            writer.write(self._prior.tables, values, index)
        return writer.finish()


def _analyse(
    pixels: npt.NDArray[np.uint8], network: Network, shape: tuple[int, int]
) -> npt.NDArray[np.float32]:
    transforms = network.transforms
    y = np.empty((network.prior.latents, *shape), np.float32)
    tiled(
        transforms.analyse,
        pixels.transpose(2, 0, 1),
        y,
        ratio=Fraction(1, transforms.stride),
        unit=network.unit,
        core=round_up(TILE, network.unit),
        halo=transforms.analysis_halo,
    )
    if not np.isfinite(y).all():
        raise CodecError(f"the analysis of model {network.name} returned what is not a number")
    return y


def _hyper_analyse(y: npt.NDArray[np.float32], network: Network) -> Integers | None:
    prior, transforms = network.prior, network.transforms
    if prior.side is None:
        return None
    scale = prior.scale
    z = np.empty((len(prior.side), y.shape[1] // scale, y.shape[2] // scale), np.float32)
    tiled(
        transforms.hyper_analyse,
        y,
        z,
        ratio=Fraction(1, scale),
        unit=scale,
        core=round_up(_HYPER_TILE // transforms.stride, scale),
        halo=transforms.hyper_halo,
    )
    if not np.isfinite(z).all():
        raise CodecError(f"the analysis of model {network.name} returned what is not a number")
    return np.clip(np.rint(z), -MAX_INPUT, MAX_INPUT).astype(np.int32)


def read(
    payload: bytes | memoryview, prior: Prior, rows: int, columns: int, step: int
) -> npt.NDArray[np.float32]:
    """Return the latents ``(latents, rows, columns)`` that a payload holds.

    Parameters
    ----------
    payload
        From `Latents.write`.
    prior
        Of the same model.
    rows, columns
        From `grid`.
    step
        What it was written at.

    Raises
    ------
    InputError
        The payload is impossible.
    """
    reader = SymbolReader(payload)
    z: Integers | None = None
    if prior.side is not None:
        shape = rows // prior.scale, columns // prior.scale
        z = reader.read(prior.side, side_index(prior, shape)).reshape(-1, *shape)
    y = np.empty((prior.latents, rows, columns), np.float32)
    for start, end in bands(prior, rows, columns):
        means, spreads = prior.parameters(z, start, end, columns)
        index = prior.index(spreads, step)
        values = reader.read(prior.tables, index.ravel()).reshape(index.shape)
        y[:, start * prior.scale : end * prior.scale] = prior.dequantise(values, means, step)
    return y
