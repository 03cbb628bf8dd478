"""Learned control against what one could do without it, at ten sizes.

Every file but those of the single forward pass is the largest found that is no larger than asked
for; all are sequential with Huffman codes made for them. One step of the scale of tables is about
a percent of a file, which a search over whole qualities has not.

- *quality*: libjpeg-turbo, binary search over its quality.
- *one learned table*: the thesis' JPEG++, trained as control is, one for all pictures of a judge.
- *importance*: tables from a sketch of the judge on this picture.
- *control*: tables of the network, for the judge's head, their scale searched for.
- *control + trellis*, *student + trellis*: as idse image codes by default, with and without
  --control, but for progressive files. Its tables are for all judges.
"""

from __future__ import annotations

import itertools
import sys
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from bench_common import command_line, machine
from control_data import Store, crop, network, odd, pixels

from idse.allocation.tables import plan
from idse.codecs.jpeg import (
    JpegLayout,
    Quantiser,
    decode,
    encode,
    transform_with_samples,
    write,
)
from idse.errors import TargetError
from idse.evaluation.average_precision import Matches, confident, match, mean_average_precision
from idse.evaluation.judge import Judge, output_distance
from idse.evaluation.table import markdown_table, write_results
from idse.importance import Analyser
from idse.learned.jpeg.control import shipped
from idse.learned.jpeg.description import describe
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.options import JpegOptions
from idse.pipeline.images.planes import coded_picture, decoded_picture, source_picture
from idse.pipeline.images.source import SourceImage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

SIZES = {"imagenet": tuple(range(5, 51, 5)), "coco_val128": tuple(range(10, 101, 10))}
FOLDERS = {"imagenet": "imagenet", "coco_val128": "coco_val128/images"}
# Whose tables, and who judges beside it.
JUDGES = {
    "imagenet": ("efficientnet-lite0", "mobilenet_v2"),
    "coco_val128": ("yolov4-tiny",),
}
METHODS = (
    "quality",
    "one learned table",
    "importance",
    "control",
    "control + trellis",
    "student + trellis",
)
BASELINES = METHODS[:2]
_HALVINGS = 11
_RESAMPLES = 1000
# A distance that is as good as none.
_NONE = 1e-9


@cache
def student() -> JpegEncoder:
    return JpegEncoder(model="student")


class Subject:
    """A picture that is coded in all ways."""

    def __init__(self, picture: np.ndarray, judge: str) -> None:
        self.pixels = picture
        self.judge = judge
        self.layout = JpegLayout(picture.shape[1], picture.shape[0])
        self._coefficients, self._samples = transform_with_samples(picture, self.layout)
        ones = [np.ones_like(plane) for plane in self._coefficients]
        self._quantiser = Quantiser(self.layout, self._coefficients, ones)

    @cached_property
    def description(self) -> object:
        return describe(self._coefficients, self.layout)

    @cached_property
    def finest(self) -> int:
        return self._quantiser.run([np.ones((8, 8), np.uint16)] * 3, 0.0).size()

    @cached_property
    def _importance(self) -> np.ndarray:
        analyser = Analyser([(network(self.judge), 1.0)], n_s=2, seed=0)
        weights = analyser.coefficients(coded_picture(self.layout, self._samples, 0))
        luma, cb, cr = (-0.5 * np.log2(spectrum) for spectrum in plan(weights).spectra)
        return np.stack([luma, cb, cr])

    def coded(self, method: str, size: int) -> bytes:
        if method == "quality":
            return self._of_quality(size)
        if method == "importance":
            return self._scaled(self._importance, size)
        if method == "one learned table":
            single = shipped().single(self.judge)
            return self._scaled(single[[0, 1, 1]].reshape(3, 8, 8), size)
        if method == "control":
            shape = shipped().shape(self.description, size, head=self.judge)
            return self._scaled(shape[[0, 1, 1]].reshape(3, 8, 8), size)
        options = JpegOptions(
            target_bytes=size, progressive=False, control=method.startswith("control")
        )
        return student().encode_image(SourceImage(pixels=self.pixels), options).data

    def one_pass(self, size: int) -> int:
        """Return the size that the forward pass alone comes to."""
        tables = shipped().tables(self.description, size, head=self.judge)
        return self._quantiser.run(list(tables[[0, 1, 1]].astype(np.uint16)), 0.0).size()

    def _of_quality(self, size: int) -> bytes:
        low, high, best = 0, 101, encode(self.pixels, quality=1)
        while high - low > 1:
            middle = (low + high) // 2
            found = encode(self.pixels, quality=middle)
            low, high, best = (middle, high, found) if len(found) <= size else (low, middle, best)
        return best

    def _scaled(self, logs: np.ndarray, size: int) -> bytes:
        low, high = -logs.max() - 1, 8 - logs.min()
        best = None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            tables = np.clip(np.rint(np.exp2(logs + middle)), 1, 255).astype(np.uint16)
            found = self._quantiser.run(list(tables), 0.0)
            if found.size() <= size:
                high, best = middle, found
            else:
                low = middle
        if best is None:
            raise TargetError(f"{size} bytes are out of reach")
        return write(self.layout, best.coefficients, list(best.tables))


