"""What the codec is handed: a prior of whole numbers, and transforms that may use floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from idse.errors import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.codecs.vae.prior import Prior


class Transforms(Protocol):
    """The networks between pixels and latents. No symbol of a stream depends on how they round.

    Attributes
    ----------
    stride
        Samples per latent along either side.
    analysis_halo
        How far around its picture's part a latent looks, in samples; a multiple of ``stride``.
    hyper_halo
        How far a hyper latent looks, in latents; a multiple of their ratio.
    synthesis_halo
        How far a sample looks, in latents.
    """

    stride: int
    analysis_halo: int
    hyper_halo: int
    synthesis_halo: int

    def analyse(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return latents ``(latents, h / stride, w / stride)`` of R'G'B' ``(3, h, w)``."""
        ...

    def hyper_analyse(self, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return hyper latents ``(hyper latents, h / ratio, w / ratio)`` of ``(latents, h, w)``.

        Never called where the prior has none.
        """
        ...

    def synthesise(self, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Return R'G'B' ``(3, h stride, w stride)`` of ``(latents, h, w)``."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A model, ready to code pictures.

    Attributes
    ----------
    name
        For messages.
    identity
        SHA-256 over everything that decoding depends on, 32 bytes.
    prior
        How likely latents are.
    transforms
        From pixels to latents and back.
    steps
        Finest and coarsest step that the model is good for: 1024 times their binary logarithm.
    curve
        What the model did to photographs, rising in rate: bits per pixel and mean squared error
        (of samples of 0 to 255). Models are chosen by it.
    """

    name: str
    identity: bytes
    prior: Prior
    transforms: Transforms
    steps: tuple[int, int]
    curve: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        finest, coarsest = self.steps
        if not -(1 << 15) <= finest <= coarsest < 1 << 15:
            raise ModelError(f"model {self.name} has impossible steps: {finest} to {coarsest}")
        rates = [rate for rate, _ in self.curve]
        positive = all(value > 0 and np.isfinite(value) for point in self.curve for value in point)
        if not self.curve or not positive or rates != sorted(set(rates)):
            raise ModelError(f"the curve of model {self.name} does not rise in rate: {self.curve}")

    @property
    def unit(self) -> int:
        """Samples per coarsest latent along either side: what sides are rounded up to."""
        return self.transforms.stride * self.prior.scale

    def predicted_error(self, bpp: float) -> float:
        """Return the mean squared error to expect at a rate (log-linear; ends go on as they end).

        Below its lowest rate a model is expected to be as bad as it gets, and then some: the error
        there grows as the rate falls short.
        """
        rates, errors = np.log([*zip(*self.curve, strict=True)])
        wanted = np.log(bpp)
        short = max(rates[0] - wanted, 0.0)
        return float(np.exp(np.interp(wanted, rates, errors) + 2 * short))
