"""Training of the control network: from the tables of importance, then end to end.

Reich, "Deep Image Codec Control" (2023), section 4.3.2, maximises a task's performance under a
size. Its losses for the size (equations 4.10 and 4.14) together are an absolute value with its kink
at the size that is asked for, where any slope between their two is a valid one. Here it is the one
that holds the size, Lagrange's multiplier, found for every picture: for how coarse all steps are
the gradient then is 0, and what is left is how steps relate to each other.

Performance (4.11 to 4.13) is what errors of coefficients cost the teachers (IDSE), which needs no
network in the loop; its slope with respect to steps is nearly exact, for the error of a coefficient
is continuous where its level changes. Beside it the teachers themselves look at some pictures
(`idse.learned.jpeg.judged`): that knows of large errors, and is noisy. Tables are kept near those
of importance (in place of 4.15).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from idse.learned.jpeg import control_rate
from idse.learned.jpeg.condition import place
from idse.learned.jpeg.control_network import PATTERNS
from idse.learned.jpeg.discrete import SURROGATE
from idse.learned.jpeg.symbols import statistics
from idse.learned.jpeg.windows import size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from idse.learned.jpeg.control_network import ControlNetwork
    from idse.learned.jpeg.description import Description
    from idse.learned.jpeg.judged import Judged
    from idse.learned.jpeg.windows import Window

# Of the squared distance to the tables of importance.
_NEAR_IMPORTANCE = 0.01
# Share of what the teachers themselves say where they look at a picture.
_JUDGED = 0.5
# Bits per pixel, in log2: the middle of what is asked for, and the ends that training reaches for
# pictures that networks see as they are, and for those that they shrink.
_MIDDLE = 0.0
_SHRUNK = 2**17
_ENDS = {False: (-1.3, 3.1), True: (-2.3, 1.9)}
# By how much the lower end is higher for 4:4:4, which is worse there.
_LATER = 1.5
# Steps that tables of one picture are optimised by, and how far the first goes, in octaves.
_STEPS, _REACH = 12, 0.09
# As good as so many lessons that pictures share no more than is known.
_FEW = 5.0
# Of the finest file's bytes, the most that are asked for.
_FINEST = 0.85


def bootstrap(network: ControlNetwork, windows: Sequence[Window]) -> None:
    """Give a network its base and its patterns: the mean and principal components of importance.

    There is a mean for pictures that networks see as they are, and one for those that they shrink,
    and for each sampling.
    """
    ideal = torch.stack([part.ideal for part in windows])
    shrunk = torch.tensor([_shrunk(part) for part in windows])
    fine = torch.tensor([part.layout.sampling == "4:4:4" for part in windows])
    with torch.no_grad():
        base = network.base.view(len(network.heads), -1, 2, 2, 128)
        for area, detail in itertools.product((0, 1), (0, 1)):
            same = fine == bool(detail)
            same = same if same.any() else ~same
            chosen = same & (shrunk == bool(area))
            base[:, :, area, detail] = ideal[chosen if chosen.any() else same].mean(0)[:, None]
        rest = ideal - network.shared(*_asked(windows))
        _, _, patterns = torch.linalg.svd(rest.flatten(0, 1), full_matrices=False)
        network.basis.copy_(patterns[:PATTERNS])
    network.standardise([part.description for part in windows])


def _asked(windows: Sequence[Window]) -> tuple[list[Description], list[float]]:
    """Return descriptions, and sizes of one bit per pixel."""
    return [part.description for part in windows], [size_of(1.0, part) for part in windows]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What was found to be best for one picture at one size.

    Attributes
    ----------
    description, size, head
        What is coded, bytes, and for which head.
    wanted
        ``(128,)``: by how much log2 of steps differs from what pictures share, with a mean of 0.
    """

    description: Description
    size: float
    head: int
    wanted: Tensor


def optimised(part: Window, head: int, shape: Tensor, size: float, rate: Tensor) -> Tensor:
    """Return by how much the tables of one picture should differ, as a `Lesson` has it.

    A few of Adam's steps along `slopes` take a tenth off what errors cost, more than the tables of
    importance, which know nothing of how coefficients are distributed.

    Parameters
    ----------
    part, head, shape, size, rate
        As for :func:`slopes`.
    """
    found = shape.clone()
    mean, square = torch.zeros_like(found), torch.zeros_like(found)
    for step in range(1, _STEPS + 1):
        slope = slopes(part, head, found, size, rate)
        mean = 0.9 * mean + 0.1 * slope
        square = 0.99 * square + 0.01 * slope * slope
        deviation = (square / (1 - 0.99**step)).sqrt() + 1e-6
        reach = _REACH * (1 - (step - 1) / (_STEPS + 1))
        found = found - reach * (mean / (1 - 0.9**step)) / deviation
    away = (found - shape).detach()
    return away - away.mean()


