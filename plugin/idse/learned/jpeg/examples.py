"""What control networks learn from: coefficients of pictures, and what their errors cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from idse.codecs.jpeg import JpegLayout, transform_with_samples
from idse.importance import Analyser
from idse.picture import Picture, PictureFormat

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from idse.vision import FeatureExtractor

_ROWS = 4


@dataclass(frozen=True, eq=False)
class Example:
    """A picture to learn from.

    Attributes
    ----------
    pixels
        uint8 ``(height, width, 3)``.
    coefficients
        Per component float32 ``(rows, columns, 8, 8)``.
    weights
        By teacher, per component float32 of the same shapes: what squared errors cost it, with a
        mean of 1 over all.
    """

    pixels: npt.NDArray[np.uint8]
    coefficients: list[npt.NDArray[np.float32]]
    weights: dict[str, list[npt.NDArray[np.float32]]]

    @property
    def layout(self) -> JpegLayout:
        """Of its JPEG: 4:2:0."""
        height, width = self.pixels.shape[:2]
        return JpegLayout(width, height)


def weigh(pixels: npt.NDArray[np.uint8], teachers: dict[str, FeatureExtractor]) -> Example:
    """Return an example, looked at by its teachers."""
    height, width = pixels.shape[:2]
    layout = JpegLayout(width, height)
    coefficients, samples = transform_with_samples(pixels, layout)
    form = PictureFormat(
        width=width,
        height=height,
        pix_fmt="yuvj420p",
        matrix="bt601",
        full_range=True,
        siting="center",
    )
    y, cb, cr = samples
    picture = Picture(planes=(y, cb, cr), format=form)
    weights = {}
    for name, network in teachers.items():
        found = Analyser([(network, 1.0)], n_s=_ROWS, seed=0).coefficients(picture)
        total = sum(float(plane.sum(dtype=np.float64)) for plane in found)
        mean = total / sum(plane.size for plane in found)
        # A network that is blind to a picture asks for nothing of it: plain squared error is left.
        weights[name] = [
            plane / np.float32(mean) if mean > 0 else np.ones_like(plane) for plane in found
        ]
    return Example(pixels, coefficients, weights)


def save(path: Path, example: Example) -> None:
    """Write an example; weights have 11 bits."""
    arrays = {
        f"{name}/{component}": plane.astype(np.float16)
        for name, planes in example.weights.items()
        for component, plane in enumerate(planes)
    }
    part = path.with_suffix(".part.npz")
    np.savez(part, pixels=example.pixels, **arrays)  # type: ignore[arg-type]
    part.replace(path)


def load(path: Path) -> Example:
    """Read what :func:`save` wrote."""
    weights: dict[str, list[npt.NDArray[np.float32]]] = {}
    with np.load(path) as file:
        pixels = file["pixels"]
        for key in sorted(set(file.files) - {"pixels"}):
            weights.setdefault(key.rsplit("/", 1)[0], []).append(file[key].astype(np.float32))
    height, width = pixels.shape[:2]
    coefficients = transform_with_samples(pixels, JpegLayout(width, height)).coefficients
    return Example(pixels, coefficients, weights)
