"""Quantisation tables of a JPEG, and what its coefficients are weighed with, from importance.

A coefficient quantised with step q and weight w costs about ``w q^2 / 12``, and a bit of it buys
``2 ln 2`` times that. Bits are spent best where that slope is one number, lambda, for every
frequency of every component: ``q_k = scale / sqrt(w_k)``, with w_k the mean weight of frequency k
and lambda proportional to ``scale^2`` (Fernandez-Menduina et al., "Image Coding for Machines via
Feature-Preserving Rate-Distortion Optimization", equations 19 and 27, taken per frequency). Tables
hold for the whole picture; how a block or a coefficient differs from the mean is the trellis'
business, which minimises ``sum of w (c - q v)^2 + lambda * bits``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse import weight_kernels
from idse.errors import InputError
from idse.importance.smoothing import binomial

if TYPE_CHECKING:
    from collections.abc import Sequence

FloatBlocks = npt.NDArray[np.float32]
Table = npt.NDArray[np.uint8]

ALPHA = 0.01
BALANCE = 0.5
STRENGTH = 0.5
# lambda in units of scale^2 at full strength. 2 ln 2 / 12 = 0.116 is the slope of a uniform
# quantiser at high rate; a trellis that is asked to keep less zeroes what other networks look at.
_SLOPE = 0.12
_SLOPE_RANGE = 36.0
# A network with a smaller input sees less of the high frequencies, and of colour, than the one that
# made the weights; these cost the latter about one percent of the bytes.
_STEEPER = 1.3
_CHROMA = 0.7
# A frequency that matters less than this share of the most important one has the longest step.
_LEAST = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class OperatingPoint:
    """How to quantise.

    Attributes
    ----------
    tables
        Per component uint8 ``(8, 8)``, 1 to 255, natural order: rows are vertical frequencies.
    lam
        Price of a bit in units of weighted squared error, above 0.
    """

    tables: tuple[Table, ...]
    lam: float


@dataclass(frozen=True, kw_only=True, eq=False)
class CoefficientPlan:
    """Where a picture's bits go, at any rate.

    Attributes
    ----------
    weights
        Per component float32 ``(block rows, block columns, 8, 8)``, above 0: what the trellis
        weighs squared errors of orthonormal coefficients with.
    spectra
        Per component float64 ``(8, 8)``: means that the steps follow.
    slope
        lambda at a scale of 1.
    """

    weights: tuple[FloatBlocks, ...]
    spectra: tuple[npt.NDArray[np.float64], ...]
    slope: float

    def at(self, scale: float) -> OperatingPoint:
        """Return tables and lambda.

        Parameters
        ----------
        scale
            Above 0; the larger, the smaller the file. ``scale^2`` is what an error of one step
            costs, the same for every frequency of every picture coded at that scale: bytes then
            go to the pictures that need them. Its unit is the features' (at a balance of 0.5 its
            square root): photographs have about 2 bits a pixel at 0.06 and 0.2 at 1 with
            yolov4-tiny, at 0.03 and 0.5 with efficientnet-lite0.

        Raises
        ------
        InputError
            The scale is not a number above 0.
        """
        if not (math.isfinite(scale) and scale > 0):
            raise InputError(f"scale {scale!r} must be a number above 0")
        tables = tuple(
            np.clip(np.rint(scale / np.sqrt(spectrum)), 1, 255).astype(np.uint8)
            for spectrum in self.spectra
        )
        return OperatingPoint(tables=tables, lam=self.slope * scale * scale)


def plan(
    weights: Sequence[FloatBlocks],
    *,
    alpha: float = ALPHA,
    balance: float = BALANCE,
    strength: float = STRENGTH,
) -> CoefficientPlan:
    """Return the plan for a picture.

    Parameters
    ----------
    weights
        Per component ``(block rows, block columns, 8, 8)``, finite and >= 0, as
        `idse.importance.Analyser.coefficients` returns them.
    alpha
        Weight of plain squared error beside importance, at least 0: tau = alpha * tau_tilde with
        tau_tilde the mean importance per sample, so that at 1 both count the same on average.
    balance
        How far pictures coded at one scale may differ in quality, 0 to 1. At 1 an error of the
        features costs the same in all of them, so that a picture whose features are ten times as
        sensitive is coded that much finer; at 0 pictures have the same mean weight, 1.
    strength
        How far blocks may differ, 0 (not at all, but for a mild trellis) to 1. At 1 only what the
        networks look at counts: best where no other network will ever see the picture. What they
        overlook is gone then, and a network that did not make the weights may lose. At 0 such a
        network gains about half as much as the one that made them, whose own gain is least.

    Raises
    ------
    InputError
        No component, arrays of another shape, values that are negative or not finite, or an
        option out of range.
    """
    if not (math.isfinite(alpha) and alpha >= 0):
        raise InputError(f"alpha {alpha!r} must be a number from 0 on")
    if not 0 <= balance <= 1:
        raise InputError(f"balance {balance!r} must be a number from 0 to 1")
    if not 0 <= strength <= 1:
        raise InputError(f"strength {strength!r} must be a number from 0 to 1")
    sums = _checked_sums(weights)
    mean = sum(float(total.sum()) for total in sums) / sum(w.size for w in weights)
    if not mean > 0:  # The network is blind to the picture: plain squared error is left.
        weights, mean = [np.ones_like(w) for w in weights], 1.0
        sums = _checked_sums(weights)
    factor, tau = mean ** (balance - 1), max(alpha, _LEAST) * mean
    floor = (1 - strength) ** 4
    parts = [
        _plane(w, total, tau=tau, factor=factor, floor=floor, share=_CHROMA if k else 1.0)
        for k, (w, total) in enumerate(zip(weights, sums, strict=True))
    ]
    return CoefficientPlan(
        weights=tuple(found for found, _ in parts),
        spectra=tuple(spectrum for _, spectrum in parts),
        slope=_SLOPE * _SLOPE_RANGE ** (strength - 1),
    )


def _checked_sums(weights: Sequence[FloatBlocks]) -> list[npt.NDArray[np.float64]]:
    """Return each component's weights, summed by frequency."""
    if not weights:
        raise InputError("a plan needs the weights of at least one component, got none")
    sums = []
    for w in weights:
        if w.ndim != 4 or w.shape[2:] != (8, 8) or not w.size:
            raise InputError(f"weights {w.shape} are not (block rows, block columns, 8, 8)")
        sums.append(weight_kernels.frequency_sums(w))
    return sums


def _plane(
    weights: FloatBlocks,
    sums: npt.NDArray[np.float64],
    *,
    tau: float,
    factor: float,
    floor: float,
    share: float,
) -> tuple[FloatBlocks, npt.NDArray[np.float64]]:
    """Return a component's weights, smoothed, and their mean spectrum; tau is in both.

    A sketch of few rows is noisy where a block's Jacobian has few directions. What blocks have in
    common, the spectrum, and what a block's frequencies and its neighbours have in common, its
    energy, are known far better than a single weight, of which half is taken.
    """
    mean = sums / math.prod(weights.shape[:2])
    if not mean.max() > 0:
        return np.full_like(weights, factor * tau), np.full((8, 8), factor * tau)
    mean = np.maximum(mean, _LEAST * mean.max())
    spectrum = mean**_STEEPER
    spectrum *= factor * share * mean.mean() / spectrum.mean()
    block = weight_kernels.block_sums(weights, 1 / mean / 64)
    found = weight_kernels.blend_weights(
        weights,
        floor + 0.5 * (1 - floor) * binomial(block),
        own=0.5 * (1 - floor) * spectrum / mean,
        spectrum=spectrum,
        least=factor * tau,
    )
    return found, spectrum + factor * tau