def observed(judge: Judge, ycc: np.ndarray) -> object:
    return judge.observe(decoded_picture(ycc, 0))


def measure(subject: Subject, judges: dict[str, Judge], sources: dict, method: str, size: int):
    """Return bytes and, by judge, the distance and what is left of the source's result."""
    try:
        data = subject.coded(method, size)
    except TargetError:
        return None
    assert len(data) <= size or method == "quality", (method, len(data), size)
    ycc = decode(data, colour="ycc")
    row: dict[str, object] = {"bytes": len(data)}
    if method == "control":
        row["one pass"] = subject.one_pass(size)
    for name, judge in judges.items():
        before, after = sources[name], observed(judge, ycc)
        told: dict[str, object] = {"distance": output_distance(before.features, after.features)}
        if before.found is not None:
            found = match(confident(before.found), after.found)
            told["matches"] = {
                "truth": found.truth.tolist(),
                "classes": found.classes.tolist(),
                "scores": [round(float(score), 5) for score in found.scores],
                "hits": found.hits.sum(0).tolist(),
            }
        else:
            best = np.argsort(-after.features)[:5].tolist()
            told |= {"top-1": before.top1 == best[0], "top-5": before.top1 in best}
        row[name] = told
    return row


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    parts = ["# Learned JPEG control", f"`{command_line()}`", (__doc__ or "").strip()]
    results: dict[str, object] = {}
    for name, load in (("imagenet", crop), ("coco_val128", pixels)):
        count = 1 if args.quick else args.imagenet if name == "imagenet" else args.coco
        sizes = SIZES[name][::5] if args.quick else SIZES[name]
        paths = odd(FOLDERS[name], count)
        rows = _measured(name, paths, load, sizes)
        for judge in JUDGES[name]:
            facts = {size: _facts(rows, judge, size) for size in sizes}
            over_all = _over_all(rows, judge, sizes)
            results[f"{name}/{judge}"] = {"sizes": facts, "over all": over_all}
            parts.append(_told(name, judge, len(paths), facts))
            parts.append(_told_over_all(over_all))
        parts.append(_one_pass(rows, sizes))
        results[f"{name}/one pass"] = _misses(rows, sizes)
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    kept = {"machine": machine(), "command": command_line(), "results": results}
    write_results(args.results / "jpeg_control", data=kept, markdown=text)
    print(text)
    return 0


def _measured(
    name: str, paths: list[Path], load: Callable[[Path], np.ndarray], sizes: tuple[int, ...]
) -> dict[tuple[str, int, str], dict]:
    store = Store("jpeg-control")
    own = JUDGES[name][0]
    judges = {judge: Judge(network(judge)) for judge in JUDGES[name]}
    found = {}
    for index, path in enumerate(paths):
        subject = Subject(load(path), own)
        sources = {
            judge: judges[judge].observe(source_picture(subject.pixels, 0)) for judge in judges
        }
        for size, method in itertools.product(sizes, METHODS):
            if subject.finest <= 1000 * size:
                continue  # all methods give the finest file

            def make(
                s: Subject = subject, o: dict = sources, m: str = method, k: int = size
            ) -> object:
                return measure(s, judges, o, m, 1000 * k)

            row = store.get(f"{name}/{path.name}/{size}/{method}", make)
            if row is not None:
                found[path.name, size, method] = row
        print(f"\r{name} {index + 1}/{len(paths)}  ", end="", file=sys.stderr, flush=True)
    return found


def _facts(rows: dict, judge: str, size: int) -> dict[str, object]:
    """Return, by method, what is left at a size, on the pictures that all methods reach."""
    names = sorted({name for name, kilobytes, _ in rows if kilobytes == size})
    names = [name for name in names if all((name, size, m) in rows for m in METHODS)]
    facts: dict[str, object] = {"pictures": len(names)}
    if not names:
        return facts
    distances = {}
    for method in METHODS:
        told = [rows[name, size, method][judge] for name in names]
        distances[method] = np.array([one["distance"] for one in told])
        left = {"distance": float(distances[method].mean())}
        left["bytes"] = float(np.mean([rows[n, size, method]["bytes"] for n in names]))
        if "matches" in told[0]:
            left["mAP"] = float(mean_average_precision([_matches(o["matches"]) for o in told])[0])
        else:
            left |= {key: float(np.mean([o[key] for o in told])) for key in ("top-1", "top-5")}
        facts[method] = left
    rng = np.random.default_rng(0)
    draws = rng.integers(len(names), size=(_RESAMPLES, len(names)))
    for method in METHODS[2:]:
        for baseline in BASELINES:
            ratio = distances[method][draws].mean(1) / distances[baseline][draws].mean(1)
            low, high = np.percentile(ratio, [2.5, 97.5])
            mean = distances[method].mean() / distances[baseline].mean()
            facts[f"{method} / {baseline}"] = [float(mean), float(low), float(high)]
    return facts


