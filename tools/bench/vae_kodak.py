"""The learned codec on Kodak: sizes against targets, quality against stock codecs, and times.

    python tools/bench/vae_kodak.py [--images 24] [--vae-model FILE] [--peers]

PSNR is of R'G'B', SSIM and MS-SSIM are of luma. Measurements are kept (IDSE_BENCH_CACHE chooses
where) by the content of picture and models and the versions of idse and of the stock codecs.
``--peers`` measures what needs no model of ours.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from bench_common import CACHE, command_line, data, machine, parser
from vae_coders import STOCK, Coded, versions
from vae_quality import quality
from vae_rows import paired

import idse
from idse.errors import TargetError
from idse.evaluation.fingerprint import digest, file_digest
from idse.evaluation.pixels import read_pixels
from idse.evaluation.table import markdown_table, write_results
from idse.files import write_atomically
from idse.pipeline.images.source import SourceImage
from idse.pipeline.images.vae import codec_of

if TYPE_CHECKING:
    from pathlib import Path

RATES = (0.06, 0.12, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
OURS = "vae"
IMAGES = 24
METRICS = {
    "psnr": ("PSNR, dB", "{:.2f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "ms_ssim": ("MS-SSIM", "{:.4f}"),
}
TIMES = ("encode", "encode_cpu", "decode", "decode_cpu")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of a picture at a target: no ``bytes`` where that is too little.

    Attributes
    ----------
    target, bytes
        What was asked for, and the file's size.
    psnr, ssim, ms_ssim
        Of the decoded picture.
    encode, encode_cpu, decode, decode_cpu
        Seconds, of ours alone.
    """

    target: int
    bytes: int | None = None
    psnr: float = float("nan")
    ssim: float = float("nan")
    ms_ssim: float = float("nan")
    encode: float | None = None
    encode_cpu: float | None = None
    decode: float | None = None
    decode_cpu: float | None = None


def learned(
    source: SourceImage, limit: int, models: tuple[str, ...]
) -> tuple[Coded, dict[str, float]]:
    """Code by the learned codec; also return how long it took."""
    codec = codec_of(models)
    marks = [(time.perf_counter(), time.process_time())]
    made = codec.encode(source.pixels, limit).data
    marks.append((time.perf_counter(), time.process_time()))
    decoded = codec.decode(made)
    marks.append((time.perf_counter(), time.process_time()))
    spans = np.diff(marks, axis=0).ravel().tolist()
    return (made, decoded), dict(zip(TIMES, spans, strict=True))


def made(source: SourceImage, coder: str, bpp: float, models: tuple[str, ...]) -> Row:
    """Code a picture at a rate, decode it, and compare."""
    target = int(bpp * source.width * source.height / 8)
    seconds: dict[str, float] = {}
    try:
        if coder == OURS:
            (file, decoded), seconds = learned(source, target, models)
        else:
            file, decoded = STOCK[coder](source, target)
    except TargetError:
        return Row(target=target)
    return Row(target=target, bytes=len(file), **quality(source.pixels, decoded), **seconds)


def rows_of(path: Path, coder: str, models: tuple[str, ...]) -> list[Row]:
    """Return what came of a picture at every rate, measured now or before."""
    key = [file_digest(path), coder, idse.__version__, *versions()]
    if coder == OURS:
        key += [network.identity.hex() for network in codec_of(models).networks()]
    kept = CACHE / "vae_kodak" / f"{digest(*key)}.json"
    if not kept.exists():
        source = SourceImage(pixels=read_pixels(path), name=path.name)
        rows = [asdict(made(source, coder, bpp, models)) for bpp in RATES]
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json.dumps(rows).encode())
    return [Row(**row) for row in json.loads(kept.read_text(encoding="utf-8"))]


