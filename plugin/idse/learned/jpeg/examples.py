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
_PIX_FMTS = {"4:2:0": "yuvj420p", "4:4:4": "yuvj444p"}
SAMPLINGS = tuple(_PIX_FMTS)


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
    sampling
        ``"4:2:0"`` or ``"4:4:4"``.
    """

    pixels: npt.NDArray[np.uint8]
    coefficients: list[npt.NDArray[np.float32]]
    weights: dict[str, list[npt.NDArray[np.float32]]]
    sampling: str

    @property
    def layout(self) -> JpegLayout:
        """Of its JPEG."""
        height, width = self.pixels.shape[:2]
        return JpegLayout(width, height, self.sampling)


def weigh(
    pixels: npt.NDArray[np.uint8], teachers: dict[str, FeatureExtractor], sampling: str
) -> Example:
    """Return an example, looked at by its teachers."""
    height, width = pixels.shape[:2]
    layout = JpegLayout(width, height, sampling)
    coefficients, samples = transform_with_samples(pixels, layout)
    form = PictureFormat(
        width=width,
        height=height,
        pix_fmt=_PIX_FMTS[sampling],
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
    return Example(pixels, coefficients, weights, sampling)


def save(path: Path, example: Example) -> None:
    """Write an example; weights have 11 bits."""
    arrays = {
        f"{name}/{component}": plane.astype(np.float16)
        for name, planes in example.weights.items()
        for component, plane in enumerate(planes)
    }
    part = path.with_suffix(".part.npz")
    facts = {"pixels": example.pixels, "sampling": np.array(example.sampling)}
    np.savez(part, **facts, **arrays)  # type: ignore[arg-type]
    part.replace(path)


def load(path: Path) -> Example:
    """Read what :func:`save` wrote."""
    weights: dict[str, list[npt.NDArray[np.float32]]] = {}
    with np.load(path) as file:
        pixels, sampling = file["pixels"], str(file["sampling"])
        for key in sorted(set(file.files) - {"pixels", "sampling"}):
            weights.setdefault(key.rsplit("/", 1)[0], []).append(file[key].astype(np.float32))
    height, width = pixels.shape[:2]
    coefficients = transform_with_samples(pixels, JpegLayout(width, height, sampling)).coefficients
    return Example(pixels, coefficients, weights, sampling)
