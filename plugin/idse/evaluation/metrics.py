"""Measures of one decoded picture against its source, for the eye.

Needs the extra ``eval`` (scipy).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from idse.errors import InputError, missing_extra

try:
    from scipy.ndimage import correlate1d
except ImportError as error:  # pragma: no cover - depends on the installation
    raise missing_extra("scipy", "eval") from error

# Z. Wang, E. Simoncelli, A. Bovik, "Multiscale structural similarity", Asilomar 2003: exponents of
# the five scales, and of the single-scale paper (2004) the window and the two constants.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
MS_SSIM_MIN_SIZE = _WINDOW << (len(_SCALES) - 1)


def _as_float(
    source: npt.NDArray[Any], decoded: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if source.shape != decoded.shape or source.ndim != 2:
        raise InputError(f"planes {source.shape} and {decoded.shape} cannot be compared")
    return source.astype(np.float64), decoded.astype(np.float64)


def psnr(source: npt.NDArray[Any], decoded: npt.NDArray[Any], *, bit_depth: int = 8) -> float:
    """Return the peak signal-to-noise ratio in dB of two planes; infinite where they are equal.

    The peak is the largest code value of ``bit_depth``, as codec comparisons have it, also for
    studio range.
    """
    x, y = _as_float(source, decoded)
    error = float(np.mean((x - y) ** 2))
    peak = (1 << bit_depth) - 1
    return float("inf") if error == 0 else 10 * float(np.log10(peak**2 / error))


def _blur(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the Gaussian-weighted mean around every sample whose window lies inside."""
    x = np.arange(_WINDOW) - _WINDOW // 2
    taps = np.exp(-(x**2) / (2 * _SIGMA**2))
    taps /= taps.sum()
    edge = _WINDOW // 2
    rows = correlate1d(plane, taps, axis=0)[edge:-edge]
    return np.asarray(correlate1d(rows, taps, axis=1)[:, edge:-edge])


def _similarity(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], peak: float
) -> tuple[float, float]:
    """Return the mean luminance-contrast-structure and contrast-structure terms of one scale."""
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    mx, my = _blur(x), _blur(y)
    vx, vy, vxy = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    structure = (2 * vxy + c2) / (vx + vy + c2)
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return float(np.mean(luminance * structure)), float(np.mean(structure))


def ssim(source: npt.NDArray[Any], decoded: npt.NDArray[Any], *, bit_depth: int = 8) -> float:
    """Return the structural similarity of two planes, at most 1, at their own scale.

    Raises
    ------
    InputError
        A side is shorter than the window's 11 samples.
    """
    x, y = _as_float(source, decoded)
    if min(x.shape) < _WINDOW:
        raise InputError(f"SSIM needs sides of at least {_WINDOW}, got {x.shape}")
    return _similarity(x, y, float((1 << bit_depth) - 1))[0]


def _halve(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    rows, columns = (size & ~1 for size in plane.shape)
    return np.asarray(plane[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean((1, 3)))


def ms_ssim(source: npt.NDArray[Any], decoded: npt.NDArray[Any], *, bit_depth: int = 8) -> float:
    """Return the multi-scale structural similarity of two planes, at most 1 (five scales).

    Negative structure at a scale counts as 0: its fractional power has no real value.

    Raises
    ------
    InputError
        A side is shorter than 176 samples: the fifth scale would not hold one window.
    """
    x, y = _as_float(source, decoded)
    if min(x.shape) < MS_SSIM_MIN_SIZE:
        raise InputError(f"MS-SSIM needs sides of at least {MS_SSIM_MIN_SIZE}, got {x.shape}")
    peak = float((1 << bit_depth) - 1)
    result = 1.0
    for scale, exponent in enumerate(_SCALES):
        if scale:
            x, y = _halve(x), _halve(y)
        whole, structure = _similarity(x, y, peak)
        term = whole if scale == len(_SCALES) - 1 else structure
        result *= max(term, 0.0) ** exponent
    return result
