"""Averaging maps over neighbours."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Real = TypeVar("Real", bound=np.floating)


def binomial(values: npt.NDArray[Real]) -> npt.NDArray[Real]:
    """Return ``values`` ``(..., rows, cols)`` under a 3x3 binomial kernel, edges repeated.

    The type stays: the kernel's values are powers of 2.
    """
    rows = np.concatenate((values[..., :1, :], values, values[..., -1:, :]), axis=-2)
    rows = 0.5 * rows[..., 1:-1, :] + 0.25 * (rows[..., :-2, :] + rows[..., 2:, :])
    cols = np.concatenate((rows[..., :1], rows, rows[..., -1:]), axis=-1)
    found = 0.5 * cols[..., 1:-1] + 0.25 * (cols[..., :-2] + cols[..., 2:])
    return found.astype(values.dtype, copy=False)
