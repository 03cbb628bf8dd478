"""Importance per frequency: what an error in each transform coefficient does to the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.errors import MapError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FloatArray = npt.NDArray[np.float64]

SIZES = (4, 8)
_NAMES = tuple(f"spectrum_{plane}{size}" for plane in ("luma", "chroma") for size in SIZES)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Mean importance of every frequency over the blocks of a picture, or of several.

    Attributes
    ----------
    luma, chroma
        By transform size (4 and 8): float64 ``(size, size)``, finite and >= 0, rows are vertical
        frequencies: squared feature distance per squared coefficient of an orthonormal transform,
        so the mean over all frequencies is the mean importance per sample. Chroma is the mean of
        Cb and Cr.
    chroma_share
        Chroma samples, Cb and Cr together, per luma sample: 0.5 in 4:2:0.

    Raises
    ------
    MapError
        An array has another shape, or a value that is negative or not finite.
    """

    luma: Mapping[int, FloatArray]
    chroma: Mapping[int, FloatArray]
    chroma_share: float

    def __post_init__(self) -> None:
        for plane in (self.luma, self.chroma):
            for size in SIZES:
                values = plane[size]
                fits = values.shape == (size, size) and bool(np.isfinite(values).all())
                if not fits or values.min() < 0:
                    raise MapError(
                        f"spectrum of {size}x{size} blocks is {values.tolist()}: expected "
                        f"{size}x{size} finite values from 0 on"
                    )

    @property
    def per_sample(self) -> float:
        """Importance of all planes per luma sample: tau_tilde of `idse.allocation`."""
        return float(self.luma[8].mean() + self.chroma_share * self.chroma[8].mean())

    @classmethod
    def total(cls, spectra: Sequence[Spectrum]) -> Spectrum:
        """Return the sum, of networks or of pictures of the same sampling; at least one."""

        def added(parts: Sequence[Mapping[int, FloatArray]]) -> dict[int, FloatArray]:
            return {size: np.sum([part[size] for part in parts], axis=0) for size in SIZES}

        luma, chroma = ([s.luma for s in spectra], [s.chroma for s in spectra])
        return cls(added(luma), added(chroma), spectra[0].chroma_share)

    def tensors(self) -> dict[str, FloatArray]:
        """Return the arrays by the names that `from_tensors` reads."""
        arrays = [plane[size] for plane in (self.luma, self.chroma) for size in SIZES]
        found = dict(zip(_NAMES, arrays, strict=True))
        return found | {"spectrum_chroma_share": np.array([self.chroma_share])}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[np.float64]]) -> Spectrum | None:
        """Undo `tensors`; None where they are not all there.

        Raises
        ------
        MapError
            They are none of a spectrum.
        """
        names = (*_NAMES, "spectrum_chroma_share")
        if any(name not in tensors for name in names):
            return None
        luma4, luma8, chroma4, chroma8, share = (
            np.asarray(tensors[name], np.float64) for name in names
        )
        if share.shape != (1,) or not 0 <= share[0] <= 2:
            raise MapError(f"chroma share {share.tolist()} of a spectrum is not one of 0 to 2")
        return cls({4: luma4, 8: luma8}, {4: chroma4, 8: chroma8}, float(share[0]))
