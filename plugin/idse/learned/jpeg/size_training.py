"""Training of the size model: real pictures, random tables, libjpeg's own sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from idse.codecs.jpeg import JpegLayout, encode, read, standard_table
from idse.learned.jpeg.size_model import SizeModel, correlation, relative_error
from idse.learned.jpeg.symbols import Statistics, statistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

_CORRELATION = 0.1
_FINEST, _COARSEST = 1.0, 160.0


def random_tables(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return ``(2, 8, 8)`` steps at an arbitrary scale, of one of three families.

    The standard's tables; steps that rise with a random power of the frequency, with noise; and
    steps drawn from 1 to 255, as the thesis trains on.
    """
    kind = rng.integers(3)
    if kind == 0:
        tables = [standard_table(50, chroma=chroma) for chroma in (False, True)]
        return np.stack(tables).astype(np.float64)
    if kind == 1:
        frequency = 1 + np.hypot(*np.mgrid[:8, :8])
        power = rng.uniform(0, 1.6)
        noise = np.exp(rng.normal(0, 0.3, (2, 8, 8)))
        return np.stack([frequency**power, rng.uniform(0.7, 2) * frequency**power]) * noise
    return rng.uniform(1, 255, (2, 8, 8))


def scaled(steps: npt.NDArray[np.float64], scale: float) -> npt.NDArray[np.uint16]:
    """Return tables that a file can hold, with a geometric mean of about ``scale``."""
    mean = np.exp(np.log(steps).mean())
    tables: npt.NDArray[np.uint16]
    tables = np.clip(np.rint(steps * (scale / mean)), 1, 255).astype(np.uint16)
    return tables


@dataclass(frozen=True, eq=False)
class Sample:
    """One file: its statistics of one row each, and its size in bytes."""

    found: list[Statistics]
    size: int


def samples(
    pictures: Iterable[npt.NDArray[np.uint8]], *, seed: int, tables_each: int
) -> list[Sample]:
    """Code pictures with random tables.

    Parameters
    ----------
    pictures
        uint8 ``(height, width, 3)``.
    seed
        Of tables, scales and samplings.
    tables_each
        Files that are made of each picture.
    """
    rng = np.random.default_rng(seed)
    made = []
    for pixels in pictures:
        height, width = pixels.shape[:2]
        for _ in range(tables_each):
            sampling = str(rng.choice(["4:2:0", "4:2:0", "4:2:2", "4:4:4"]))
            scale = float(np.exp(rng.uniform(np.log(_FINEST), np.log(_COARSEST))))
            luma, chroma = scaled(random_tables(rng), scale)
            data = encode(pixels, tables=[luma, chroma, chroma], sampling=sampling)
            levels = [
                torch.from_numpy(plane.astype(np.float32))[None]
                for plane in read(data).coefficients
            ]
            layout = JpegLayout(width, height, sampling)
            made.append(Sample(statistics(levels, layout), len(data)))
    return made


def joined(training: list[Sample]) -> list[Statistics]:
    """Return the statistics of many files in as many rows."""
    return [
        Statistics(*(torch.cat(parts) for parts in zip(*rows, strict=True)))
        for rows in zip(*(sample.found for sample in training), strict=True)
    ]


def fit(training: list[Sample], *, steps: int = 2000, rate: float = 3e-3) -> SizeModel:
    """Return a model that was fitted to samples by equation 4.7 and the correlation.

    The same samples give the same model.

    Parameters
    ----------
    training
        Two or more.
    steps, rate
        Of Adam over all samples; the rate falls along a cosine.
    """
    model = SizeModel()
    actual = torch.tensor([float(sample.size) for sample in training])
    optimiser = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    found = joined(training)
    for _ in range(steps):
        predicted = model.of_statistics(found)
        loss = relative_error(predicted, actual)
        loss = loss + _CORRELATION * (1 - correlation(predicted, actual))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return model.requires_grad_(requires_grad=False)