def take_over(network: ControlNetwork, lessons: Sequence[Lesson]) -> None:
    """Let what lessons have in common be shared, and let patterns be what they differ by."""
    with torch.no_grad():
        for head in range(len(network.heads)):
            own = [lesson for lesson in lessons if lesson.head == head]
            if not own:
                continue
            places = torch.from_numpy(np.stack([place(le.description, le.size) for le in own]))
            wanted = torch.stack([lesson.wanted for lesson in own])
            ridge = _FEW * torch.eye(places.shape[1])
            network.base[head] += torch.linalg.solve(places.T @ places + ridge, places.T @ wanted)
        wanted = torch.stack([lesson.wanted for lesson in lessons])
        _, _, patterns = torch.linalg.svd(wanted - wanted.mean(0), full_matrices=False)
        network.basis.copy_(patterns[:PATTERNS])


def imitation(network: ControlNetwork, lessons: Sequence[Lesson], centre: Tensor) -> Tensor:
    """Return by how much pictures differ otherwise than in lessons, squared.

    Parameters
    ----------
    network
        That is trained.
    lessons
        To learn.
    centre
        ``(heads, 24, 128)``: the base that they differ from.
    """
    asked = [lesson.description for lesson in lessons], [lesson.size for lesson in lessons]
    heads = torch.tensor([lesson.head for lesson in lessons])
    found = network(*asked)[torch.arange(len(lessons)), heads]
    places = np.stack([place(*pair) for pair in zip(*asked, strict=True)])
    shared = torch.einsum("np,npk->nk", torch.from_numpy(places), centre[heads])
    wanted = torch.stack([lesson.wanted for lesson in lessons])
    error: Tensor = (found - shared - wanted).square().mean()
    return error


def _shrunk(part: Window) -> bool:
    return part.description.area > _SHRUNK


def curriculum(
    progress: float, windows: Sequence[Window], rate: Tensor, rng: np.random.Generator
) -> list[float]:
    """Return bytes to ask for: one of each of as many bins, of a range that widens.

    Parameters
    ----------
    progress
        0 to 1: of training.
    windows
        That are to have them.
    rate
        Weights of `idse.learned.jpeg.control_rate`: what is beyond reach is not asked for.
    rng
        For where in the bins, and their order.
    """
    reach = min(1.0, 0.3 + progress)
    count = len(windows)
    shares = rng.permutation((np.arange(count) + rng.uniform(size=count)) / count)
    found = []
    for share, part in zip(shares, windows, strict=True):
        ends = _ENDS[_shrunk(part)]
        if part.layout.sampling == "4:4:4":
            ends = ends[0] + _LATER, ends[1]
        low, high = (_MIDDLE + reach * (end - _MIDDLE) for end in ends)
        ones = np.ones((2, 64))
        finest = _FINEST * control_rate.file_bytes(part.description, ones, rate.numpy())
        found.append(min(size_of(2 ** (low + (high - low) * share), part), finest))
    return found


def slopes(
    part: Window,
    head: int,
    shape: Tensor,
    size: float,
    rate: Tensor,
    *,
    judged: Judged | None = None,
) -> Tensor:
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
    judged
        The picture as the head's network sees it, where that is to say half of it.

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
    levels, errors, cost = [], [], torch.zeros(())
    for component, (plane, weights) in enumerate(
        zip(part.coefficients, part.weights[head], strict=True)
    ):
        step = steps[min(component, 1)]
        levels.append(SURROGATE.round(plane / step))
        errors.append(_error(plane, step))
        cost = cost + (weights * errors[-1].square()).sum()
    bits = sum(group.bits.sum() for group in statistics(levels, part.layout))
    assert isinstance(bits, torch.Tensor)
    (worse,) = torch.autograd.grad(cost.log(), logs, retain_graph=True)
    if judged is not None:
        decoded = [p - e for p, e in zip(part.coefficients, errors, strict=True)]
        distance = judged.distance(decoded).log()
        (seen,) = torch.autograd.grad(distance, logs, retain_graph=True)
        worse = (1 - _JUDGED) * worse + _JUDGED * seen
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
    judged: Sequence[Judged | None],
    *,
    shared: bool = False,
) -> Tensor:
    """Return a loss whose gradient is that of `slopes`.

    Parameters
    ----------
    network
        That is trained.
    windows, sizes, heads, judged
        Pictures, bytes, for which head each is coded, and what that sees of it, if it looks.
    shared
        Of the tables that pictures share alone.
    """
    tables = network.shared if shared else network
    found = tables([part.description for part in windows], sizes)
    chosen = found[torch.arange(len(windows)), torch.tensor(heads)]
    asked = zip(windows, heads, chosen, sizes, judged, strict=True)
    gradient = torch.stack(
        [
            slopes(part, head, shape, size, network.rate, judged=seen)
            for part, head, shape, size, seen in asked
        ]
    )
    ideal = torch.stack([part.ideal[head] for part, head in zip(windows, heads, strict=True)])
    away = chosen - ideal
    away = away - away.mean(1, keepdim=True)
    loss: Tensor = (gradient * chosen).sum(1).mean() + _NEAR_IMPORTANCE * away.square().mean()
    return loss
