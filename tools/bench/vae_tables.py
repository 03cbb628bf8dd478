"""Reproduce the tables of the target-rate thesis on Kodak, from files that were really written.

python tools/bench/vae_tables.py MODELS [MODELS ...] [--many CHECKPOINT] [--variants FOLDER]

MODELS are folders that tools/train/vae_targets.py filled, one from each start: their checkpoints
say which network it was. Every model codes the 24 images at the one step it was trained at; the
rate is that of the file, header included. The model of many rates then codes each image into as
many bytes, at most, as the model of one rate took. Variants are what tools/train/vae_variants.py
trained. What was measured is kept by the content of checkpoints: a repeated call measures only what
is new.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from bench_common import command_line, parser
from vae_measures import Bench
from vae_thesis import NETWORKS, TARGETS, THESIS
from vae_variants import ABOUT, HEAD, variant_rows

from idse.errors import IdseError, InputError
from idse.evaluation.table import markdown_table, write_results
from idse.learned.vae.train import read_checkpoint, trained_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vae_measures import Figures

TITLES = {
    "fixed": "5.14 with R_param = target",
    "heuristic": "heuristic (5.14, Algorithm 3)",
    "adaptive": "adaptive (6.8)",
    "general": "general (6.20)",
    "straight-through": "5.14, straight through (5.5.6)",
    "adaptive-beta": "adaptive (6.8), and beta",
}
# Of the models that those of many rates are compared with.
PLAIN = "rate-distortion"
COLUMNS = ["loss", "target, bpp", "R_param", "beta", "mean on training crops", "mean"]
COLUMNS += ["standard deviation", "worst", "within 15 %", "PSNR, dB", "SSIM", "MS-SSIM"]


class Model(NamedTuple):
    """A model of one rate, and what is known of it."""

    path: Path
    network: str
    width: int
    loss: str
    target: float
    note: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.network}-{self.loss}-{self.target:g}"


def models_in(folders: Sequence[Path]) -> list[Model]:
    """Return the models, by network, loss and target."""
    found = []
    for folder in folders:
        for path in sorted(folder.glob("*.ckpt")):
            config = trained_network(read_checkpoint(path)).config
            note = json.loads(path.with_suffix(".json").read_text())
            network, width = config.architecture, config.width
            found.append(Model(path, network, width, note["loss"], note["target"], note))
    names = [model.name for model in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{min(twice)} is in several folders: name the one that is meant")
    losses = [*TITLES, PLAIN]
    return sorted(
        found,
        key=lambda model: (
            list(NETWORKS).index(model.network),
            losses.index(model.loss),
            model.target,
        ),
    )


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


def rate_row(model: Model, ours: Figures) -> list[str]:
    theirs, index = THESIS.get((model.network, model.loss)), TARGETS.index(model.target)

    def cell(name: str, shape: str, figure: float) -> str:
        reported = getattr(theirs, name)[index] if theirs else math.nan
        text = format(figure, shape)
        return text if math.isnan(reported) else f"{text} ({reported:g})"

    return [
        TITLES[model.loss],
        f"{model.target:g}",
        cell("parameter", ".3f", model.note["parameter"]),
        f"{model.note['beta']:.0f}",
        f"{model.note['validation_rate']:.3f}",
        cell("mean", ".3f", ours["mean"]),
        cell("deviation", ".3f", ours["deviation"]),
        f"{100 * ours['worst']:.0f} %",
        f"{ours['within']:.0f}",
        cell("psnr", ".2f", ours["psnr"]),
        cell("ssim", ".2f", ours["ssim"]),
        cell("ms_ssim", ".3f", ours["ms_ssim"]),
    ]


class Report:
    """What was measured so far, written after every model: each takes a while."""

    def __init__(self, folder: Path, models: Sequence[Model]) -> None:
        self._folder, self._models = folder, models
        self.entries: dict[str, dict[str, Any]] = {}
        self.compared: list[list[str]] = []
        self.varied: list[list[str]] = []

    def publish(self) -> None:
        report = [f"`{command_line()}`\n", PREFACE]
        for network, called in NETWORKS.items():
            done = [
                model
                for model in self._models
                if model.network == network and model.loss in TITLES and model.name in self.entries
            ]
            if done:
                rows = [rate_row(model, self.entries[model.name]["summary"]) for model in done]
                report += [f"## Models of one rate: {called} ({network})\n", trained(done)]
                report += [markdown_table(COLUMNS, rows)]
        if self.compared:
            head = ["target, bpp", "bpp of one", "PSNR", "bpp of many", "PSNR"]
            plain = [model for model in self._models if model.loss == PLAIN]
            report += [MANY.format(iterations=iterations(plain))]
            report += [markdown_table([*head, "one less many, dB"], self.compared)]
        if self.varied:
            report += [ABOUT, markdown_table(HEAD, self.varied)]
        data = {"command": command_line(), "models": self.entries, "variants": self.varied}
        write_results(self._folder / "vae_tables", data=data, markdown="\n".join(report))


def iterations(models: Sequence[Model]) -> str:
    return " or ".join(str(count) for count in sorted({m.note["iterations"] for m in models}))


def trained(models: Sequence[Model]) -> str:
    note = models[0].note
    return (
        f"{len(models)} models, width {models[0].width}, each trained for {iterations(models)} "
        f"iterations of {note['batch']} crop(s) of {note['crop']}x{note['crop']} from one start of "
        f"many rates, whose last training had {note['start_iterations']} iterations.\n"
    )


def compare(bench: Bench, report: Report, models: Sequence[Model], many: Path) -> None:
    """Compare models of one rate with that of many rates, image by image at the same size."""
    network = trained_network(read_checkpoint(many)).config.architecture
    for model in models:
        if (model.network, model.loss) != (network, PLAIN):
            continue
        entry = report.entries[model.name]
        figures = bench.at_sizes(many, bench.bytes_of(entry["figures"]))
        one, other = entry["summary"], summary(figures, model.target)
        entry["many"] = other
        differences = [
            a["psnr"] - b["psnr"] for a, b in zip(entry["figures"], figures, strict=True)
        ]
        error = 2 * statistics.stdev(differences) / math.sqrt(len(differences))
        report.compared.append(
            [
                f"{model.target:g}",
                f"{one['mean']:.3f}",
                f"{one['psnr']:.2f}",
                f"{other['mean']:.3f}",
                f"{other['psnr']:.2f}",
                f"{statistics.fmean(differences):+.2f} ± {error:.2f}",
            ]
        )
        report.publish()


def main() -> None:
    add = parser(__doc__)
    add.add_argument("models", type=Path, nargs="+")
    add.add_argument("--many", type=Path, help="checkpoint of the model of many rates")
    add.add_argument("--variants", type=Path, help="folder of networks and ways to train them")
    chosen = add.parse_args()
    bench, models = Bench(), models_in(chosen.models)
    report = Report(chosen.results, models)
    for model in models:
        figures = bench.at_step(model.path, round(1024 * math.log2(model.note["step"])))
        results = summary(figures, model.target)
        report.entries[model.name] = {"note": model.note, "figures": figures, "summary": results}
        print(model.name, json.dumps(results), flush=True)
        report.publish()
    if chosen.many:
        compare(bench, report, models, chosen.many)
    for rows in variant_rows(bench, chosen.variants) if chosen.variants else ():
        report.varied += rows
        report.publish()


PREFACE = """Kodak, 24 images; rates are those of files, headers included; PSNR over R'G'B', SSIM
and MS-SSIM of luma. Trained with noise for the rate and rounding for the distortion (the thesis:
noise for both, 500,000 to 750,000 iterations at width 256). All losses of a network had as many
iterations; half of the heuristic's went into its search, which began at the shift of the start.
R_param of adaptive losses is the mean of their last 50 iterations, beta the last. The mean on
training crops is that of rounded latents of 96 crops of the training photographs, which steps were
chosen by, too: where it meets the target and the mean on Kodak does not, pictures differ, not rates
in training from rates in files. In brackets: the thesis' tables 5.3, 5.6, 5.7 and 6.2 to 6.6.
"""

MANY = """## One model per rate against one of many rates

Both by rate + lambda distortion, lambda being that of the step: models of one rate, {iterations}
iterations each, and the model that all of them started from, trained on for as many at all its
rates. It codes each image into as many bytes, at most, by the step alone. Both with the
probabilities that training left. Differences with two standard errors of their mean, n = 24.
"""

if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
