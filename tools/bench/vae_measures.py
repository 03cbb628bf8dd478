"""Files of learned codecs, measured on Kodak and kept: what tables of training are made from."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING

from bench_common import CACHE, data
from vae_quality import quality

from idse.codecs.vae import Network, decode, encode
from idse.evaluation.judge import Judge, output_distance
from idse.evaluation.pixels import jfif_picture, read_pixels
from idse.files import write_atomically
from idse.learned.vae.calibrate import calibrated
from idse.learned.vae.data import Photographs
from idse.learned.vae.export import make
from idse.learned.vae.model import network_of
from idse.learned.vae.train import read_checkpoint, trained_network
from idse.vision import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from idse.evaluation.pixels import RGB

    Figures = dict[str, float]

# Finest and coarsest, 1024 times the binary logarithm: more than any target needs.
STEPS = (-6 * 1024, 10 * 1024)
# Of models whose tables are fitted: factorised ones need tables for every step.
FITTED = (0, 8 * 1024)
# Of the figures in the cache: another where `vae_quality` measures otherwise.
VERSION = 2
JUDGE = "yolov4-tiny"


def measure(pixels: RGB, decoded: RGB, size: int) -> Figures:
    """Return the rate in bits per pixel, and `vae_quality.quality`."""
    return {"bpp": 8 * size / (pixels.shape[0] * pixels.shape[1]), **quality(pixels, decoded)}


class Cache:
    """Figures of files, on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = json.loads(path.read_text()) if path.exists() else {}

    def get(self, key: str, make_: Callable[[], list[Figures]]) -> list[Figures]:
        if key not in self._known:
            self._known[key] = make_()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps(self._known).encode())
        found: list[Figures] = self._known[key]
        return found


class Bench:
    """Images, and what is known of models, by the content of their checkpoints."""

    def __init__(self) -> None:
        self.images = [read_pixels(path) for path in sorted(data("kodak").glob("*.png"))]
        self._cache = Cache(CACHE / "vae_tables.json")
        self._judge: Judge | None = None

    def at_step(self, path: Path, step: int) -> list[Figures]:
        """Code all images at one step, with the probabilities that the model's loss was set by."""

        def run() -> list[Figures]:
            network = network_of(make(trained_network(read_checkpoint(path)), steps=(step, step)))
            return [self._code(pixels, network, step=step) for pixels in self.images]

        return self._cache.get(f"{identity(path)} step {step}", run)

    def at_sizes(self, path: Path, sizes: Sequence[int]) -> list[Figures]:
        """Code each image into as many bytes, with the model's own probabilities."""

        def run() -> list[Figures]:
            network = network_of(make(trained_network(read_checkpoint(path)), steps=STEPS))
            return [
                self._code(pixels, network, target_bytes=size)
                for pixels, size in zip(self.images, sizes, strict=True)
            ]

        digest = hashlib.sha256(repr(list(sizes)).encode()).hexdigest()
        return self._cache.get(f"{identity(path)} sizes {digest}", run)

    def at_rates(
        self, path: Path, rates: Sequence[float], chosen: Sequence[int], photographs: Path
    ) -> list[list[Figures]]:
        """Code some images at each rate, with tables fitted to photographs, and judge them."""
        known, networks = identity(path), list[Network]()

        def at(rate: float) -> list[Figures]:
            if not networks:
                crops = Photographs(photographs, side=192).draw(8, seed=(1 << 21,)).pictures
                pictures = list((255 * crops).round().byte().permute(0, 2, 3, 1).numpy())
                file = calibrated(trained_network(read_checkpoint(path)), pictures, steps=FITTED)
                networks.append(network_of(file))
            return [self._judged(self.images[index], networks[0], rate) for index in chosen]

        return [
            self._cache.get(f"{known} fitted, {rate} bpp, images {list(chosen)}", partial(at, rate))
            for rate in rates
        ]

    def bytes_of(self, figures: Sequence[Figures]) -> list[int]:
        """Return the sizes of files of all images."""
        return [
            round(entry["bpp"] * pixels.shape[0] * pixels.shape[1] / 8)
            for entry, pixels in zip(figures, self.images, strict=True)
        ]

    @staticmethod
    def _code(pixels: RGB, network: Network, **how: int) -> Figures:
        coded = encode(pixels, network, **how)
        decoded = decode(coded.data, lambda _: network)
        return measure(pixels, decoded, len(coded.data))

    def _judged(self, pixels: RGB, network: Network, rate: float) -> Figures:
        """Measure also how far the judge's outputs are."""
        coded = encode(pixels, network, target_bpp=rate)
        decoded = decode(coded.data, lambda _: network)
        if self._judge is None:
            self._judge = Judge(load_model(JUDGE))
        before, after = (
            self._judge.observe(jfif_picture(picture, 0)).features for picture in (pixels, decoded)
        )
        figures = measure(pixels, decoded, len(coded.data))
        return {**figures, "distance": output_distance(before, after)}


def identity(path: Path) -> str:
    """Return what tells figures of checkpoints apart."""
    return f"{VERSION} {hashlib.sha256(path.read_bytes()).hexdigest()}"
