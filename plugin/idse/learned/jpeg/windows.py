"""Parts of examples as pictures of their own, and real files of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from idse.allocation.tables import plan
from idse.codecs.jpeg import JpegLayout, Quantiser
from idse.learned.jpeg import control_rate
from idse.learned.jpeg.description import Description, describe
from idse.learned.jpeg.size_training import random_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from idse.learned.jpeg.examples import Example

# Luma blocks along the sides of what is learned from at once: 320 samples.
_WINDOW = 40
# Share of other teachers' weights beside a head's own, and of plain squared error: what no teacher
# here looks at, another network may.
_OTHERS, _PLAIN = 0.15, 0.03
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


def window(
    example: Example, heads: Sequence[str], rng: np.random.Generator | None = None
) -> Window:
    """Cut a part out of an example, at random where it is larger than 320x320.

    Parameters
    ----------
    example
        The picture.
    heads
        Names of the teachers.
    rng
        For where; without it the picture is taken whole.
    """
    all_weights = [example.weights[name] for name in heads]
    if rng is None:
        return _of(example.coefficients, all_weights, example.layout, example.layout)
    rows, columns = example.coefficients[0].shape[:2]
    height, width = (min(_WINDOW, 2 * (size // 2)) for size in (rows, columns))
    top, left = (
        2 * int(rng.integers((size - part) // 2 + 1))
        for size, part in ((rows, height), (columns, width))
    )

    wide, tall = example.layout.factors[0]

    def cut(planes: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
        found = []
        for plane, (across, down) in zip(planes, ((1, 1), *[(wide, tall)] * 2), strict=True):
            y, x = top // down, left // across
            part = plane[y : y + height // down, x : x + width // across]
            found.append(np.ascontiguousarray(part))
        return found

    layout = JpegLayout(8 * width, 8 * height, example.sampling)
    parts = [cut(weights) for weights in all_weights]
    return _of(cut(example.coefficients), parts, layout, example.layout)


def _of(
    coefficients: list[npt.NDArray[np.float32]],
    all_weights: list[list[npt.NDArray[np.float32]]],
    layout: JpegLayout,
    whole: JpegLayout,
) -> Window:
    described = describe(coefficients, layout)
    return Window(
        layout,
        replace(described, area=whole.width * whole.height),
        [torch.from_numpy(plane)[None] for plane in coefficients],
        [_mixed(all_weights, own) for own in range(len(all_weights))],
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


def size_of(bits_per_pixel: float, part: Window) -> float:
    """Return bytes."""
    return max(bits_per_pixel * part.description.pixels / 8, 1.0)


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


def finest(part: Window) -> int:
    """Return the bytes of the file with steps of 1."""
    return _size(_quantiser(part), np.ones(128))


def cost_at(part: Window, head: int, shape: Tensor, size: float) -> float:
    """Return the logarithm of what errors cost with whole tables, at a real file's size.

    Parameters
    ----------
    part, head, shape, size
        As for `control_training.slopes`.
    """
    cost = 0.0
    coded = zip(part.coefficients, decoded(part, shape, size), part.weights[head], strict=True)
    for plane, found, weights in coded:
        cost += float((weights * (plane - found).square()).sum())
    return float(np.log(cost))


def decoded(part: Window, shape: Tensor, size: float) -> list[Tensor]:
    """Return what a decoder makes of the largest file found that is not above a size.

    Parameters
    ----------
    part, shape, size
        As for `control_training.slopes`; tables are whole.

    Returns
    -------
    list of Tensor
        Per component coefficients ``(1, rows, columns, 8, 8)``.
    """
    quantiser = _quantiser(part)
    logs = shape.detach().double().numpy()
    low, high = -6.0, 14.0
    for _ in range(12):
        middle = (low + high) / 2
        larger = _size(quantiser, np.exp2(logs + middle)) > size
        low, high = (middle, high) if larger else (low, middle)
    steps = torch.from_numpy(np.clip(np.rint(np.exp2(logs + high)), 1, 255)).float()
    luma, chroma = steps.reshape(2, 8, 8)
    return [
        step * (plane / step).round()
        for plane, step in zip(part.coefficients, (luma, chroma, chroma), strict=True)
    ]
