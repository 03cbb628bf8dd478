"""Learned control against what one could do without it, at ten sizes.

Every file but those of the single forward pass is the largest found that is no larger than asked
for; all are sequential with Huffman codes made for them. One step of the scale of tables is about
a percent of a file, which a search over whole qualities has not.

- *quality*, *quality 4:4:4*: libjpeg-turbo, binary search over its quality.
- *one table*: the thesis' JPEG++: for each judge, kind of picture and size the luma and the chroma
  table that are best for all pictures, trained as control is, on the same pictures; 4:2:0.
- *one table, best sampling*: the same, 4:2:0 or 4:4:4 by what is better at the size on the pictures
  that control was trained on. What control gains by its sampling, this gains too.
- *importance*: tables from a sketch of the judge on this picture, 4:2:0.
- *control*: sampling and tables of the network, for the judge's head, their scale searched for.
- *control + trellis*, *student + trellis*: as idse image codes with and without --control, by the
  student's head of the judge, but for progressive files; both choose the sampling by the rate.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import time
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from bench_common import ROOT, command_line, machine
from control_data import Store, crop, network, odd, pixels
from control_told import JUDGES, METHODS, SIZES, draw, facts, misses, over_all, told

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
from idse.evaluation.average_precision import confident, match
from idse.evaluation.judge import Judge, output_distance
from idse.evaluation.table import write_results
from idse.importance import Analyser
from idse.learned.jpeg.control import shipped
from idse.learned.jpeg.description import describe
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.options import ImageSteering, JpegOptions
from idse.pipeline.images.planes import coded_picture, decoded_picture, source_picture
from idse.pipeline.images.source import SourceImage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from idse.learned.jpeg.description import Description
    from idse.picture import Picture

FOLDERS = {"imagenet": "imagenet", "coco_val128": "coco_val128/images"}
_HALVINGS = 11


@cache
def student(judge: str) -> JpegEncoder:
    return JpegEncoder(model=f"student@{judge}")


class Subject:
    """A picture that is coded in all ways."""

    def __init__(self, picture: np.ndarray, judge: str) -> None:
        self.pixels = picture
        self.judge = judge
        self._transformed: dict[str, Transformed] = {}

    def transformed(self, sampling: str) -> Transformed:
        if sampling not in self._transformed:
            self._transformed[sampling] = Transformed(self.pixels, sampling)
        return self._transformed[sampling]

    @cached_property
    def finest(self) -> int:
        quantiser = self.transformed("4:2:0").quantiser
        return quantiser.run([np.ones((8, 8), np.uint16)] * 3, 0.0).size()

    @cached_property
    def _importance(self) -> np.ndarray:
        analyser = Analyser([(network(self.judge), 1.0)], n_s=2, seed=0)
        weights = analyser.coefficients(self.transformed("4:2:0").picture)
        luma, cb, cr = (-0.5 * np.log2(spectrum) for spectrum in plan(weights).spectra)
        return np.stack([luma, cb, cr])

    def _sampling(self, size: int) -> str:
        height, width = self.pixels.shape[:2]
        return shipped().sampling(height * width, size, head=self.judge)

    def coded(self, method: str, size: int) -> bytes:
        if method.startswith("quality"):
            return self._of_quality(size, method.removeprefix("quality").strip() or "4:2:0")
        if method == "importance":
            return self.transformed("4:2:0").scaled(self._importance, size)
        if method in {"one table", "one table, best sampling"}:
            found = self.transformed("4:2:0" if method == "one table" else self._sampling(size))
            single = shipped().shared(found.description, size, head=self.judge)
            return found.scaled(single[[0, 1, 1]].reshape(3, 8, 8), size)
        if method == "control":
            found = self.transformed(self._sampling(size))
            shape = shipped().shape(found.description, size, head=self.judge)
            return found.scaled(shape[[0, 1, 1]].reshape(3, 8, 8), size)
        options = JpegOptions(
            target_bytes=size, progressive=False, control=method.startswith("control")
        )
        return student(self.judge).encode_image(SourceImage(pixels=self.pixels), options).data

    def one_pass(self, size: int) -> int:
        """Return the size that the forward pass alone comes to."""
        found = self.transformed(self._sampling(size))
        tables = shipped().tables(found.description, size, head=self.judge)
        return found.quantiser.run(list(tables[[0, 1, 1]].astype(np.uint16)), 0.0).size()

    def _of_quality(self, size: int, sampling: str) -> bytes:
        low, high, best = 0, 101, encode(self.pixels, quality=1, sampling=sampling)
        while high - low > 1:
            middle = (low + high) // 2
            found = encode(self.pixels, quality=middle, sampling=sampling)
            low, high, best = (middle, high, found) if len(found) <= size else (low, middle, best)
        return best


class Transformed:
    """A picture's coefficients in a sampling."""

    def __init__(self, picture: np.ndarray, sampling: str) -> None:
        self._layout = JpegLayout(picture.shape[1], picture.shape[0], sampling)
        self._coefficients, self._samples = transform_with_samples(picture, self._layout)
        ones = [np.ones_like(plane) for plane in self._coefficients]
        self.quantiser = Quantiser(self._layout, self._coefficients, ones)

    @cached_property
    def description(self) -> Description:
        return describe(self._coefficients, self._layout)

    @property
    def picture(self) -> Picture:
        return coded_picture(self._layout, self._samples, 0)

    def scaled(self, logs: np.ndarray, size: int) -> bytes:
        low, high = -logs.max() - 1, 8 - logs.min()
        best = None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            tables = np.clip(np.rint(np.exp2(logs + middle)), 1, 255).astype(np.uint16)
            found = self.quantiser.run(list(tables), 0.0)
            if found.size() <= size:
                high, best = middle, found
            else:
                low = middle
        if best is None:
            raise TargetError(f"{size} bytes are out of reach")
        return write(self._layout, best.coefficients, list(best.tables))


