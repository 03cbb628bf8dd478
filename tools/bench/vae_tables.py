"""Reproduce the tables of the target-rate thesis on Kodak, from files that were really written.

python tools/bench/vae_tables.py MODELS [--many CHECKPOINT] [--variants FOLDER]

MODELS is a folder that tools/train/vae_targets.py filled. Every model codes the 24 images at the
one step it was trained at; the rate is that of the file, header included. The model of many rates
then codes each image into as many bytes, at most, as the model of one rate took. Variants are what
tools/train/vae_variants.py trained. What was measured is kept by the content of checkpoints: a
repeated call measures only what is new.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from bench_common import command_line, parser
from vae_measures import Bench
from vae_variants import ABOUT, HEAD, variant_rows

from idse.errors import IdseError
from idse.evaluation.table import markdown_table, write_results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vae_measures import Figures

TARGETS = (0.06, 0.12, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
TITLES = {
    "fixed": "5.14 with R_param = target",
    "heuristic": "heuristic (5.14, Algorithm 3)",
    "adaptive": "adaptive (6.8)",
    "general": "general (6.20)",
    "straight-through": "5.14, straight through (5.5.6)",
    "adaptive-beta": "adaptive (6.8), and beta",
    "rate-distortion": "R + lambda D",
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
# Tables 5.6 and 5.7: no deviation is given.
THESIS["straight-through"] = (
    (0.08, 0.116, 0.246, 0.531, 0.752, 0.989, 1.511, 2.02),
    (math.nan,) * 8,
    (19.787, 22.363, 25.15, 29.642, 31.728, 33.358, 36.087, 38.463),
    (0.456, 0.562, 0.701, 0.854, 0.901, 0.929, 0.96, 0.976),
    (0.595, 0.755, 0.882, 0.959, 0.976, 0.984, 0.992, 0.995),
)
# Table 5.3a: the R_param that the thesis' search ended with.
PARAMETERS = (0.254, 0.275, 0.410, 0.65, 0.86, 1.08, 1.55, 1.93)


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
        if loss == "rate-distortion":
            continue
        ours = entry["summary"]
        figures = [ours[name] for name in ("mean", "deviation", "psnr", "ssim", "ms_ssim")]
        cells = [
            format(figure, shape)
            for figure, shape in zip(figures, (".3f", ".3f", ".2f", ".2f", ".3f"), strict=True)
        ]
        index = TARGETS.index(float(target))
        if loss in THESIS:
            theirs = [column[index] for column in THESIS[loss]]
            cells = [
                cell if math.isnan(their) else f"{cell} ({their:g})"
                for cell, their in zip(cells, theirs, strict=True)
            ]
        parameter = f"{entry['note']['parameter']:.3f}"
        if loss == "heuristic":
            parameter = f"{parameter} ({PARAMETERS[index]:g})"
        rates = [*cells[:2], f"{100 * ours['worst']:.0f} %", f"{ours['within']:.0f}"]
        beta = f"{entry['note']['beta']:.0f}"
        rows.append([TITLES[loss], target, parameter, beta, *rates, *cells[2:]])
    return rows


def comparison(bench: Bench, found: dict[str, Any], many: Path) -> Iterator[list[str]]:
    """Compare models of one rate with that of many rates, image by image at the same size."""
    for target in TARGETS:
        entry = found.get(f"rate-distortion-{target:g}")
        if entry is None:
            continue
        figures = bench.at_sizes(many, bench.bytes_of(entry["figures"]))
        entry["many"] = summary(figures, target)
        one, other = entry["summary"], entry["many"]
        differences = [
            a["psnr"] - b["psnr"] for a, b in zip(entry["figures"], figures, strict=True)
        ]
        error = 2 * statistics.stdev(differences) / math.sqrt(len(differences))
        yield [
            f"{target:g}",
            f"{one['mean']:.3f}",
            f"{one['psnr']:.2f}",
            f"{other['mean']:.3f}",
            f"{other['psnr']:.2f}",
            f"{statistics.fmean(differences):+.2f} ± {error:.2f}",
        ]


def main() -> None:
    add = parser(__doc__)
    add.add_argument("models", type=Path)
    add.add_argument("--many", type=Path, help="checkpoint of the model of many rates")
    add.add_argument("--variants", type=Path, help="folder of networks and ways to train them")
    chosen = add.parse_args()
    bench = Bench()
    found: dict[str, Any] = {}
    for target in TARGETS:
        for loss in TITLES:
            path = chosen.models / f"{loss}-{target:g}.ckpt"
            if not path.exists():
                continue
            note = json.loads(path.with_suffix(".json").read_text())
            figures = bench.at_step(path, round(1024 * math.log2(note["step"])))
            results = summary(figures, note["target"])
            found[path.stem] = {"note": note, "figures": figures, "summary": results}
            print(path.stem, json.dumps(results), flush=True)
            publish(chosen.results, found, [], [])
    order = [f"{loss}-{target:g}" for loss in TITLES for target in TARGETS]
    found = {key: found[key] for key in order if key in found}
    compared, varied = list[list[str]](), list[list[str]]()
    publish(chosen.results, found, compared, varied)
    for row in comparison(bench, found, chosen.many) if chosen.many else ():
        compared.append(row)
        publish(chosen.results, found, compared, varied)
    for rows in variant_rows(bench, chosen.variants) if chosen.variants else ():
        varied += rows
        publish(chosen.results, found, compared, varied)


def publish(
    folder: Path, found: dict[str, Any], compared: list[list[str]], varied: list[list[str]]
) -> None:
    """Write what there is so far: models take a while each."""
    report = [f"`{command_line()}`\n", PREFACE.format(**describe(found))]
    head = ["loss", "target, bpp", "R_param", "beta", "mean", "standard deviation", "worst"]
    head += ["within 15 %", "PSNR, dB", "SSIM", "MS-SSIM"]
    report += ["## Rates and quality of models of one rate\n"]
    report += [markdown_table(head, rate_rows(found))]
    if compared:
        head = ["target, bpp", "bpp of one", "PSNR", "bpp of many", "PSNR"]
        report += [MANY, markdown_table([*head, "one less many, dB"], compared)]
    if varied:
        report += [ABOUT, markdown_table(HEAD, varied)]
    write_results(
        folder / "vae_tables",
        data={"command": command_line(), "models": found, "variants": varied},
        markdown="\n".join(report),
    )


def describe(found: dict[str, Any]) -> dict[str, Any]:
    notes = [entry["note"] for entry in found.values()]
    return {
        "count": len(notes),
        "iterations": " or ".join(sorted({str(note["iterations"]) for note in notes})),
        "batch": max((note["batch"] for note in notes), default=0),
        "crop": max((note["crop"] for note in notes), default=0),
    }


PREFACE = """Kodak, 24 images; rates are those of files, headers included; PSNR over R'G'B', SSIM
and MS-SSIM of luma. {count} models of one rate, each trained for {iterations} iterations of {batch}
crop(s) of {crop}x{crop} from a common start (the thesis: 500,000 to 750,000 iterations at width
256), with noise for the rate and rounding for the distortion. All losses had as many iterations;
half of the heuristic's went into its search. R_param of adaptive losses is the mean of their last
50 iterations, beta the last. In brackets: the thesis' tables 5.3, 5.6, 5.7 and 6.3 to 6.6,
parametric.
"""

MANY = """## One model per rate against one of many rates

Both by rate + lambda distortion, lambda being that of the step: models of one rate, and the model
that all of them started from, trained on for as many iterations at all its rates. It codes each
image into as many bytes, at most, by the step alone. Both with the probabilities that training
left. Differences with two standard errors of their mean, n = 24.
"""

if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
