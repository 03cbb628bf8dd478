"""Quantisation tables: the standard's, and what a file can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

# ITU-T T.81, tables K.1 and K.2.
_LUMA: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA: Final = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


def standard_table(quality: int, *, chroma: bool) -> npt.NDArray[np.uint16]:
    """Return libjpeg's table for a quality.

    Parameters
    ----------
    quality
        1 to 100.
    chroma
        The table for Cb and Cr instead of the one for Y.

    Returns
    -------
    numpy.ndarray
        uint16 ``(8, 8)``, natural order, 1 to 255.

    Raises
    ------
    InputError
        The quality is out of range.
    """
    if not 1 <= quality <= 100:
        raise InputError(f"quality {quality} is not between 1 and 100")
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = np.array(_CHROMA if chroma else _LUMA)
    table: npt.NDArray[np.uint16] = np.clip((base * scale + 50) // 100, 1, 255).astype(np.uint16)
    return table


def checked_tables(
    tables: Sequence[npt.ArrayLike], components: int
) -> list[npt.NDArray[np.uint16]]:
    """Return the tables of a file's components as uint16 ``(8, 8)`` each.

    Raises
    ------
    InputError
        There is not one for each component, or one is not 8x8 integers of 1 to 65535.
    """
    if len(tables) != components:
        raise InputError(f"{len(tables)} tables for {components} components: hand in one for each")
    checked = []
    for index, given in enumerate(tables):
        table = np.asarray(given)
        if table.shape != (8, 8) or not np.issubdtype(table.dtype, np.integer):
            raise InputError(
                f"table {index} is {table.dtype} {table.shape}: tables are 8x8 integers"
            )
        if table.min() < 1 or table.max() > 0xFFFF:
            raise InputError(
                f"table {index} holds {table.min()} to {table.max()}: steps are 1 to 65535"
            )
        checked.append(np.ascontiguousarray(table, np.uint16))
    return checked
