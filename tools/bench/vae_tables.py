"""Reproduce the tables of the target-rate thesis on Kodak, from files that were really written.

python tools/bench/vae_tables.py MODELS [--many CHECKPOINT]

MODELS is a folder that tools/train/vae_targets.py filled. Every model codes the 24 images at the
one step it was trained at; the rate is that of the file, header included. The model of many rates
then codes each image into as many bytes, at most, as the model of one rate took. What was measured
is kept by the content of checkpoints: a repeated call measures only what is new.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from bench_common import CACHE, command_line, data, parser
from PIL import Image

from idse.codecs.vae import decode, encode
from idse.errors import IdseError
from idse.evaluation.metrics import ms_ssim, psnr, ssim
from idse.evaluation.table import markdown_table, write_results
from idse.files import write_atomically
from idse.learned.vae.export import make
from idse.learned.vae.model import network_of
from idse.learned.vae.networks import VaeConfig, build
from idse.learned.vae.train import read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from idse.codecs.vae import Network

    Pixels = npt.NDArray[np.uint8]
    Figures = dict[str, float]

# Finest and coarsest, 1024 times the binary logarithm: more than any target needs.
STEPS = (-6 * 1024, 10 * 1024)
TARGETS = (0.06, 0.12, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
LOSSES = ("fixed", "heuristic", "adaptive", "general")
TITLES = {
    "fixed": "5.14 with R_param = target",
    "heuristic": "heuristic (5.14, Algorithm 3)",
    "adaptive": "adaptive (6.8)",
    "general": "general (6.20)",
}
# Tables 6.3 to 6.6, parametric: mean, standard deviation, PSNR, SSIM, MS-SSIM per target.
THESIS: dict[str, tuple[tuple[float, ...], ...]] = {
    "general": (
        (0.06, 0.119, 0.253, 0.496, 0.753, 1.024, 1.534, 2.034),
        (0.004, 0.007, 0.01, 0.029, 0.043, 0.051, 0.053, 0.074),
        (24.78, 26.24, 28.20, 30.93, 32.87, 34.48, 36.94, 39.11),
        (0.65, 0.71, 0.80, 0.87, 0.92, 0.94, 0.97, 0.98),
        (0.86, 0.91, 0.94, 0.97, 0.98, 0.98, 0.99, 0.99),
    ),
    "adaptive": (
        (0.058, 0.118, 0.246, 0.498, 0.753, 1.024, 1.534, 2.034),
        (0.002, 0.003, 0.006, 0.029, 0.043, 0.051, 0.053, 0.074),
        (24.09, 25.60, 27.58, 30.74, 32.67, 34.20, 36.56, 38.65),
        (0.62, 0.70, 0.78, 0.88, 0.92, 0.94, 0.97, 0.98),
        (0.84, 0.90, 0.94, 0.97, 0.98, 0.98, 0.99, 0.99),
    ),
    "heuristic": (
        (0.059, 0.118, 0.252, 0.49, 0.731, 0.956, 1.467, 1.917),
        (0.003, 0.004, 0.006, 0.027, 0.03, 0.034, 0.041, 0.067),
        (23.73, 26.08, 28.30, 30.76, 32.53, 33.75, 36.42, 38.36),
        (0.61, 0.71, 0.80, 0.87, 0.91, 0.93, 0.96, 0.97),
        (0.83, 0.91, 0.94, 0.97, 0.98, 0.98, 0.99, 0.99),
    ),
}
# Table 5.3a: the R_param that the thesis' search ended with.
PARAMETERS = (0.254, 0.275, 0.410, 0.65, 0.86, 1.08, 1.55, 1.93)


def measure(pixels: Pixels, decoded: Pixels, size: int) -> Figures:
    """Return rate in bits per pixel, PSNR over R'G'B', SSIM and MS-SSIM of luma."""
    luma = [np.asarray(Image.fromarray(picture).convert("L")) for picture in (pixels, decoded)]
    return {
        "bpp": 8 * size / (pixels.shape[0] * pixels.shape[1]),
        "psnr": psnr(pixels.reshape(-1, 3), decoded.reshape(-1, 3)),
        "ssim": ssim(*luma),
        "ms_ssim": ms_ssim(*luma),
    }


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
    """Images, and what is known of models."""

    def __init__(self) -> None:
        self.images = [
            np.asarray(Image.open(path).convert("RGB"))
            for path in sorted(data("kodak").glob("*.png"))
        ]
        self._cache = Cache(CACHE / "vae_tables.json")

    def at_step(self, network: Network, step: int) -> list[Figures]:
        def run() -> list[Figures]:
            return [self._code(pixels, network, step=step) for pixels in self.images]

        return self._cache.get(f"{network.name} step {step}", run)

    def at_sizes(self, network: Network, sizes: Sequence[int]) -> list[Figures]:
        def run() -> list[Figures]:
            return [
                self._code(pixels, network, target_bytes=size)
                for pixels, size in zip(self.images, sizes, strict=True)
            ]

        digest = hashlib.sha256(repr(list(sizes)).encode()).hexdigest()
        return self._cache.get(f"{network.name} sizes {digest}", run)

    def bytes_of(self, figures: Sequence[Figures]) -> list[int]:
        return [
            round(entry["bpp"] * pixels.shape[0] * pixels.shape[1] / 8)
            for entry, pixels in zip(figures, self.images, strict=True)
        ]

    @staticmethod
    def _code(pixels: Pixels, network: Network, **how: int) -> Figures:
        coded = encode(pixels, network, **how)
        decoded = decode(coded.data, lambda _: network)
        return measure(pixels, decoded, len(coded.data))