@cache
def _trained(method: str) -> str:
    """Return what tells apart results of a method from those by other weights."""
    if method in {"quality", "quality 4:4:4", "importance"}:
        return ""
    # Where the search for a size begins is told by the former, and so where it ends.
    files = ["jpeg-control", "student-stills"] if method.endswith("trellis") else ["jpeg-control"]
    found = hashlib.sha256()
    for name in files:
        found.update((ROOT / "plugin" / "idse" / "weights" / f"{name}.safetensors").read_bytes())
    return f" {found.hexdigest()[:12]}"


def observed(judge: Judge, ycc: np.ndarray) -> object:
    return judge.observe(decoded_picture(ycc, 0))


def measure(subject: Subject, judges: dict[str, Judge], sources: dict, method: str, size: int):
    """Return bytes and, by judge, the distance and what is left of the source's result."""
    try:
        data = subject.coded(method, size)
    except TargetError:
        return None
    assert len(data) <= size or method.startswith("quality"), (method, len(data), size)
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


def cost(path: Path) -> tuple[dict[str, float], str]:
    """Return seconds of one core that the forward pass and a sketch take, and a line about them."""
    subject = Subject(crop(path), JUDGES["imagenet"][0])
    layout = JpegLayout(subject.pixels.shape[1], subject.pixels.shape[0])
    coefficients, samples = transform_with_samples(subject.pixels, layout)
    picture = coded_picture(layout, samples, 0)
    sketch = Analyser([(network(subject.judge), 1.0)], n_s=ImageSteering().n_s, seed=0)

    def control() -> None:
        shipped().tables(describe(coefficients, layout), 10_000, head=subject.judge)

    def sketched() -> None:
        sketch.coefficients(picture)
        sketch.forget()

    found = {"control": _least(control, 20), "sketch": _least(sketched, 5)}
    text = (
        f"One forward pass for a 224x224 picture, from its coefficients to tables, takes "
        f"{1000 * found['control']:.1f} ms of one core, a sketch of efficientnet-lite0 "
        f"{1000 * found['sketch']:.0f} ms ({found['sketch'] / found['control']:.0f} times as long; "
        "the least of 20 and of 5 runs)."
    )
    return found, text


def _least(work: Callable[[], None], runs: int) -> float:
    """Return the least CPU time of some runs, behind one that is not counted."""
    taken = []
    for _ in range(runs + 1):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken[1:])


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
            found = {size: facts(rows, judge, size) for size in sizes}
            whole = over_all(rows, judge, sizes)
            results[f"{name}/{judge}"] = {"sizes": found, "over all": whole}
            parts.append(told(name, judge, len(paths), found, whole))
        results[f"{name}/sizes"], lines = misses(rows, sizes)
        parts.append(lines)
    results["seconds"], line = cost(odd("imagenet", 1)[0])
    parts.append(line)
    draw(args.results / "jpeg_control.png", results)
    parts.append("![distance of outputs against size](jpeg_control.png)")
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
                continue  # in 4:2:0 there is nothing left to choose

            def make(
                s: Subject = subject, o: dict = sources, m: str = method, k: int = size
            ) -> object:
                return measure(s, judges, o, m, 1000 * k)

            row = store.get(f"{name}/{path.name}/{size}/{method}{_trained(method)}", make)
            if row is not None:
                found[path.name, size, method] = row
        print(f"\r{name} {index + 1}/{len(paths)}  ", end="", file=sys.stderr, flush=True)
    return found
