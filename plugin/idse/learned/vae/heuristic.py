"""Algorithm 3 carried out: refine, look at real rates, move, and train with what was found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from idse.learned.vae.networks import FactorisedVae, HyperpriorVae, Quantiser, pad
from idse.learned.vae.rate_control import SearchHeuristic, TargetRate
from idse.learned.vae.train import Progress, Trainer, TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from idse.learned.vae.data import Photographs


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the search ended with.

    Attributes
    ----------
    network
        Weights of the network after its last training.
    parameter, beta
        R_param and beta of that training: a row of the thesis' table 5.3.
    rounds
        Refinements before it.
    """

    network: dict[str, Tensor]
    parameter: float
    beta: float
    rounds: int


def search(
    plan: TrainingPlan,
    photographs: Photographs,
    heuristic: SearchHeuristic,
    *,
    validation: Sequence[Tensor],
    rounds: int,
    refinement: int,
    start: dict[str, Tensor] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Found:
    """Refine a network until its rates are as wanted, then train it for ``plan.iterations``.

    The network of each round is that of the round before (section 5.4.5).

    Parameters
    ----------
    plan
        Of the last training; its ``finest`` step is that of all of it.
    photographs
        To train on.
    heuristic
        Moves R_param and beta.
    validation
        Pictures ``(1, 3, H, W)`` in [0, 1] whose rates decide. Not those of the test.
    rounds
        At most. The search ends before when the mean is within 2 % and the deviation within a
        tenth of what is wanted.
    refinement
        Iterations of a round.
    start
        Weights to begin with.
    report
        Is told of every iteration.
    """
    done = 0
    while done < rounds:
        stage = replace(plan, iterations=refinement, seed=plan.seed + 1 + done)
        trainer = _trainer(stage, photographs, heuristic, start)
        trainer.run(report=report)
        start = trainer.network.state_dict()
        rates = rounded_rates(trainer.network, validation, plan.finest)
        done += 1
        if _settled(rates, heuristic):
            break
        heuristic.move(rates)
    trainer = _trainer(plan, photographs, heuristic, start)
    trainer.run(report=report)
    return Found(
        network=trainer.network.state_dict(),
        parameter=heuristic.parameter,
        beta=heuristic.beta,
        rounds=done,
    )


def _trainer(
    plan: TrainingPlan,
    photographs: Photographs,
    heuristic: SearchHeuristic,
    start: dict[str, Tensor] | None,
) -> Trainer:
    control = TargetRate.fixed(heuristic.parameter, beta=heuristic.beta)
    return Trainer(plan, photographs, control=control, start=start)


def _settled(rates: Sequence[float], heuristic: SearchHeuristic) -> bool:
    values = torch.tensor(rates, dtype=torch.float64)
    mean, deviation = float(values.mean()), float(values.std(correction=0))
    near = abs(mean - heuristic.target) <= 0.02 * heuristic.target
    return near and abs(deviation - heuristic.deviation) <= 0.1 * heuristic.deviation


@torch.no_grad()
def rounded_rates(
    network: FactorisedVae | HyperpriorVae, pictures: Sequence[Tensor], step: float
) -> list[float]:
    """Return the bits per sample of rounded latents of pictures ``(1, 3, H, W)`` of any size."""
    return _rates(network, pictures, _latents(network, pictures), step)


@torch.no_grad()
def mean_shift(
    network: FactorisedVae | HyperpriorVae,
    pictures: Sequence[Tensor],
    step: float,
    quantiser: Quantiser,
) -> float:
    """Return what a loss sees of rates beyond those of `rounded_rates`, on average (thesis, 6.3).

    Parameters
    ----------
    network, pictures, step
        As of `rounded_rates`.
    quantiser
        The loss's, see `Vae.code`. Its noise is the same for the same pictures.
    """
    noise = torch.Generator().manual_seed(0)
    excess = []
    for picture, y in zip(pictures, _latents(network, pictures), strict=True):
        bits, _ = network.quantise(y, step, quantiser=quantiser, generator=noise)
        area = picture.shape[-2] * picture.shape[-1]
        excess.append(float(bits - network.rounded_bits(y, step)) / area)
    return sum(excess) / len(excess)


@torch.no_grad()
def step_for_rate(
    network: FactorisedVae | HyperpriorVae,
    pictures: Sequence[Tensor],
    rate: float,
    *,
    finest: float = 2.0**-6,
    coarsest: float = 2.0**8,
) -> float:
    """Return the step at which pictures have a mean rate, within a hundredth of an octave."""
    latents = _latents(network, pictures)
    while coarsest > finest * 2**0.01:
        middle = (finest * coarsest) ** 0.5
        rates = _rates(network, pictures, latents, middle)
        if sum(rates) / len(rates) > rate:
            finest = middle
        else:
            coarsest = middle
    return coarsest


def _latents(network: FactorisedVae | HyperpriorVae, pictures: Sequence[Tensor]) -> list[Tensor]:
    return [network.analyse(pad(picture, network.unit)) for picture in pictures]


def _rates(
    network: FactorisedVae | HyperpriorVae,
    pictures: Sequence[Tensor],
    latents: Sequence[Tensor],
    step: float,
) -> list[float]:
    return [
        float(network.rounded_bits(y, step)) / (picture.shape[-2] * picture.shape[-1])
        for picture, y in zip(pictures, latents, strict=True)
    ]
