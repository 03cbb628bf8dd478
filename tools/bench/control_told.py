"""What the comparison of JPEG control says of its rows: by size, over all, and in a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from idse.evaluation.average_precision import Matches, mean_average_precision
from idse.evaluation.table import markdown_table

if TYPE_CHECKING:
    from pathlib import Path

    # By picture, kB and method.
    Rows = dict[tuple[str, int, str], dict]

SIZES = {"imagenet": tuple(range(5, 51, 5)), "coco_val128": tuple(range(10, 101, 10))}
# Whose tables, and who judges beside it.
JUDGES = {
    "imagenet": ("efficientnet-lite0", "mobilenet_v2"),
    "coco_val128": ("yolov4-tiny",),
}
BASELINES = ("quality", "one table", "quality 4:4:4", "one table, best sampling")
METHODS = (
    *BASELINES,
    "importance",
    "control",
    "control + trellis",
    "student + trellis",
)
# What distances are drawn over.
_DRAWN = "one table"
_RESAMPLES = 1000
# A distance that is as good as none.
_NONE = 1e-9


def facts(rows: Rows, judge: str, size: int) -> dict[str, object]:
    """Return, by method, what is left at a size, on the pictures that all methods reach."""
    names = sorted({name for name, kilobytes, _ in rows if kilobytes == size})
    names = [name for name in names if all((name, size, m) in rows for m in METHODS)]
    found: dict[str, object] = {"pictures": len(names)}
    if not names:
        return found
    distances = {}
    for method in METHODS:
        seen = [rows[name, size, method][judge] for name in names]
        distances[method] = np.array([max(one["distance"], _NONE) for one in seen])
        left = {"distance": float(distances[method].mean())}
        left["bytes"] = float(np.mean([rows[n, size, method]["bytes"] for n in names]))
        if "matches" in seen[0]:
            left["mAP"] = float(mean_average_precision([_matches(o["matches"]) for o in seen])[0])
        else:
            left |= {key: float(np.mean([o[key] for o in seen])) for key in ("top-1", "top-5")}
        found[method] = left
    rng = np.random.default_rng(0)
    draws = rng.integers(len(names), size=(_RESAMPLES, len(names)))
    for method in METHODS:
        for baseline in BASELINES:
            logs = np.log(distances[method] / distances[baseline])
            low, high = np.exp(np.percentile(logs[draws].mean(1), [2.5, 97.5]))
            found[f"{method} / {baseline}"] = [float(np.exp(logs.mean())), float(low), float(high)]
            of_means = distances[method].mean() / distances[baseline].mean()
            found[f"{method} / {baseline}, of means"] = float(of_means)
    return found


def over_all(rows: Rows, judge: str, sizes: tuple[int, ...]) -> dict[str, list[float]]:
    """Return geometric means of distances over a baseline's, over pictures and sizes."""
    logs: dict[str, dict[str, list[float]]] = {}
    for name in sorted({name for name, _, _ in rows}):
        for size in sizes:
            if not all((name, size, method) in rows for method in METHODS):
                continue
            seen = {m: np.log(max(rows[name, size, m][judge]["distance"], _NONE)) for m in METHODS}
            for method in METHODS:
                for baseline in BASELINES:
                    key = f"{method} / {baseline}"
                    ratio = float(seen[method] - seen[baseline])
                    logs.setdefault(key, {}).setdefault(name, []).append(ratio)
    found = {}
    for key, pictures in logs.items():
        sums = np.array([[sum(ratios), len(ratios)] for ratios in pictures.values()])
        draws = np.random.default_rng(0).integers(len(sums), size=(_RESAMPLES, len(sums)))
        drawn = sums[draws].sum(1)
        low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
        mean = sums[:, 0].sum() / sums[:, 1].sum()
        found[key] = [float(np.exp(value)) for value in (mean, low, high)]
    return found


def _matches(stored: dict) -> Matches:
    hits = np.asarray(stored["hits"], np.int64)
    return Matches(
        truth=np.asarray(stored["truth"], np.int64),
        classes=np.asarray(stored["classes"], np.int64),
        scores=np.asarray(stored["scores"], np.float32),
        # A box that is found at an overlap is found at all smaller ones.
        hits=hits[None] > np.arange(10)[:, None],
    )


