"""The differentiable model of file sizes against libjpeg-turbo's files, at ten sizes.

Tables are of random families, brought to a size by their scale; coefficients come from pixels
through the differentiable encoder, as in training. Files are those of idse, whose DCT is exact;
libjpeg-turbo's own has an integer DCT, whose noise costs a little more. The gradient is judged by
how it tells what small changes of all steps do to the real size.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import torch
from bench_common import command_line, machine
from control_data import Store, crop, odd, pixels, tensor

from idse.codecs.jpeg import JpegLayout, Quantiser, encode, transform
from idse.evaluation.table import markdown_table, write_results
from idse.learned.jpeg import differentiable
from idse.learned.jpeg.discrete import WHOLE_SAMPLES
from idse.learned.jpeg.size_model import SizeModel, load_size_model
from idse.learned.jpeg.size_training import random_tables, scaled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

SIZES = {
    "imagenet": tuple(range(5, 51, 5)),
    "coco_val128": tuple(range(10, 101, 10)),
}
FOLDERS = {"imagenet": "imagenet", "coco_val128": "coco_val128/images"}
_STEPS = 9
_NEAR = 0.02
# Random changes of steps by which gradients are judged: their deviation, in log.
_CHANGE = 0.1


class Sized:
    """A picture whose files' sizes are asked for."""

    def __init__(self, picture: np.ndarray) -> None:
        self.pixels = picture
        self.layout = JpegLayout(picture.shape[1], picture.shape[0])
        coefficients = transform(picture, self.layout)
        self._quantiser = Quantiser(
            self.layout, coefficients, [np.ones_like(plane) for plane in coefficients]
        )

    def size(self, tables: np.ndarray) -> int:
        return self._quantiser.run([tables[0], tables[1], tables[1]], 0.0).size()

    def steps(self, steps: np.ndarray, target: int) -> np.ndarray | None:
        """Return whole tables of about a size; None where the finest are too small for it."""
        low, high = np.log(0.5), np.log(400.0)
        if self.size(scaled(steps, float(np.exp(low)))) < target * (1 - _NEAR):
            return None
        for _ in range(_STEPS):
            middle = (low + high) / 2
            found = self.size(scaled(steps, float(np.exp(middle))))
            if abs(found / target - 1) < _NEAR:
                break
            low, high = (middle, high) if found > target else (low, middle)
        return scaled(steps, float(np.exp(middle)))


def measure(model: SizeModel, picture: Sized, target: int, seed: int) -> list[float] | None:
    """Return sizes: real, predicted, libjpeg's; and the change of log(size): real, predicted."""
    rng = np.random.default_rng(seed)
    tables = picture.steps(random_tables(rng), target)
    if tables is None:
        return None
    steps = torch.from_numpy(tables.astype(np.float32))[None].requires_grad_()
    levels = differentiable.encode(tensor(picture.pixels), steps, discrete=WHOLE_SAMPLES)
    predicted = model(levels, picture.layout)
    (slope,) = torch.autograd.grad(predicted.log().sum(), steps)
    change = np.exp(rng.normal(0, _CHANGE, tables.shape))
    up, down = (
        np.clip(np.rint(tables * factor), 1, 255).astype(np.uint16)
        for factor in (change, 1 / change)
    )
    told = float((slope[0].numpy() * (up.astype(float) - down)).sum())
    happened = float(np.log(picture.size(up) / picture.size(down)))
    theirs = len(encode(picture.pixels, tables=[tables[0], tables[1], tables[1]]))
    return [picture.size(tables), float(predicted.detach()), theirs, happened, told]


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    model = load_size_model()
    store = Store("jpeg-sizes")
    about = (
        f"`{command_line()}`: odd pictures, tables of random families (`random_tables`). "
        "Published, with a transformer of four XCiT blocks: 0.025 to 0.06."
    )
    parts = ["# The differentiable model of file sizes", about]
    results: dict[str, object] = {}
    errors: dict[str, np.ndarray] = {}
    for name, load in (("imagenet", crop), ("coco_val128", pixels)):
        count = 2 if args.quick else args.imagenet if name == "imagenet" else args.coco
        paths = odd(FOLDERS[name], count)
        rows, shown = _measured(store, model, name, paths, load)
        errors[name] = rows[:, 2] / rows[:, 1] - 1
        results[name] = _facts(rows)
        parts.append(_told(name, len(paths), load is crop, rows, shown))
    figure = args.results / "jpeg_size_errors.png"
    _draw(figure, errors)
    parts.append(f"![distribution of relative errors]({figure.name})")
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    kept = {"machine": machine(), "command": command_line(), "results": results}
    write_results(args.results / "jpeg_size_model", data=kept, markdown=text)
    print(text)
    return 0


