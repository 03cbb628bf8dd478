"""What each choice of network and of its training gives: equal training, equal bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from bench_common import data
from vae_measures import JUDGE

from idse.evaluation.bdrate import bootstrap_weights
from idse.learned.vae.train import read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from vae_measures import Bench, Figures

BASE = "hyperprior"
# In the order of the table; each but the first differs from it in one thing.
TITLES = {
    BASE: "hyperprior, GDN, learned steps, mixed",
    "fixed-steps": "the same step for all maps",
    "factorised": "factorised prior (table 4.1)",
    "residual": "residual layers (5.5.7)",
    "straight-through": "rounding in the rate, too (5.5.6)",
    "importance": "IDSE + tau SSE",
}
RATES = (0.12, 0.25, 0.5)
# Kodak 1, 3, ... 23.
IMAGES = range(0, 24, 2)
HEAD = ["variant", "iterations", "bpp", "PSNR, dB", "less the first", "MS-SSIM", "less the first"]
HEAD += ["output distance over the first's"]
ABOUT = f"""## Networks and ways to train them

Each trained from principal components, with the same crops, for many rates at once; tables fitted
to photographs; each of Kodak 1, 3, ... 23 coded into as many bytes as the rate allows. Distances
are those of {JUDGE}'s outputs; ratios are geometric means. In brackets: 95 % bootstrap intervals
over the 12 images, paired.
"""


def variant_rows(bench: Bench, folder: Path) -> Iterator[list[list[str]]]:
    """Yield the rows of every variant that was trained, one per rate."""
    base: list[list[Figures]] = []
    for name, title in TITLES.items():
        path = folder / f"{name}.ckpt"
        if not path.exists():
            continue
        figures = bench.at_rates(path, RATES, IMAGES, data("train_photos"))
        base = base or figures
        iterations = json.loads(read_checkpoint(path)["plan"])["iterations"]
        rows = [
            [title, str(iterations), *_cells(ours, first)]
            for ours, first in zip(figures, base, strict=True)
        ]
        print(*rows, sep="\n", flush=True)
        yield rows


def _cells(ours: Sequence[Figures], first: Sequence[Figures]) -> list[str]:
    names = ("bpp", "psnr", "ms_ssim", "distance")
    mine, theirs = (
        {name: np.array([entry[name] for entry in figures]) for name in names}
        for figures in (ours, first)
    )
    weights = bootstrap_weights(len(ours))

    def difference(name: str, shape: str) -> str:
        found = mine[name] - theirs[name]
        low, high = np.percentile(weights @ found / len(found), [2.5, 97.5])
        return f"{found.mean():+{shape}} [{low:+{shape}}, {high:+{shape}}]"

    logarithms = np.log(mine["distance"] / theirs["distance"])
    drawn = weights @ logarithms / len(logarithms)
    ratio, low, high = np.exp([logarithms.mean(), *np.percentile(drawn, [2.5, 97.5])])
    return [
        f"{mine['bpp'].mean():.3f}",
        f"{mine['psnr'].mean():.2f}",
        difference("psnr", ".2f"),
        f"{mine['ms_ssim'].mean():.4f}",
        difference("ms_ssim", ".4f"),
        f"{ratio:.2f} [{low:.2f}, {high:.2f}]",
    ]
