"""What came of pictures at every target, and the tables of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from idse.evaluation.average_precision import match, mean_average_precision
from idse.evaluation.table import markdown_table
from idse.vision.heads import Detections

if TYPE_CHECKING:
    import numpy.typing as npt

RATES = (0.03, 0.05, 0.08, 0.12, 0.2)
POLICY = "--fallback vae"
BOOTSTRAP = 2000
BRACKETS = """\
In brackets: the VAE less this codec, with a paired 95 % interval over pictures; of PSNR and MS-SSIM
over the pictures that both code in so few bytes. Distances are relative to the outputs' square.
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of one picture at one target: nothing but ``bytes`` None where that is too little.

    Attributes
    ----------
    bytes, psnr, ms_ssim
        Of the file, and of luma.
    distance
        Squared distance of the judge's outputs, over their squared length.
    top1
        Whether the class is the source's; None for detectors.
    found
        Boxes, scores, classes; None for classifiers.
    """

    bytes: int | None = None
    psnr: float | None = None
    ms_ssim: float | None = None
    distance: float = 1.0
    top1: bool | None = None
    found: list[list[Any]] | None = None


Rows = list[dict[str, dict[float, Row]]]


def plain(found: Detections) -> list[list[Any]]:
    kept = np.argsort(-found.scores, kind="stable")[:300]
    parts = (found.boxes.round(2), found.scores, found.classes)
    return [part[kept].tolist() for part in parts]


def detections(plain: list[list[Any]]) -> Detections:
    boxes, scores, classes = plain
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
    )


def with_policy(rows: Rows) -> Rows:
    """Add what the policy takes: what loses less by the judge, which also steers."""
    found = []
    for row in rows:
        best = {
            bpp: min((row[c][bpp] for c in ("steered JPEG", "vae")), key=_badness) for bpp in RATES
        }
        found.append({**row, POLICY: best})
    return found


def _badness(row: Row) -> float:
    return np.inf if row.bytes is None else row.distance


def accuracies(rows: Rows, truth: list[Detections], coder: str, bpp: float) -> np.ndarray:
    """Return the accuracy, percent: of the set, and of resamples of its pictures."""
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(rows), [1 / len(rows)] * len(rows), BOOTSTRAP)
    weights = np.concatenate([np.ones((1, len(rows)), np.int64), weights])
    mine = [row[coder][bpp] for row in rows]
    if truth:
        matches = [
            match(true, detections(row.found or [[], [], []]))
            for true, row in zip(truth, mine, strict=True)
        ]
        return 100 * mean_average_precision(matches, weights)
    return 100 * weights @ [bool(row.top1) for row in mine] / len(rows)


def tables(rows: Rows, truth: list[Detections]) -> tuple[str, dict[str, Any]]:
    """Return the tables of a set, and the same as data."""
    coders = list(rows[0])
    reference = {bpp: accuracies(rows, truth, "vae", bpp) for bpp in RATES if "vae" in coders}
    parts, kept = [], {}
    header = ["accuracy, %", *(f"{bpp:g} bpp" for bpp in RATES)]
    lines = []
    for coder in coders:
        line = [coder]
        for bpp in RATES:
            drawn = accuracies(rows, truth, coder, bpp)
            text = f"{drawn[0]:.0f}"
            if bpp in reference and coder not in {"vae", POLICY}:
                low, high = np.percentile(reference[bpp][1:] - drawn[1:], [2.5, 97.5])
                text += f" ({reference[bpp][0] - drawn[0]:+.0f} [{low:+.0f}, {high:+.0f}])"
            line.append(text)
            kept[f"{coder} {bpp:g}"] = _summary(rows, coder, bpp) | {"accuracy": float(drawn[0])}
        lines.append(line)
    parts.append(markdown_table(header, lines))
    for title, key, form in (
        ("files that fit, %", "fit", "{:.0f}"),
        ("distance of outputs, median", "distance", "{:.3f}"),
        ("PSNR-Y, dB", "psnr", "{:.2f}"),
        ("MS-SSIM", "ms_ssim", "{:.3f}"),
    ):
        lines = [
            [coder, *(_cell(rows, kept, (coder, bpp), key, form) for bpp in RATES)]
            for coder in coders
        ]
        parts.append(markdown_table([title, *header[1:]], lines))
    return "\n".join(parts), kept


def _cell(rows: Rows, kept: dict[str, Any], place: tuple[str, float], key: str, form: str) -> str:
    """Return a figure, and for quality how much better the VAE is where both fit."""
    coder, bpp = place
    value = kept[f"{coder} {bpp:g}"][key]
    if not np.isfinite(value):
        return "-"
    text = form.format(value)
    if key not in {"psnr", "ms_ssim"} or "vae" not in rows[0] or coder in {"vae", POLICY}:
        return text
    pairs = [(getattr(row["vae"][bpp], key), getattr(row[coder][bpp], key)) for row in rows]
    both = [ours - other for ours, other in pairs if ours is not None and other is not None]
    if not both:
        return text
    mean, low, high = (form.replace(":", ":+").format(bound) for bound in paired(np.array(both)))
    return f"{text} ({mean} [{low}, {high}])"


def paired(gains: npt.NDArray[np.float64]) -> list[float]:
    """Return the mean of pictures' gains ``(n,)``, and its 95 % bootstrap interval over them."""
    rng = np.random.default_rng(0)
    drawn = gains[rng.integers(len(gains), size=(BOOTSTRAP, len(gains)))].mean(1)
    return [float(gains.mean()), *np.percentile(drawn, [2.5, 97.5]).tolist()]


def _summary(rows: Rows, coder: str, bpp: float) -> dict[str, float]:
    mine = [row[coder][bpp] for row in rows]
    made = [row for row in mine if row.bytes is not None]
    sizes = [row.ms_ssim for row in made if row.ms_ssim is not None]
    vae = sum(r is row["vae"][bpp] for r, row in zip(mine, rows, strict=True) if "vae" in row)
    return {
        "fit": 100 * len(made) / len(mine),
        "distance": float(np.median([row.distance for row in mine])),
        "psnr": float(np.mean([row.psnr for row in made])) if made else float("nan"),
        "ms_ssim": float(np.mean(sizes)) if sizes else float("nan"),
        "vae": vae / len(mine),
    }
