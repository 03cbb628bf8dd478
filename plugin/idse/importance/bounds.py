"""How many rows a sketch needs."""

from __future__ import annotations

import math

from idse.errors import InputError

# Rows of a sketch unless asked otherwise. Maps are smoothed over space and time, and then 1 to 16
# rows gain alike on video, within the noise (tools/bench/results/defaults.md), and 1, 2 and 4 on
# images: what rows cost is better spent on analysing more often.
DEFAULT_ROWS = 2


def check_sketch(n_s: int, seed: int) -> None:
    """Check what a sketch is asked for, also where a model needs none.

    Raises
    ------
    InputError
        ``n_s`` is below 1, or ``seed`` below 0.
    """
    if n_s < 1:
        raise InputError(f"n_s {n_s} must be at least 1")
    if seed < 0:
        raise InputError(f"seed {seed} must not be negative")


def rows_needed(candidates: int, epsilon: float) -> int:
    """Return the sketch rows that keep the distortion of every candidate within ``1 +- epsilon``.

    The Johnson-Lindenstrauss bound of the IDSE paper, equation (16): ``n_s >= 8 ln(n_r) /
    epsilon**2``. It holds for errors of any direction, hence is cautious: at the default of 2 rows
    it promises nothing, and the scatter of real maps is measured over seeds instead.

    Parameters
    ----------
    candidates
        Coding options that one block is compared over (n_r), >= 1.
    epsilon
        Relative error of the squared feature distance, within (0, 1).

    Raises
    ------
    InputError
        A value outside its range.
    """
    _check_candidates(candidates)
    if not 0 < epsilon < 1:
        raise InputError(f"epsilon {epsilon} must lie between 0 and 1")
    return max(1, math.ceil(8 * math.log(candidates) / epsilon**2))


def epsilon_reached(candidates: int, n_s: int) -> float:
    """Return the relative error that ``n_s`` rows promise: the inverse of `rows_needed`.

    Returns
    -------
    float
        ``sqrt(8 ln(n_r) / n_s)``. From 1 on the bound promises nothing.

    Raises
    ------
    InputError
        A value below 1.
    """
    _check_candidates(candidates)
    if n_s < 1:
        raise InputError(f"n_s {n_s} must be at least 1")
    return math.sqrt(8 * math.log(candidates) / n_s)


def _check_candidates(candidates: int) -> None:
    if candidates < 1:
        raise InputError(f"number of candidates {candidates} must be at least 1")