def _measured(
    store: Store,
    model: SizeModel,
    name: str,
    paths: list[Path],
    load: Callable[[Path], np.ndarray],
) -> tuple[np.ndarray, list[list[str]]]:
    """Return rows of kB and what is measured; and the table's lines."""
    found = []
    for index, path in enumerate(paths):
        picture = None
        for kilobytes in SIZES[name]:
            key = f"{name}/{path.name}/{kilobytes}"
            picture = Sized(load(path)) if picture is None else picture
            seed = 1000 * index + kilobytes
            row = store.get(
                key, lambda p=picture, k=kilobytes, s=seed: measure(model, p, 1000 * k, s)
            )
            if row is not None:
                found.append([kilobytes, *row])
        print(f"\r{name} {index + 1}/{len(paths)}  ", end="", file=sys.stderr, flush=True)
    rows = np.array(found)
    lines = []
    for kilobytes in SIZES[name]:
        some = rows[rows[:, 0] == kilobytes]
        error = some[:, 2] / some[:, 1] - 1
        lines.append(
            [
                str(kilobytes),
                str(len(some)),
                f"{np.abs(error).mean():.4f}",
                f"{error.mean():+.4f}",
                f"{np.abs(error).max():.4f}",
            ]
        )
    return rows, lines


def _facts(rows: np.ndarray) -> dict[str, float]:
    error = rows[:, 2] / rows[:, 1] - 1
    happened, told = rows[:, 4], rows[:, 5]
    return {
        "files": len(rows),
        "relative error": float(np.abs(error).mean()),
        "bias": float(error.mean()),
        "largest": float(np.abs(error).max()),
        "libjpeg bias": float((rows[:, 2] / rows[:, 3] - 1).mean()),
        "libjpeg relative error": float(np.abs(rows[:, 2] / rows[:, 3] - 1).mean()),
        "correlation of changes": float(np.corrcoef(happened, told)[0, 1]),
        "slope of changes": float((happened @ told) / (happened @ happened)),
    }


def _told(name: str, count: int, cropped: bool, rows: np.ndarray, lines: list[list[str]]) -> str:
    facts = _facts(rows)
    about = "224x224 crops" if cropped else "whole"
    return (
        f"## {name}: {count} pictures, {about}\n\n"
        f"Over all: mean relative error {facts['relative error']:.4f}, bias {facts['bias']:+.4f}, "
        f"largest {facts['largest']:.4f}; to the files of libjpeg-turbo's integer DCT "
        f"{facts['libjpeg relative error']:.4f} and {facts['libjpeg bias']:+.4f}. Where steps "
        f"change by about {_CHANGE:.0%} at random, the "
        f"gradient tells the change of log(size) with a correlation of "
        f"{facts['correlation of changes']:.3f} and {facts['slope of changes']:.2f} times as large."
        "\n\n"
        + markdown_table(["kB", "files in reach", "relative error", "bias", "largest"], lines)
    )


def _draw(path: Path, errors: dict[str, np.ndarray]) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(errors), figsize=(9, 3.2), layout="constrained")
    for axis, (name, error) in zip(axes, errors.items(), strict=True):
        percent = 100 * error
        mean, deviation = percent.mean(), percent.std()
        reach = max(4 * deviation, 0.1)
        bins = np.linspace(mean - reach, mean + reach, 41)
        axis.hist(percent, bins, density=True, color="#4c72b0")
        x = np.linspace(bins[0], bins[-1], 200)
        bell = np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
        axis.plot(x, bell, color="#c44e52")
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set(title=f"{name}: {len(error)} files", xlabel="relative error, %", yticks=[])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
