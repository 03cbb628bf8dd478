"""What errors in training photographs cost a vision network, computed once and ahead.

Training with ``IDSE + tau SSE`` (IDSE paper, equation 18) needs the sketched Jacobian of a network
with respect to each picture. Here its diagonal is taken, block by block, of whole pictures as the
network sees them; crops then take their part. A sketch per crop would show the network a part of a
scene, enlarged, and cost a backward pass per row at every iteration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from idse.learned.vae.data import load_photograph, picture_files
from idse.picture import MACROBLOCK, Picture, PictureFormat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from idse.importance import Analyser


def importance_weights(
    folder: Path,
    analyser: Analyser,
    *,
    alpha: float = 1.0,
    report: Callable[[str], None] | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Compute the weights of every photograph for `idse.learned.vae.losses.weighted_error`.

    Parameters
    ----------
    folder
        As `Photographs` takes it.
    analyser
        Of the network.
    alpha
        How much the squared error counts beside IDSE: tau = alpha times the mean importance of a
        sample, over all planes and pictures.
    report
        Is told the name of every picture that is done.

    Returns
    -------
    dict
        Path relative to the folder: ``(3, rows, columns)``, one value per plane and 16x16 block,
        normalised over the whole set, never per picture, so that samples weigh 1 on average.
    """
    energies, samples = {}, {}
    for path in picture_files(folder):
        name = str(path.relative_to(folder))
        picture = as_picture(load_photograph(path))
        energies[name] = analyser.sketch(picture).block_energy(MACROBLOCK)
        samples[name] = _block_samples(picture.format)
        if report is not None:
            report(name)
    count = 3 * sum(int(part.sum()) for part in samples.values())
    mean = sum(float(energy.sum()) for energy in energies.values()) / count
    return {
        name: ((energy / samples[name] / mean + alpha) / (1 + alpha)).astype(np.float32)
        for name, energy in energies.items()
    }


def as_picture(pixels: npt.NDArray[np.uint8]) -> Picture:
    """Return R'G'B' ``(height, width, 3)`` as a picture in Y'CbCr 4:4:4 of full range."""
    planes = np.asarray(Image.fromarray(pixels).convert("YCbCr")).transpose(2, 0, 1)
    y, cb, cr = (np.ascontiguousarray(plane) for plane in planes)
    form = PictureFormat(
        width=pixels.shape[1], height=pixels.shape[0], pix_fmt="yuvj444p", full_range=True
    )
    return Picture(planes=(y, cb, cr), format=form)


def _block_samples(form: PictureFormat) -> npt.NDArray[np.int64]:
    """Return how many samples of a plane every block has: fewer at the lower and right edge."""
    rows, columns = (
        np.diff(np.append(np.arange(0, size, MACROBLOCK), size))
        for size in (form.height, form.width)
    )
    counts: npt.NDArray[np.int64] = np.outer(rows, columns)
    return counts
