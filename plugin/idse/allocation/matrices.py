"""Quantisation matrices: where, in frequency, bits are spent.

A QP offset moves bits from place to place. A matrix moves them from high frequencies, which hardly
reach a network that sees the picture downscaled, to low ones, in every block alike. Bits are spent
best where every coefficient's step is q_k ~ 1/sqrt(w_k + tau), with w_k the importance of frequency
k and tau what plain squared error counts beside it: rate and distortion then have the same slope
for all k (Fernandez-Menduina et al., "Image Coding for Machines via Feature-Preserving
Rate-Distortion Optimization", equations 19 and 27, taken per frequency).

How importance falls with frequency is a matter of the network, and of how much larger the picture
is than the network's input; from one picture of a video to the next it differs by a tenth of an
octave. So the first one tells. Without a network a slope, the same in all directions, comes close.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.errors import InputError

if TYPE_CHECKING:
    from idse.allocation.policy import OffsetPolicy
    from idse.importance.spectrum import Spectrum

# x264's flat matrix: with this step a QP means what it means without matrices.
FLAT = 16
# Where even the first steps of the 4x4 transform are several times the flat one.
MAX_SLOPE = 2.0

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrices:
    """The scaling lists of one encode.

    Attributes
    ----------
    luma4, chroma4
        int64 ``(4, 4)``, 1 to 255: the step of each frequency in sixteenths of the QP's; rows are
        vertical frequencies.
    luma8
        The same ``(8, 8)``. The 8x8 transform is luma's alone, but for 4:4:4, where chroma takes
        luma's matrix.

    Raises
    ------
    InputError
        A list has another shape, or a value outside of 1 to 255.
    """

    luma4: IntArray
    luma8: IntArray
    chroma4: IntArray

    def __post_init__(self) -> None:
        for name, size in (("luma4", 4), ("luma8", 8), ("chroma4", 4)):
            values = getattr(self, name)
            if values.shape != (size, size) or not ((values >= 1) & (values <= 255)).all():
                raise InputError(
                    f"matrix {name} {values.tolist()} must be {size}x{size} values from 1 to 255"
                )

    @classmethod
    def of_slope(cls, slope: float) -> Matrices:
        """Return matrices that rise exponentially from the first frequencies on.

        Parameters
        ----------
        slope
            0 to `MAX_SLOPE`: by how many octaves the step grows per unit of the 8x8 transform's
            radial frequency, beyond the first unit. 0 is flat.

        Raises
        ------
        InputError
            The slope is out of range.
        """
        check_slope(slope)

        def steps(size: int) -> IntArray:
            index = np.arange(size) * (8 / size)
            radius = np.hypot(index[:, None], index[None, :])
            return _rounded(FLAT * 2.0 ** (slope * np.maximum(radius - 1, 0)))

        return cls(luma4=steps(4), luma8=steps(8), chroma4=steps(4))

    @classmethod
    def of_spectrum(cls, spectrum: Spectrum, *, alpha: float, strength: float = 1.0) -> Matrices:
        """Return the matrices that spend bits best on importance with squared error beside it.

        Parameters
        ----------
        spectrum
            What errors in each frequency count.
        alpha, strength
            As in `idse.allocation.OffsetPolicy`: the weight of squared error, and the share of the
            full effect, here ``-1/2 log2 w`` octaves of the step.

        Returns
        -------
        Matrices
            The most important frequency of luma, and that of chroma, has the flat step: between
            the two only the QP decides.
        """
        tau = alpha * spectrum.per_sample

        def steps(importance: FloatArray) -> IntArray:
            total = importance + tau
            if not total.max() > 0:
                return _rounded(np.full_like(importance, FLAT))
            total = np.maximum(total, 1e-6 * total.max())  # 255 is reached long before
            return _rounded(FLAT * (total.max() / total) ** (strength / 2))

        luma, chroma = spectrum.luma, spectrum.chroma
        return cls(luma4=steps(luma[4]), luma8=steps(luma[8]), chroma4=steps(chroma[4]))

    @property
    def flat(self) -> bool:
        """Whether they change nothing."""
        return all((values == FLAT).all() for values in (self.luma4, self.luma8, self.chroma4))

    def options(self, *, intra: bool) -> dict[str, str]:
        """Return x264 options, which any interface of x264 takes: ``cqm4py``, ``cqm4pc``, ...

        Parameters
        ----------
        intra
            Whether intra coded blocks have the lists, too. Of use where every picture is intra
            coded; in video they are what others copy, and better left flat (the same gain for
            half the loss of PSNR, tools/bench/results/matrices.md).
        """
        lists = {"cqm4{}y": self.luma4, "cqm4{}c": self.chroma4, "cqm8{}": self.luma8}
        return {
            name.format(kind): ",".join(str(value) for value in values.ravel())
            for kind in ("ip" if intra else "p")
            for name, values in lists.items()
        }


def check_slope(slope: float) -> None:
    """Raise InputError for a slope outside of 0 to `MAX_SLOPE`."""
    if not (math.isfinite(slope) and 0 <= slope <= MAX_SLOPE):
        raise InputError(
            f"slope {slope!r} of the matrices must be a number from 0 to {MAX_SLOPE:g}"
        )


def matrix_options(
    slope: float | None,
    spectrum: Spectrum | None = None,
    policy: OffsetPolicy | None = None,
    *,
    intra: bool = False,
) -> dict[str, str]:
    """Return the matrices of an encode as x264 options; none where they are flat.

    Parameters
    ----------
    slope
        As asked for, or None for what the spectrum says.
    spectrum, policy
        Of a steered encode: what frequencies matter and how it is steered. Where either is None,
        and no slope is given, matrices are flat; so they are where the policy bounds what a region
        may lose, which longer steps would break.
    intra
        Whether every picture is intra coded.

    Raises
    ------
    InputError
        The slope is out of range.
    """
    if slope is not None:
        matrices = Matrices.of_slope(slope)
    elif spectrum is not None and policy is not None and not policy.bounds_loss:
        matrices = Matrices.of_spectrum(spectrum, alpha=policy.alpha, strength=policy.strength)
    else:
        return {}
    return {} if matrices.flat else matrices.options(intra=intra)


def _rounded(steps: FloatArray) -> IntArray:
    return np.clip(np.rint(steps), 1, 255).astype(np.int64)