def qualities(found: dict[str, list[list[Row]]]) -> tuple[str, dict[str, Any]]:
    """Return tables of every metric at every rate, and the same as data."""
    parts, kept = [], {}
    for metric, (title, form) in METRICS.items():
        lines = []
        for coder, pictures in found.items():
            line = [coder]
            for column, bpp in enumerate(RATES):
                mine = np.array([getattr(rows[column], metric) for rows in pictures])
                ours = np.array([getattr(rows[column], metric) for rows in found[OURS]])
                facts = compared(ours, mine)
                kept[f"{metric} {coder} {bpp:g}"] = facts
                line.append(cell(facts, form, len(pictures), ours=coder == OURS))
            lines.append(line)
        parts.append(markdown_table([title, *(f"{bpp:g} bpp" for bpp in RATES)], lines))
    return "\n".join(parts), kept


def compared(ours: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Return the mean of what was measured, and how much more ours have where both fit."""
    gains = (ours - other)[np.isfinite(ours) & np.isfinite(other)]
    facts: dict[str, Any] = {"fit": int(np.isfinite(other).sum())}
    facts["mean"] = float(np.nanmean(other)) if facts["fit"] else None
    if len(gains):
        facts["gain"] = paired(gains)
    return facts


def cell(facts: dict[str, Any], form: str, pictures: int, *, ours: bool) -> str:
    """Return a table's cell."""
    if not facts["fit"]:
        return "-"
    text = form.format(facts["mean"])
    if facts["fit"] < pictures:
        text += f" of {facts['fit']}"
    if not ours and "gain" in facts:
        mean, low, high = (form.replace(":", ":+").format(value) for value in facts["gain"])
        text += f" ({mean} [{low}, {high}])"
    return text


def sizes_and_times(rows: list[Row]) -> tuple[str, dict[str, Any]]:
    """Return how near files come to their targets, and how long they take."""
    gaps = np.array([1 - (row.bytes or 0) / row.target for row in rows])
    facts: dict[str, Any] = {
        "files": len(gaps),
        "within 1 %": int(((gaps >= 0) & (gaps <= 0.01)).sum()),
        "above": int((gaps < 0).sum()),
        "below, median, %": 100 * float(np.median(gaps)),
        "below, largest, %": 100 * float(gaps.max()),
    }
    for name in TIMES:
        seconds = [getattr(row, name) for row in rows]
        what = name.replace("_cpu", ", s of CPU") if name.endswith("_cpu") else f"{name}, s"
        facts[f"{what}: median"] = float(np.median(seconds))
        facts[f"{what}: 95th percentile"] = float(np.percentile(seconds, 95))
    lines = [[name, f"{value:.3f}".rstrip("0").rstrip(".")] for name, value in facts.items()]
    return markdown_table(["", ""], lines), facts


def main() -> None:
    """Measure, print and write ``results/vae_kodak.{json,md}``."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=IMAGES, help="of 24 (24)")
    options.add_argument("--vae-model", action="append", default=[])
    options.add_argument("--peers", action="store_true", help="leave ours out, write nothing")
    args = options.parse_args()
    facts, models = machine(), tuple(args.vae_model)
    paths = sorted(data("kodak").glob("*.png"))[: args.images]
    found: dict[str, list[list[Row]]] = {}
    for coder in STOCK if args.peers else (OURS, *STOCK):
        for path in paths:
            found.setdefault(coder, []).append(rows_of(path, coder, models))
            print(f"{time.strftime('%H:%M:%S')} {coder} {path.stem}", file=sys.stderr)
    if args.peers:
        return
    names = ", ".join(
        f"{network.name} ({network.identity[:8].hex()})" for network in codec_of(models).networks()
    )
    text, kept = qualities(found)
    sizes, measured = sizes_and_times([row for rows in found[OURS] for row in rows])
    about = (
        f"Models: {names}. {len(paths)} images, every codec within the same bytes. PSNR is of "
        "R'G'B', SSIM and MS-SSIM are of luma: means over the pictures that a codec gets into so "
        'few bytes ("of N" where not all). In brackets: ours less it over the pictures of both, '
        "with a paired 95 % interval over pictures.\n"
    )
    parts = [
        f"# The learned codec on Kodak\n\n`{command_line()}`\n",
        about,
        text,
        "## Sizes and times of ours\n",
        sizes,
    ]
    print("\n".join(parts))
    results = {"command": command_line(), "machine": facts, "quality": kept, "sizes": measured}
    write_results(args.results / "vae_kodak", data=results, markdown="\n".join(parts))


if __name__ == "__main__":
    main()
