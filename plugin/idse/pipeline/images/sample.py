"""Some of a picture's blocks in place of all, where a share says enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from idse.codecs.jpeg import JpegLayout, Quantiser

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Blocks = npt.NDArray[np.floating]

# MCUs of a sample: distortions of two settings then compare within 3.5 % (rms, quality 30 to 90) of
# how they do on the whole picture. Twice as many bring 2.2 %; trust in a sketch is rougher.
_MCUS = 512


def sampled(
    layout: JpegLayout, coefficients: Sequence[Blocks], weights: Sequence[Blocks]
) -> Quantiser | None:
    """Return a quantiser of some MCUs of a picture, spread evenly over it.

    Parameters
    ----------
    layout, coefficients, weights
        As `idse.codecs.jpeg.Quantiser` takes them.

    Returns
    -------
    Quantiser or None
        None where a sample would be more than half of the picture.
    """
    wide, tall = layout.factors[0]
    rows, columns = (
        n // factor for n, factor in zip(layout.block_shape(0), (tall, wide), strict=True)
    )
    if rows * columns < 2 * _MCUS:
        return None
    # Steps by a golden section reach all columns, whatever their number.
    golden = (np.sqrt(5) - 1) / 2
    row = np.arange(_MCUS) * rows // _MCUS
    column = (np.arange(_MCUS) * golden % 1 * columns).astype(np.int64)

    def of(blocks: Blocks, component: int) -> Blocks:
        across, down = layout.factors[component]
        below = (row * down)[None, :, None] + np.arange(down)[:, None, None]
        right = (column * across)[None, :, None] + np.arange(across)
        taken: Blocks = blocks[below, right]
        return taken.reshape(down, _MCUS * across, 8, 8)

    return Quantiser(
        JpegLayout(_MCUS * wide * 8, tall * 8, layout.sampling),
        [of(blocks, index) for index, blocks in enumerate(coefficients)],
        [of(blocks, index) for index, blocks in enumerate(weights)],
    )