def network_at(path: Path) -> Network:
    """Return the network of a checkpoint, with the probabilities that its loss was set by."""
    state = read_checkpoint(path)
    vae = build(VaeConfig(**json.loads(state["plan"])["model"]))
    vae.load_state_dict(state["network"])
    network = network_of(make(vae, steps=STEPS))
    return replace(network, name=hashlib.sha256(path.read_bytes()).hexdigest())


def summary(figures: Sequence[Figures], target: float) -> Figures:
    rates = [entry["bpp"] for entry in figures]
    return {
        "mean": statistics.fmean(rates),
        "deviation": statistics.pstdev(rates),
        "worst": max(abs(rate - target) / target for rate in rates),
        "within": sum(abs(rate - target) <= 0.15 * target for rate in rates),
        **{
            name: statistics.fmean(entry[name] for entry in figures)
            for name in ("psnr", "ssim", "ms_ssim")
        },
    }


def rate_rows(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for key, entry in found.items():
        loss, target = key.rsplit("-", 1)
        ours = entry["summary"]
        figures = [ours[name] for name in ("mean", "deviation", "psnr", "ssim", "ms_ssim")]
        cells = [
            format(figure, shape)
            for figure, shape in zip(figures, (".3f", ".3f", ".2f", ".2f", ".3f"), strict=True)
        ]
        parameter = f"{entry['note']['parameter']:.3f}"
        if loss in THESIS:
            index = TARGETS.index(float(target))
            theirs = [column[index] for column in THESIS[loss]]
            cells = [f"{cell} ({their:g})" for cell, their in zip(cells, theirs, strict=True)]
            parameter = f"{parameter} ({PARAMETERS[index]:g})"
        rates = [*cells[:2], f"{100 * ours['worst']:.0f} %", f"{ours['within']:.0f}"]
        rows.append([TITLES[loss], target, parameter, *rates, *cells[2:]])
    return rows


def comparison(bench: Bench, found: dict[str, Any], many: Network) -> list[list[str]]:
    """Compare models of one rate with that of many rates, image by image at the same size."""
    rows = []
    for key, entry in found.items():
        loss, target = key.rsplit("-", 1)
        if loss != "general":
            continue
        figures = bench.at_sizes(many, bench.bytes_of(entry["figures"]))
        entry["many"] = summary(figures, float(target))
        one, other = entry["summary"], entry["many"]
        rows.append(
            [
                target,
                f"{one['mean']:.3f}",
                f"{one['psnr']:.2f}",
                f"{other['mean']:.3f}",
                f"{other['psnr']:.2f}",
                f"{one['psnr'] - other['psnr']:+.2f}",
            ]
        )
    return rows


def main() -> None:
    add = parser(__doc__)
    add.add_argument("models", type=Path)
    add.add_argument("--many", type=Path, help="checkpoint of the model of many rates")
    chosen = add.parse_args()
    bench = Bench()
    found: dict[str, Any] = {}
    paths = [
        chosen.models / f"{loss}-{target:g}.ckpt"
        for target in sorted(TARGETS, key=(0.25, 1.0, 0.06).__contains__, reverse=True)
        for loss in LOSSES
    ]
    for path in filter(Path.exists, paths):
        note = json.loads(path.with_suffix(".json").read_text())
        figures = bench.at_step(network_at(path), round(1024 * math.log2(note["step"])))
        results = summary(figures, note["target"])
        found[path.stem] = {"note": note, "figures": figures, "summary": results}
        print(path.stem, json.dumps(results), flush=True)
        publish(chosen.results, found, [])
    if chosen.many:
        publish(chosen.results, found, comparison(bench, found, network_at(chosen.many)))


def publish(folder: Path, found: dict[str, Any], compared: list[list[str]]) -> None:
    """Write what there is so far: models take minutes each."""
    order = [f"{loss}-{target:g}" for loss in LOSSES for target in TARGETS]
    sorted_ = {key: found[key] for key in order if key in found}
    report = [f"`{command_line()}`\n", PREFACE.format(**describe(found))]
    head = ["loss", "target, bpp", "R_param", "mean", "standard deviation", "worst", "within 15 %"]
    report += ["## Rates and quality of models of one rate\n"]
    report += [markdown_table([*head, "PSNR, dB", "SSIM", "MS-SSIM"], rate_rows(sorted_))]
    if compared:
        head = ["target, bpp", "bpp of one", "PSNR", "bpp of many", "PSNR", "one less many, dB"]
        report += [MANY, markdown_table(head, compared)]
    write_results(
        folder / "vae_tables",
        data={"command": command_line(), "models": sorted_},
        markdown="\n".join(report),
    )


def describe(found: dict[str, Any]) -> dict[str, Any]:
    notes = [entry["note"] for entry in found.values()]
    return {
        "count": len(notes),
        "iterations": max((note["iterations"] for note in notes), default=0),
        "batch": max((note["batch"] for note in notes), default=0),
        "crop": max((note["crop"] for note in notes), default=0),
    }


PREFACE = """Kodak, 24 images; rates are those of files, headers included; PSNR over R'G'B', SSIM
and MS-SSIM of luma. {count} models of one rate, each trained for {iterations} iterations of {batch}
crops of {crop}x{crop} from a common start (the thesis: 500,000 to 750,000 iterations at width 256).
All losses had as many iterations; half of the heuristic's went into its search. R_param of adaptive
losses is the mean of their last 50 iterations. In brackets: the thesis' tables 5.3 and 6.3 to 6.6,
parametric.
"""

MANY = """## One model per rate against one of many rates

The models of the general loss, and the model that all of them started from, which codes each image
into as many bytes, at most, by the step alone. Both with the probabilities that training left.
"""

if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