def _over_all(rows: dict, judge: str, sizes: tuple[int, ...]) -> dict[str, list[float]]:
    """Return geometric means of distances over a baseline's, over pictures and sizes."""
    logs: dict[str, dict[str, list[float]]] = {}
    for name in {name for name, _, _ in rows}:
        for size in sizes:
            if not all((name, size, method) in rows for method in METHODS):
                continue
            found = {m: np.log(max(rows[name, size, m][judge]["distance"], _NONE)) for m in METHODS}
            for method in METHODS:
                for baseline in BASELINES:
                    ratio = float(found[method] - found[baseline])
                    key = f"{method} / {baseline}"
                    logs.setdefault(key, {}).setdefault(name, []).append(ratio)
    facts = {}
    for key, pictures in logs.items():
        names = sorted(pictures)
        sums = np.array([[sum(pictures[name]), len(pictures[name])] for name in names])
        draws = np.random.default_rng(0).integers(len(names), size=(_RESAMPLES, len(names)))
        drawn = sums[draws].sum(1)
        low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
        mean = sums[:, 0].sum() / sums[:, 1].sum()
        facts[key] = [float(np.exp(value)) for value in (mean, low, high)]
    return facts


def _matches(stored: dict) -> Matches:
    hits = np.asarray(stored["hits"], np.int64)
    return Matches(
        truth=np.asarray(stored["truth"], np.int64),
        classes=np.asarray(stored["classes"], np.int64),
        scores=np.asarray(stored["scores"], np.float32),
        # A box that is found at an overlap is found at all smaller ones.
        hits=hits[None] > np.arange(10)[:, None],
    )


def _told(name: str, judge: str, count: int, facts: dict) -> str:
    measures = ["mAP"] if judge == "yolov4-tiny" else ["top-1", "top-5"]
    sections = []
    for measure_name in ("distance", *measures):
        lines = []
        for size, found in facts.items():
            if not found["pictures"]:
                continue
            form = ".4g" if measure_name == "distance" else ".3f"
            lines.append(
                [
                    str(size),
                    str(found["pictures"]),
                    *(f"{found[method][measure_name]:{form}}" for method in METHODS),
                ]
            )
        what = "distance of outputs" if measure_name == "distance" else f"{measure_name} kept"
        sections.append(f"{what}:\n\n" + markdown_table(["kB", "pictures", *METHODS], lines))
    lines = []
    for size, found in facts.items():
        if not found["pictures"]:
            continue
        cells = []
        for method in ("control", "control + trellis"):
            for baseline in BASELINES:
                mean, low, high = found[f"{method} / {baseline}"]
                cells.append(
                    f"{100 * (mean - 1):+.0f} ({100 * (low - 1):+.0f}..{100 * (high - 1):+.0f})"
                )
        lines.append([str(size), *cells])
    header = [f"{m} to {b}" for m in ("control", "control + trellis") for b in BASELINES]
    sections.append(
        "distance of outputs to the baselines', %, 95 % interval over pictures:\n\n"
        + markdown_table(["kB", *header], lines)
    )
    kind = "transfer" if judge != JUDGES[name][0] else "whose tables they are"
    return f"## {name}, judged by {judge} ({kind}), {count} odd pictures\n\n" + "\n\n".join(
        sections
    )


def _told_over_all(facts: dict[str, list[float]]) -> str:
    lines = []
    for method in METHODS[1:]:
        cells = []
        for baseline in BASELINES:
            mean, low, high = (100 * (value - 1) for value in facts[f"{method} / {baseline}"])
            cells.append(f"{mean:+.0f} ({low:+.0f}..{high:+.0f})" if method != baseline else "")
        lines.append([method, *cells])
    return (
        "Over all sizes: geometric mean of the distances over the baseline's on the same picture "
        "at the same size, %, 95 % interval over pictures:\n\n"
        + markdown_table(["", *(f"to {baseline}" for baseline in BASELINES)], lines)
    )


def _misses(rows: dict, sizes: tuple[int, ...]) -> dict[str, list[float]]:
    """Return by size: mean relative error, its mean, and the share above the target."""
    found = {}
    for size in sizes:
        ratios = np.array(
            [
                row["one pass"] / (1000 * size)
                for (_, k, m), row in rows.items()
                if k == size and m == "control"
            ]
        )
        if len(ratios):
            found[str(size)] = [
                float(np.abs(ratios - 1).mean()),
                float((ratios - 1).mean()),
                float((ratios > 1).mean()),
            ]
    return found


def _one_pass(rows: dict, sizes: tuple[int, ...]) -> str:
    lines = [
        [size, f"{error:.3f}", f"{bias:+.3f}", f"{100 * above:.0f} %"]
        for size, (error, bias, above) in _misses(rows, sizes).items()
    ]
    return (
        "Sizes of the single forward pass, before any search (what is searched for is never "
        "above the target):\n\n"
        + markdown_table(["kB", "mean relative error", "bias", "above the target"], lines)
    )
