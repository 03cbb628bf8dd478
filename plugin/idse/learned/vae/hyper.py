"""Hyper networks that know whole photographs: trained again on latents, transforms as they are.

Crops of 128x128 have 2x2 hyper latents, all of them at a border: a network trained on crops has
never seen the inside of a picture, and takes more bits for a whole photograph than for its parts.
Latents of whole photographs are small, so what predicts them learns from these in minutes.

The loss is that of `idse.learned.vae.losses.rate_distortion`. Its distortion needs no synthesis:
base steps were learned so that an error of a latent in units of its map's base step weighs the same
in all maps, and its mean square is the picture's squared error but for a factor, which is measured.
Half of the rate is that of rounded latents, half of noisy ones: the first is what a file takes, the
second has a gradient to the means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from idse.errors import InputError
from idse.learned.vae.losses import rate_distortion, squared_error
from idse.learned.vae.networks import (
    bits_of,
    gaussian_cells,
    pad,
    round_through,
    scales_in_steps,
)
from idse.learned.vae.schedule import CLIP, draw_steps, learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from idse.learned.vae.networks import HyperpriorVae

    Pixels = npt.NDArray[np.uint8]

# Pictures that the factor between errors of latents and of samples is measured on, at most.
_MEASURED = 16


@dataclass(frozen=True, kw_only=True)
class HyperPlan:
    """How hyper networks are trained again.

    Attributes
    ----------
    iterations, batch, learning_rate, seed
        Of Adam; the rate as `idse.learned.vae.schedule.learning_rate` has it.
    finest, coarsest, multiplier
        As of `idse.learned.vae.train.TrainingPlan`.
    """

    iterations: int
    batch: int = 4
    learning_rate: float = 1e-3
    seed: int = 0
    finest: float = 1.0
    coarsest: float = 64.0
    multiplier: float = 0.2

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.batch < 1:
            raise InputError(f"{self.iterations} iterations of {self.batch}: at least 1 of 1")
        if not 0 < self.finest <= self.coarsest:
            raise InputError(f"steps {self.finest} to {self.coarsest}: above 0, the finest first")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """Latents ``(latents, h, w)`` of a picture, and its samples before it was padded."""

    latents: Tensor
    area: int


def tune(
    network: HyperpriorVae,
    pictures: Sequence[Pixels],
    plan: HyperPlan,
    *,
    report: Callable[[int, float], None] | None = None,
) -> None:
    """Train h_a, h_s and the density of hyper latents; the same bits for the same arguments.

    Parameters
    ----------
    network
        Trained, on the CPU; is changed.
    pictures
        Whole photographs, or large parts, uint8 ``(height, width, 3)``. A batch has pictures of one
        padded size: those of which there are fewer than a batch are left out.
    plan
        How.
    report
        Is told every iteration and its loss.

    Raises
    ------
    InputError
        There is no batch of pictures of one size.
    """
    groups: dict[tuple[int, ...], list[_Sample]] = {}
    for picture in pictures:
        sample = _sample(network, picture)
        groups.setdefault(tuple(sample.latents.shape), []).append(sample)
    kept = [group for group in groups.values() if len(group) >= plan.batch]
    if not kept:
        raise InputError(f"no {plan.batch} of {len(pictures)} pictures are of one size")
    chances = np.array([len(group) for group in kept]) / sum(map(len, kept))
    gain = _gain(network, pictures[:: -(-len(pictures) // _MEASURED)])
    random = np.random.Generator(np.random.PCG64(plan.seed))
    noise = torch.Generator().manual_seed(plan.seed)
    hyper = (network.hyper_analysis, network.hyper_synthesis, network.prior)
    weights = [weight for part in hyper for weight in part.parameters()]
    optimiser = torch.optim.Adam(weights, lr=plan.learning_rate)
    for iteration in range(plan.iterations):
        for parameters in optimiser.param_groups:
            parameters["lr"] = learning_rate(plan, iteration)
        group = kept[random.choice(len(kept), p=chances)]
        chosen = [group[i] for i in random.choice(len(group), plan.batch, replace=False)]
        loss = _loss(network, chosen, plan, gain, noise)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, CLIP)
        optimiser.step()
        if report is not None:
            report(iteration, float(loss.detach()))


def _planes(picture: Pixels, unit: int) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))[None])
    return pad(pixels.float() / 255, unit)


@torch.no_grad()
def _sample(network: HyperpriorVae, picture: Pixels) -> _Sample:
    latents = network.analyse(_planes(picture, network.unit))[0]
    return _Sample(latents=latents, area=picture.shape[0] * picture.shape[1])


@torch.no_grad()
def _gain(network: HyperpriorVae, pictures: Sequence[Pixels]) -> float:
    """Return the squared error per sample of one per sample in latents, in units of base steps."""
    gains = []
    for picture in pictures:
        planes = _planes(picture, network.unit)
        latents = network.analyse(planes)
        delta = network.steps(16.0)[:, None, None]
        mean, _ = network.gaussians(network.hyper_analysis(latents).round())
        rounded = mean + ((latents - mean) / delta).round() * delta
        added = squared_error(planes, network.synthesise(rounded)) - squared_error(
            planes, network.synthesise(latents)
        )
        area = planes.shape[-2] * planes.shape[-1]
        gains.append(float(added * area / _error(network, rounded - latents)))
    return float(np.mean(gains))


def _error(network: HyperpriorVae, error: Tensor) -> Tensor:
    """Return the sum of squares of latents' errors in units of base steps, ``(B,)``."""
    return (error / network.steps(1.0).detach()[:, None, None]).square().flatten(1).sum(1)


def _loss(
    network: HyperpriorVae,
    samples: Sequence[_Sample],
    plan: HyperPlan,
    gain: float,
    noise: torch.Generator,
) -> Tensor:
    latents = torch.stack([sample.latents for sample in samples])
    area = torch.tensor([float(sample.area) for sample in samples])
    step = draw_steps(plan, noise)
    z = network.hyper_analysis(latents)
    mean, log2_scale = network.gaussians(round_through(z))
    delta = network.steps(step).detach()[..., None, None]
    scales = scales_in_steps(log2_scale, delta)
    values = (latents - mean) / delta
    noisy = values + torch.rand(values.shape, generator=noise) - 0.5
    bits = sum(bits_of(gaussian_cells(v, scales)) for v in (noisy, round_through(values))) / 2
    drawn = torch.rand(z.shape, generator=noise) - 0.5
    bits = bits + bits_of(network.prior.likelihood(z + drawn))
    # Rounding is flat: what is left of the error moves with the mean.
    decoded = mean + values.detach().round() * delta
    distortion = gain * _error(network, decoded - latents) / area
    return rate_distortion(bits / area, distortion, step, multiplier=plan.multiplier)
