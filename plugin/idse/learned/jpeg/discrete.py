"""What JPEG does in whole numbers, made differentiable.

After Reich, "Deep Image Codec Control" (2023), section 4.1: where JPEG rounds, floors or clips, a
`Surrogate` is within an eighth of it and has a gradient that is not 0 nearly everywhere;
`StraightThrough` is exact and has the surrogate's gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Slope of a soft clip outside of its range.
_GAMMA = 1e-3


class Surrogate:
    """Continuous stand-ins for the steps of JPEG, each with a gradient of its own.

    Tensors are floating point of any shape; results have the same.
    """

    def round(self, x: Tensor) -> Tensor:
        """Return ``[x] + (x - [x])^3``, [x] being the nearest whole number (equation 4.2)."""
        nearest = x.detach().round()
        return nearest + (x - nearest) ** 3

    def floor(self, x: Tensor) -> Tensor:
        """Return the polynomial rounding of ``x - 1/2`` (equation 4.3).

        Whole numbers, where rounding ``x - 1/2`` is a tie, belong to themselves.
        """
        lower = x.detach().floor()
        return lower + (x - lower - 0.5) ** 3

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        """Return ``x`` inside of a range, and 1/1000 of its slope outside (equation 4.4)."""
        inside = x.clamp(low, high)
        return inside + _GAMMA * (x - inside)

    def sample(self, x: Tensor, bias: float | Tensor = 0.5) -> Tensor:
        """Return samples as they are.

        JPEG floors ``x + bias``. Beside what quantisation does to a sample that is little, and a
        gradient that vanished wherever a sample is whole would lose the picture.
        """
        del bias
        return x


class StraightThrough(Surrogate):
    """The steps of JPEG, with the gradients of `Surrogate` (section 4.1.2); samples' is 1."""

    def round(self, x: Tensor) -> Tensor:
        """Return the nearest whole number."""
        return _through(x.detach().round(), super().round(x))

    def floor(self, x: Tensor) -> Tensor:
        """Return the greatest whole number that is not greater."""
        return _through(x.detach().floor(), super().floor(x))

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        """Return ``x``, or the end of the range that it is beyond."""
        return _through(x.detach().clamp(low, high), super().clip(x, low, high))

    def sample(self, x: Tensor, bias: float | Tensor = 0.5) -> Tensor:
        """Return ``x + bias``, floored."""
        return _whole(x, bias)


class WholeSamples(Surrogate):
    """The surrogate, but for samples, which are as whole as JPEG's.

    Rounded, its levels are a file's own, and the rest still tells on which side a coefficient is.
    A file's size is counted from that: with fine steps the noise of rounded samples is a percent
    of it.
    """

    def sample(self, x: Tensor, bias: float | Tensor = 0.5) -> Tensor:
        """Return ``x + bias``, floored."""
        return _whole(x, bias)


def _whole(x: Tensor, bias: float | Tensor) -> Tensor:
    return _through((x.detach() + bias).floor(), x)


def _through(value: Tensor, gradient: Tensor) -> Tensor:
    """Return a value that has another's gradient."""
    return value + (gradient - gradient.detach())


SURROGATE = Surrogate()
WHOLE_SAMPLES = WholeSamples()
STRAIGHT_THROUGH = StraightThrough()
