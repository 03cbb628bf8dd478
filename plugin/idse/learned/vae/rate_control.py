"""How R_param and beta of the target-rate loss move: by search, or while a network trains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_BETA_RANGE = (1.0, 1e6)
# A shift that is larger than a small target must not turn R_param negative.
_MIN_FRACTION = 0.25
# Adaptive beta: weight of the newest variance, and the change per iteration at an e-fold excess.
_BETA_SMOOTHING = 0.05
_BETA_SPEED = 0.02


@dataclass(frozen=True, kw_only=True)
class RateDecay:
    """Rates that start high and fall to the target (thesis, equation 6.14).

    Attributes
    ----------
    iterations
        Until the target is reached (t_iter; 150,000 of 750,000 in the thesis).
    base
        b: how many times the target the first rate is.
    ceiling
        r_max in bits per sample of a plane.
    """

    iterations: int
    base: float = 50.0
    ceiling: float = 3.0

    def __call__(self, target: float, iteration: int) -> float:
        """Return the rate to aim at; targets above 0.5 bpp are aimed at from the start."""
        if target > 0.5:
            return target
        left = max(0, self.iterations - iteration) / self.iterations
        return min(self.ceiling, target * math.pow(self.base, left))


class TargetRate:
    """R_param and beta of every iteration.

    `fixed` is equation 5.14, `adaptive` 6.8, `general` 6.20.

    Parameters
    ----------
    target
        Bits per sample of a plane, above 0.
    beta
        What the squared relative deviation costs, in units of the distortion.
    tracks_shift
        Add the last iteration's excess of the noisy over the rounded rate (6.4).
    alpha
        Weight of the newest R_param in its moving average (6.18); 1 is none.
    decay
        Of the target (6.14), or None.
    deviation
        Relative standard deviation of rates that beta is adapted to: it rises while pictures
        deviate more, and falls while less. None keeps it, as the thesis does.
    """

    def __init__(
        self,
        target: float,
        *,
        beta: float,
        tracks_shift: bool = False,
        alpha: float = 1.0,
        decay: RateDecay | None = None,
        deviation: float | None = None,
    ) -> None:
        if not target > 0:
            raise InputError(f"a target rate of {target} bits per pixel: it must be above 0")
        if not 0 < alpha <= 1:
            raise InputError(f"alpha {alpha}: it must be above 0 and at most 1")
        self._target, self._alpha, self._decay = target, alpha, decay
        self._tracks_shift, self._deviation = tracks_shift, deviation
        self._iteration = 0
        self._shift = 0.0
        self._average: float | None = None
        self._variance: float | None = None
        self._beta = beta

    @classmethod
    def fixed(cls, parameter: float, *, beta: float) -> TargetRate:
        """Return constants (5.14); `SearchHeuristic` finds them."""
        return cls(parameter, beta=beta)

    @classmethod
    def adaptive(cls, target: float, *, beta: float, deviation: float | None = None) -> TargetRate:
        """Return the time-adaptive parameter (6.8)."""
        return cls(target, beta=beta, tracks_shift=True, deviation=deviation)

    @classmethod
    def general(
        cls,
        target: float,
        *,
        beta: float,
        decay: RateDecay,
        alpha: float = 0.99,
        deviation: float | None = None,
    ) -> TargetRate:
        """Return the general form (6.20), by default with the thesis' alpha.

        As (6.17) is written, alpha 0.99 forgets nearly all of the past; smaller ones smooth more.
        """
        return cls(
            target, beta=beta, tracks_shift=True, alpha=alpha, decay=decay, deviation=deviation
        )

    @property
    def aim(self) -> float:
        """r_t^p: the target, or what decays to it."""
        return self._decay(self._target, self._iteration) if self._decay else self._target

    @property
    def parameter(self) -> float:
        """R_t^ema of this iteration, above 0."""
        wanted = max(self.aim + self._shift, _MIN_FRACTION * self.aim)
        if self._average is None:
            return wanted
        return self._alpha * wanted + (1 - self._alpha) * self._average

    @property
    def beta(self) -> float:
        """Beta of this iteration."""
        return self._beta

    def observe(self, noisy: Sequence[float], rounded: Sequence[float]) -> None:
        """Take what an iteration ended with, and go to the next.

        Parameters
        ----------
        noisy, rounded
            Rate of every picture: what the loss saw, and that of the rounded latents.
        """
        self._average = self.parameter
        if self._tracks_shift:
            self._shift = sum(noisy) / len(noisy) - sum(rounded) / len(rounded)
        if self._deviation is not None:
            self._adapt_beta([(rate - self.aim) / self.aim for rate in rounded], self._deviation)
        self._iteration += 1

    def _adapt_beta(self, deviations: Sequence[float], allowed: float) -> None:
        now = sum(deviation**2 for deviation in deviations) / len(deviations)
        before = now if self._variance is None else self._variance
        self._variance = _BETA_SMOOTHING * now + (1 - _BETA_SMOOTHING) * before
        excess = math.log(max(self._variance, 1e-12) / allowed**2)
        change = math.exp(_BETA_SPEED * max(-1.0, min(1.0, excess)))
        self._beta = max(_BETA_RANGE[0], min(_BETA_RANGE[1], self._beta * change))

    def state(self) -> dict[str, float | None]:
        """Return what `restore` needs to go on."""
        return {
            "iteration": self._iteration,
            "shift": self._shift,
            "average": self._average,
            "variance": self._variance,
            "beta": self._beta,
        }

    def restore(self, state: dict[str, float | None]) -> None:
        """Go on from a `state`."""
        self._iteration = int(state["iteration"] or 0)
        self._shift = state["shift"] or 0.0
        self._average, self._variance = state["average"], state["variance"]
        self._beta = state["beta"] or self._beta


class SearchHeuristic:
    """Algorithm 3: refine a network, look at the rates it really gets, move, again.

    Line 4 of the algorithm asks whether R_param differs from the target, which it does not at the
    start; what is meant is whether the rate does, and so it is here.

    Parameters
    ----------
    target
        Mean rate wanted, bits per sample of a plane.
    deviation
        Standard deviation of rates allowed (sigma).
    beta_step
        delta_beta; the thesis takes 500 to 20,000, the more the lower the rate.
    beta
        To begin with: 1 in the thesis.
    parameter
        R_param to begin with; the target by default, as in the thesis. A search that starts from a
        trained network knows the shift of that one, and needs no rounds to find it.

    Attributes
    ----------
    parameter, beta
        R_param and beta of the next refinement.
    """

    def __init__(
        self,
        target: float,
        *,
        deviation: float,
        beta_step: float,
        beta: float = 1.0,
        parameter: float | None = None,
    ) -> None:
        self.target, self.deviation, self.beta_step = target, deviation, beta_step
        self.parameter, self.beta = target if parameter is None else parameter, beta

    def move(self, rates: Sequence[float]) -> None:
        """Move after a refinement.

        Parameters
        ----------
        rates
            Of rounded latents, one per validation picture.
        """
        mean = sum(rates) / len(rates)
        variance = sum((rate - mean) ** 2 for rate in rates) / len(rates)
        corrected = self.parameter - (mean - self.target)
        self.parameter = max(corrected, _MIN_FRACTION * self.target)
        if variance > self.deviation**2:
            self.beta += self.beta_step
        elif variance < self.deviation**2:
            self.beta = max(_BETA_RANGE[0], self.beta - self.beta_step)
