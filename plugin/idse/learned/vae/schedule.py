"""What trainings of whole codecs and of hyper networks share: steps, learning rate, a bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor

_WARM_UP = 50
_FINAL_RATE = 0.02
# Of the gradient of rate + lambda distortion. Target-rate losses are not clipped: their gradients
# are in the ten thousands, so all would become equally long, and the median of rates, not their
# mean, would settle at the target.
CLIP: Final = 1.0


class Plan(Protocol):
    """Of a training that draws quantisation steps."""

    @property
    def iterations(self) -> int:
        """Of Adam."""

    @property
    def batch(self) -> int:
        """Pictures of an iteration."""

    @property
    def learning_rate(self) -> float:
        """The highest."""

    @property
    def finest(self) -> float:
        """The least step, above 0."""

    @property
    def coarsest(self) -> float:
        """The greatest."""


def draw_steps(plan: Plan, generator: torch.Generator) -> Tensor:
    """Return one step per picture of a batch, spread evenly over the logarithm's range."""
    slots = torch.arange(plan.batch) + torch.rand(plan.batch, generator=generator)
    low, high = math.log(plan.finest), math.log(plan.coarsest)
    return torch.exp(low + (high - low) * slots / plan.batch)


def learning_rate(plan: Plan, iteration: int) -> float:
    """Return the learning rate of an iteration: up over 50, down as a cosine to a fiftieth."""
    rise = min(1.0, (iteration + 1) / _WARM_UP)
    cosine = (1 + math.cos(math.pi * iteration / plan.iterations)) / 2
    return plan.learning_rate * rise * (_FINAL_RATE + (1 - _FINAL_RATE) * cosine)