def told(name: str, judge: str, count: int, by_size: dict, whole: dict[str, list[float]]) -> str:
    """Return a section: what one judge says of one set."""
    reached = {size: found for size, found in by_size.items() if found["pictures"]}
    sections = []
    for measure in ("distance", *(("mAP",) if judge == "yolov4-tiny" else ("top-1", "top-5"))):
        form = ".4g" if measure == "distance" else ".3f"
        lines = [
            [str(size), str(found["pictures"]), *(f"{found[m][measure]:{form}}" for m in METHODS)]
            for size, found in reached.items()
        ]
        what = "Mean distance of outputs" if measure == "distance" else f"{measure} kept"
        sections.append(f"{what}:\n\n" + markdown_table(["kB", "pictures", *METHODS], lines))
    for baseline in BASELINES:
        better = [m for m in METHODS if m != baseline]
        lines = [
            [str(size), *(_ratio(found[f"{m} / {baseline}"]) for m in better)]
            for size, found in reached.items()
        ]
        lines.append(["all", *(_ratio(whole[f"{m} / {baseline}"]) for m in better)])
        sections.append(
            f"Distance over that of *{baseline}*, same picture, same size: geometric mean, %, 95 % "
            "interval over pictures:\n\n" + markdown_table(["kB", *better], lines)
        )
    sections.append(_worse(reached))
    kind = "transfer" if judge != JUDGES[name][0] else "whose tables they are"
    title = f"## {name}, judged by {judge} ({kind}), {count} odd pictures"
    return "\n\n".join([title, *sections])


def _worse(reached: dict) -> str:
    """Say at which sizes control is not better than a baseline."""
    lines = []
    for method in ("control", "control + trellis"):
        for baseline in BASELINES:
            key = f"{method} / {baseline}"
            mean = [str(k) for k, found in reached.items() if found[key][0] >= 1]
            sure = [str(k) for k, found in reached.items() if found[key][2] < 1]
            lines.append([method, baseline, ", ".join(mean) or "none", ", ".join(sure) or "none"])
    header = ["", "against", "kB where it is not better", "kB where the interval says better"]
    return markdown_table(header, lines)


def _ratio(found: list[float]) -> str:
    mean, low, high = (100 * (value - 1) for value in found)
    return f"{mean:+.0f} ({low:+.0f}..{high:+.0f})"


def misses(rows: Rows, sizes: tuple[int, ...]) -> tuple[dict[str, list[float]], str]:
    """Return by size the mean relative errors of sizes, and a table of them.

    Of the single forward pass: the error, its mean, and the share above the target; then of each
    method's files.
    """
    found = {}
    for size in sizes:
        some = {m: [r for (_, k, n), r in rows.items() if k == size and n == m] for m in METHODS}
        ratios = np.array([row["one pass"] / (1000 * size) for row in some["control"]])
        if len(ratios):
            found[str(size)] = [
                float(np.abs(ratios - 1).mean()),
                float((ratios - 1).mean()),
                float((ratios > 1).mean()),
                *(
                    float(np.mean([abs(r["bytes"] / 1000 / size - 1) for r in some[m]]))
                    for m in some
                ),
            ]
    lines = [
        [size, f"{error:.3f}", f"{bias:+.3f}", f"{100 * above:.0f} %", *(f"{m:.4f}" for m in files)]
        for size, (error, bias, above, *files) in found.items()
    ]
    header = ["kB", "single pass", "its bias", "above the target", *METHODS]
    text = (
        "Mean relative error of sizes to the target: of tables as the forward pass leaves them, "
        "before any search, and of the files above, of which none is larger than asked for:\n\n"
    )
    return found, text + markdown_table(header, lines)


def draw(path: Path, results: dict) -> None:
    """Draw distances over those of one table, by size."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = [f"{name}/{judge}" for name, judges in JUDGES.items() for judge in judges]
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 3.6), layout="constrained")
    for axis, panel in zip(axes, panels, strict=True):
        found = {k: v for k, v in results[panel]["sizes"].items() if v["pictures"]}
        for method in METHODS:
            if method == _DRAWN:
                continue
            mean, low, high = zip(*(found[k][f"{method} / {_DRAWN}"] for k in found), strict=True)
            (line,) = axis.plot(list(found), mean, marker=".", label=method)
            if method == "control + trellis":
                axis.fill_between(list(found), low, high, color=line.get_color(), alpha=0.15)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set(title=panel, xlabel="kB", yscale="log", ylim=(0.1, 3))
    axes[0].set_ylabel("distance of outputs over one table's")
    axes[0].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
