"""From hyper latents and a step to the table of every latent: whole numbers throughout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from idse.codecs.vae.integers import FRACTION
from idse.errors import ModelError

if TYPE_CHECKING:
    from idse.codecs.vae.integers import IntegerNetwork
    from idse.codecs.vae.tables import EntropyTables, Integers

# Binary logarithms (steps, scales) are whole multiples of this part of an octave, 2^-10: the
# rate changes by less than a thousandth from one step to the next.
OCTAVE: Final = 1 << FRACTION

# Tables follow each other by an eighth of an octave. A scale that is wrong by a sixteenth costs
# 0.2 % of a nat.
_SPACING: Final = OCTAVE // 8

_LONGEST: Final = 32 * OCTAVE - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """Everything that says how likely latents are; all of it is part of a model's identity.

    With ``log2`` in units of 2^-10 octaves, latents y are coded as v = round((y - mean) / Delta)
    of Delta = 2^((step + base_c) / 1024), and v has the table of the place
    (spread - step - first) / 128 (rounded, and clipped to what there is), where spread is log2 of
    the latent's scale less base_c. Without hyper latents mean and spread are 0.

    Attributes
    ----------
    tables
        Of v. With hyper latents: places, from finest (v nearly always 0). Without: as many places
        for every feature map, map after map.
    first
        What the first place stands for: log2(scale / Delta); without hyper latents the negative
        of the step.
    base : int16 array ``(latents,)``
        log2 of each feature map's own step.
    hyper
        h_s: hyper latents to means and spreads, ``2 latents`` channels; None without.
    side
        Tables of the hyper latents, one per feature map; None without.
    """

    tables: EntropyTables
    first: int
    base: npt.NDArray[np.int16]
    hyper: IntegerNetwork | None = None
    side: EntropyTables | None = None

    def __post_init__(self) -> None:
        groups = 1 if self.hyper else len(self.base)
        if self.base.ndim != 1 or not groups or len(self.tables) % groups:
            raise ModelError("the model's steps and tables contradict each other")
        if self.base.dtype != np.int16:
            raise ModelError(f"the model's steps are {self.base.dtype}, expected int16")
        if abs(self.first) > _LONGEST:
            raise ModelError(f"first place {self.first} is beyond 32 octaves")
        if (self.hyper is None) != (self.side is None):
            raise ModelError("hyper-synthesis and tables of hyper latents need each other")
        if self.hyper is None or self.side is None:
            return
        if self.hyper.outputs != 2 * len(self.base):
            raise ModelError(
                f"the hyper-synthesis has {self.hyper.outputs} outputs for {len(self.base)} latents"
            )
        if self.hyper.inputs != len(self.side):
            raise ModelError(
                f"the hyper-synthesis has {self.hyper.inputs} inputs, of which {len(self.side)} "
                "have tables"
            )

    @property
    def latents(self) -> int:
        """Feature maps of y."""
        return len(self.base)

    @property
    def scale(self) -> int:
        """Latents per hyper latent along either side; 1 without hyper latents."""
        return self.hyper.scale if self.hyper else 1

    def parameters(
        self, z: Integers | None, start: int, end: int, columns: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        """Return means and spreads (less the base) of a band of latents.

        Parameters
        ----------
        z : int32 array ``(hyper latents, rows, columns / scale)`` or None
            The whole plane of hyper latents.
        start, end
            The band's rows, in units of hyper latents; of latents where there are none.
        columns
            Of latents.

        Returns
        -------
        means : int32 array ``(latents, scale (end - start), columns)``
            In units of 2^-10.
        spreads : int16 array of the same shape
        """
        shape = (self.latents, (end - start) * self.scale, columns)
        if self.hyper is None or z is None:
            return np.zeros(shape, np.int32), np.zeros(shape, np.int16)
        both = self.hyper.run(z, start, end)
        spreads = both[self.latents :] - self.base[:, None, None]
        return both[: self.latents], np.clip(spreads, -_LONGEST, _LONGEST).astype(np.int16)

    def index(self, spreads: npt.NDArray[np.int16], step: int) -> npt.NDArray[np.int32]:
        """Return the table of every latent: int32, the shape of ``spreads``.

        Parameters
        ----------
        spreads : int16 array ``(latents, h, w)``
            From `parameters`.
        step
            log2 of the step.
        """
        places = len(self.tables) // (1 if self.hyper else self.latents)
        index = spreads.astype(np.int32)
        index += _SPACING // 2 - step - self.first
        index >>= _SPACING.bit_length() - 1
        np.clip(index, 0, places - 1, out=index)
        if self.hyper is None:
            index += places * np.arange(self.latents, dtype=np.int32)[:, None, None]
        return index

    def delta(self, step: int) -> npt.NDArray[np.float32]:
        """Return Delta of every feature map, ``(latents, 1, 1)``."""
        exponents = (self.base.astype(np.float64) + step) / OCTAVE
        return np.exp2(exponents).astype(np.float32)[:, None, None]

    def dequantise(
        self, values: Integers, means: npt.NDArray[np.int32], step: int
    ) -> npt.NDArray[np.float32]:
        """Return latents from what was coded, all ``(latents, h, w)``."""
        return values * self.delta(step) + means * np.float32(1 / OCTAVE)
