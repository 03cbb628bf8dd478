"""Training of the control network: from the tables of importance, then end to end.

Reich, "Deep Image Codec Control" (2023), section 4.3.2, maximises a task's performance under a
size. Its losses for the size (equations 4.10 and 4.14) together are an absolute value with its kink
at the size that is asked for, where any slope between their two is a valid one. Here it is the one
that holds the size, Lagrange's multiplier, found for every picture: for how coarse all steps are
the gradient then is 0, and what is left is how steps relate to each other.

Performance (4.11 to 4.13) is what errors of coefficients cost the teachers (IDSE), which needs no
network in the loop; its slope with respect to steps is nearly exact, for the error of a coefficient
is continuous where its level changes. Tables are kept near those of importance (in place of 4.15).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from idse.allocation.tables import plan
from idse.codecs.jpeg import JpegLayout, Quantiser
from idse.learned.jpeg import control_rate
from idse.learned.jpeg.control_network import PATTERNS, ControlNetwork
from idse.learned.jpeg.description import Description, describe
from idse.learned.jpeg.discrete import SURROGATE
from idse.learned.jpeg.size_training import random_tables
from idse.learned.jpeg.symbols import statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from idse.learned.jpeg.examples import Example

# Luma blocks along the sides of what is learned from at once: 224 samples.
_WINDOW = 28
# Share of other teachers' weights beside a head's own, and of plain squared error: what no teacher
# here looks at, another network may.
_OTHERS, _PLAIN = 0.15, 0.03
# Of the squared distance to the tables of importance.
_NEAR_IMPORTANCE = 0.01
# Bits per pixel, in log2: the middle of what is asked for, and the ends that training reaches.
_MIDDLE, _ENDS = 0.0, (-2.3, 2.2)
_RATE_RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class Window:
    """A part of an example as a picture of its own.

    Attributes
    ----------
    layout, description
        Of it.
    coefficients
        Per component ``(1, rows, columns, 8, 8)``.
    weights
        ``(heads)`` lists of the same shapes.
    ideal
        ``(heads, 128)``: log2 of the steps that importance asks for, with a mean of 0.
    """

    layout: JpegLayout
    description: Description
    coefficients: list[Tensor]
    weights: list[list[Tensor]]
    ideal: Tensor


def window(example: Example, heads: Sequence[str], rng: np.random.Generator) -> Window:
    """Cut a part out of an example, at random where it is larger than 224x224."""
    rows, columns = example.coefficients[0].shape[:2]
    height, width = (min(_WINDOW, 2 * (size // 2)) for size in (rows, columns))
    top, left = (
        2 * int(rng.integers((size - part) // 2 + 1))
        for size, part in ((rows, height), (columns, width))
    )

    def cut(planes: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
        found = []
        for plane, factor in zip(planes, (1, 2, 2), strict=True):
            down, across = top // factor, left // factor
            part = plane[down : down + height // factor, across : across + width // factor]
            found.append(np.ascontiguousarray(part))
        return found

    layout = JpegLayout(8 * width, 8 * height)
    coefficients = cut(example.coefficients)
    all_weights = [cut(example.weights[name]) for name in heads]
    return Window(
        layout,
        describe(coefficients, layout),
        [torch.from_numpy(plane)[None] for plane in coefficients],
        [_mixed(all_weights, own) for own in range(len(heads))],
        torch.stack([_ideal(weights) for weights in all_weights]),
    )


def _mixed(weights: list[list[npt.NDArray[np.float32]]], own: int) -> list[Tensor]:
    """Return what errors cost, mostly one teacher's."""
    shares = [_OTHERS / max(len(weights) - 1, 1)] * len(weights)
    shares[own] = 1 - _OTHERS
    mixed = []
    for planes in zip(*weights, strict=True):
        found = sum(share * plane for share, plane in zip(shares, planes, strict=True)) + _PLAIN
        mixed.append(torch.from_numpy(found)[None])
    return mixed


def _ideal(weights: list[npt.NDArray[np.float32]]) -> Tensor:
    """Return log2 of the steps by `idse.allocation.tables`, both chroma components' as one."""
    luma, cb, cr = plan(weights).spectra
    logs = -0.5 * np.log2(np.stack([luma, (cb + cr) / 2])).ravel()
    return torch.from_numpy(logs - logs.mean()).float()


