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
    edges = [(0, 0)] * (values.ndim - 2)
    rows = np.pad(values, [*edges, (1, 1), (0, 0)], mode="edge")
    rows = 0.5 * rows[..., 1:-1, :] + 0.25 * (rows[..., :-2, :] + rows[..., 2:, :])
    cols = np.pad(rows, [*edges, (0, 0), (1, 1)], mode="edge")
    found = 0.5 * cols[..., 1:-1] + 0.25 * (cols[..., :-2] + cols[..., 2:])
    return found.astype(values.dtype, copy=False)