def fit_rate(windows: Sequence[Window], *, seed: int, tables_each: int = 4) -> tuple[Tensor, float]:
    """Return the weights of `idse.learned.jpeg.control_rate`, and their mean relative error.

    Real files of random tables and of importance's are what they are fitted to, by least squares.
    """
    features, logs = _files(windows, seed=seed, tables_each=tables_each)
    ridge = _RATE_RIDGE * np.eye(control_rate.FEATURES)
    weights = np.linalg.solve(features.T @ features + ridge, features.T @ logs)
    return torch.from_numpy(weights), float(np.abs(np.expm1(features @ weights - logs)).mean())


def rate_error(windows: Sequence[Window], weights: Tensor, *, seed: int) -> float:
    """Return the mean relative error of predicted sizes over files that were not fitted to."""
    features, logs = _files(windows, seed=seed, tables_each=4)
    return float(np.abs(np.expm1(features @ weights.numpy() - logs)).mean())


def _files(
    windows: Sequence[Window], *, seed: int, tables_each: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return features of files, and the logarithms of the factors that they are to tell."""
    rng = np.random.default_rng(seed)
    rows, wanted = [], []
    for part in windows:
        quantiser = _quantiser(part)
        for index in range(tables_each):
            if index % 2:
                shape = np.log2(random_tables(rng)).reshape(2, 64)
            else:
                shape = part.ideal[index // 2 % len(part.ideal)].double().numpy().reshape(2, 64)
            scale = rng.uniform(0.5, 6.5) - shape.mean()
            tables = np.clip(np.rint(np.exp2(shape + scale)), 1, 255)
            bits, told = control_rate.features(part.description, tables)
            rows.append(told)
            wanted.append(control_rate.target(_size(quantiser, tables), bits))
    return np.array(rows), np.array(wanted)


def _quantiser(part: Window) -> Quantiser:
    planes = [plane[0].numpy() for plane in part.coefficients]
    return Quantiser(part.layout, planes, [np.ones_like(plane) for plane in planes])


def _size(quantiser: Quantiser, steps: npt.NDArray[np.float64]) -> int:
    luma, chroma = np.clip(np.rint(steps), 1, 255).astype(np.uint16).reshape(2, 8, 8)
    return quantiser.run([luma, chroma, chroma], 0.0).size()


def cost_at(part: Window, head: int, shape: Tensor, size: float) -> float:
    """Return the logarithm of what errors cost with whole tables, at a real file's size.

    Parameters
    ----------
    part, head, shape, size
        As for :func:`slopes`.
    """
    quantiser = _quantiser(part)
    logs = shape.detach().double().numpy()
    low, high = -6.0, 14.0
    for _ in range(12):
        middle = (low + high) / 2
        larger = _size(quantiser, np.exp2(logs + middle)) > size
        low, high = (middle, high) if larger else (low, middle)
    steps = torch.from_numpy(np.clip(np.rint(np.exp2(logs + high)), 1, 255)).float()
    cost = 0.0
    for component, (plane, weights) in enumerate(
        zip(part.coefficients, part.weights[head], strict=True)
    ):
        step = steps.reshape(2, 8, 8)[min(component, 1)]
        cost += float((weights * (plane - step * (plane / step).round()).square()).sum())
    return float(np.log(cost))


def bootstrap(network: ControlNetwork, windows: Sequence[Window]) -> Tensor:
    """Give a network its base and its patterns: the mean and principal components of importance.

    Returns
    -------
    Tensor
        ``(heads, 128)``: the mean.
    """
    ideal = torch.stack([part.ideal for part in windows])
    base = ideal.mean(0)
    rest = (ideal - base).flatten(0, 1)
    _, _, patterns = torch.linalg.svd(rest, full_matrices=False)
    with torch.no_grad():
        network.base.copy_(base)
        network.basis.copy_(patterns[:PATTERNS])
    network.standardise([part.description for part in windows])
    return base


def imitation(
    network: ControlNetwork, windows: Sequence[Window], sizes: Sequence[float], centre: Tensor
) -> Tensor:
    """Return by how much pictures differ otherwise than the tables of importance, squared.

    Parameters
    ----------
    network, windows, sizes
        As for :func:`step_loss`.
    centre
        ``(heads, 128)``: the mean of the tables of importance.
    """
    found = network([part.description for part in windows], sizes) - network.base
    ideal = torch.stack([part.ideal for part in windows]) - centre
    error: Tensor = (found - ideal).square().mean()
    return error


def size_of(bits_per_pixel: float, part: Window) -> float:
    """Return bytes."""
    return max(bits_per_pixel * part.description.pixels / 8, 1.0)


def curriculum(progress: float, count: int, rng: np.random.Generator) -> list[float]:
    """Return bits per pixel to ask for: one of each of ``count`` bins, of a range that widens.

    Parameters
    ----------
    progress
        0 to 1: of training.
    count
        How many.
    rng
        For where in the bins, and their order.
    """
    reach = min(1.0, 0.3 + progress)
    low, high = (_MIDDLE + reach * (end - _MIDDLE) for end in _ENDS)
    logs = low + (high - low) * (np.arange(count) + rng.uniform(size=count)) / count
    found: list[float] = np.exp2(rng.permutation(logs)).tolist()
    return found


def slopes(part: Window, head: int, shape: Tensor, size: float, rate: Tensor) -> Tensor:
    """Return the gradient of what errors cost with respect to the shape of tables, at a size.

    Parameters
    ----------
    part
        What is coded.
    head
        Whose costs count.
    shape
        ``(128,)``: log2 of steps but for a common factor.
    size
        Bytes.
    rate
        Weights of `idse.learned.jpeg.control_rate`.

    Returns
    -------
    Tensor
        ``(128,)``: of the logarithm of the cost, with respect to log2 of steps.
    """
    flat = shape.detach().double().numpy().reshape(2, 64)
    scale = control_rate.scale_for(part.description, flat, size, rate.numpy())
    logs = (shape.detach() + scale).clamp(0, 8).requires_grad_()
    steps = torch.exp2(logs).reshape(2, 8, 8)
    # Whole in the forward pass, as a file's.
    steps = steps + (steps.detach().round().clamp(1, 255) - steps.detach())
    levels, cost = [], torch.zeros(())
    for component, (plane, weights) in enumerate(
        zip(part.coefficients, part.weights[head], strict=True)
    ):
        step = steps[min(component, 1)]
        levels.append(SURROGATE.round(plane / step))
        cost = cost + (weights * _error(plane, step).square()).sum()
    bits = sum(group.bits.sum() for group in statistics(levels, part.layout))
    assert isinstance(bits, torch.Tensor)
    (worse,) = torch.autograd.grad(cost.log(), logs, retain_graph=True)
    (larger,) = torch.autograd.grad(bits.log(), logs)
    # Steps at the end of their range stay there.
    free = ((steps > 1) & (steps < 255)).flatten()
    worse, larger = worse * free, larger * free
    # Coarser steps for all frequencies cost as much as the bits that they save are worth.
    multiplier = -worse.sum() / larger.sum().clamp(max=-1e-6)
    found: Tensor = worse + multiplier.clamp(min=0) * larger
    return found


def _error(plane: Tensor, step: Tensor) -> Tensor:
    """Return the error of coefficients, with the slope that the step gives it.

    Where a level is 0 or 1, that is its derivative. Larger levels come and go as the step changes a
    little: there the error is in proportion to the step, which says the same with less noise.
    """
    with torch.no_grad():
        level = (plane / step).round()
        part = plane / step - level
    return torch.where(level.abs() > 1, step * part, plane - step * level)


def step_loss(
    network: ControlNetwork,
    windows: Sequence[Window],
    sizes: Sequence[float],
    heads: Sequence[int],
) -> Tensor:
    """Return a loss whose gradient is that of `slopes`.

    Parameters
    ----------
    network
        That is trained.
    windows, sizes, heads
        Pictures, bytes, and for which head each is coded.
    """
    found = network([part.description for part in windows], sizes)
    chosen = found[torch.arange(len(windows)), torch.tensor(heads)]
    found_slopes = [
        slopes(part, head, shape, size, network.rate)
        for part, head, shape, size in zip(windows, heads, chosen, sizes, strict=True)
    ]
    gradient = torch.stack(found_slopes)
    ideal = torch.stack([part.ideal[head] for part, head in zip(windows, heads, strict=True)])
    away = chosen - ideal
    away = away - away.mean(1, keepdim=True)
    loss: Tensor = (gradient * chosen).sum(1).mean() + _NEAR_IMPORTANCE * away.square().mean()
    return loss
