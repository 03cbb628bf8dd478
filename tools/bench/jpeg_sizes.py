"""How close `idse image --target-bytes` comes to its targets: imagenet, ten targets a picture.

python tools/bench/jpeg_sizes.py [--images 250] [--model efficientnet-lite0]
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from bench_common import command_line, data, machine, parser

from idse.errors import TargetError
from idse.evaluation.table import markdown_table, write_results
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.options import JpegOptions
from idse.pipeline.images.source import read_image

BITS_PER_PIXEL = np.geomspace(0.06, 3.0, 10)
if TYPE_CHECKING:
    from pathlib import Path

# No file has more: all steps are 1.
MOST_BYTES = 1 << 40


def measure(encoder: JpegEncoder, path: Path) -> list[dict[str, object]]:
    """Encode one picture for every target."""
    source = read_image(path)
    finest: dict[str, int] = {}
    found = []
    for bpp in BITS_PER_PIXEL:
        target = int(bpp * source.width * source.height / 8)
        row: dict[str, object] = {"image": path.name, "bpp": float(bpp), "target": target}
        image = encoder.analyse(source, JpegOptions(target_bytes=target))
        sampling = image.layout.sampling
        if sampling not in finest:
            finest[sampling] = len(image.fitting(MOST_BYTES).data)
        begin = time.perf_counter()
        try:
            row["bytes"] = len(image.fitting(target).data)
        except TargetError as error:
            row["out_of_reach"] = str(error)
        row["seconds"] = time.perf_counter() - begin
        row |= {"sampling": sampling, "finest": finest[sampling]}
        found.append(row)
    return found


def summary(rows: list[dict[str, object]]) -> dict[str, float]:
    """Return what the requirement is about."""
    made = [row for row in rows if "bytes" in row]
    reachable = [row for row in made if row["finest"] >= row["target"]]
    below = np.array([1 - row["bytes"] / row["target"] for row in reachable])
    return {
        "files": len(rows),
        "too small to be reached": len(rows) - len(made),
        "too large to be reached": len(made) - len(reachable),
        "reachable": len(reachable),
        "above the target": sum(row["bytes"] > row["target"] for row in made),
        "below, median": float(np.median(below)),
        "below, 95th percentile": float(np.percentile(below, 95)),
        "below, largest": float(below.max()),
        "seconds per file, median": float(np.median([row["seconds"] for row in reachable])),
    }


def main() -> int:
    made = parser(__doc__, quick=True)
    made.add_argument("--images", type=int, default=250)
    made.add_argument("--model", default="efficientnet-lite0")
    args = made.parse_args()
    paths = sorted(data("imagenet").glob("*.JPEG"))[: 3 if args.quick else args.images]
    encoder = JpegEncoder(model=args.model)
    rows = []
    for number, path in enumerate(paths, 1):
        rows += measure(encoder, path)
        print(f"\r{number} of {len(paths)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    facts = summary(rows)
    per_target = [
        [f"{bpp:.2f}", *_by_target([row for row in rows if row["bpp"] == bpp])]
        for bpp in BITS_PER_PIXEL
    ]
    about = (
        f"`{command_line()}`: {len(paths)} pictures, {len(BITS_PER_PIXEL)} targets each, steered "
        f"by {args.model}. What is too small to be reached raises an error that names the "
        "smallest size; where even the finest file (all steps 1, in the sampling of that rate) is "
        "smaller, that is returned."
    )
    parts = [
        "# Sizes of JPEGs against their targets",
        about,
        markdown_table(["", ""], [[name, _told(name, value)] for name, value in facts.items()]),
        markdown_table(
            ["bits per pixel", "reachable", "above", "below, median", "95th percentile"], per_target
        ),
    ]
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    kept = {"machine": machine(), "command": command_line(), "summary": facts}
    write_results(
        args.results / "jpeg_sizes", data=kept | {"images": _by_image(rows)}, markdown=text
    )
    print(text)
    good = facts["above the target"] == 0 and facts["below, median"] <= 0.003
    return 0 if good and facts["below, 95th percentile"] <= 0.01 else 1


def _by_target(rows: list[dict[str, object]]) -> list[str]:
    made = [row for row in rows if "bytes" in row and row["finest"] >= row["target"]]
    if not made:
        return ["0", "", "", ""]
    below = [1 - row["bytes"] / row["target"] for row in made]
    above = sum(row["bytes"] > row["target"] for row in made)
    return [
        str(len(made)),
        str(above),
        f"{100 * np.median(below):.3f} %",
        f"{100 * np.percentile(below, 95):.3f} %",
    ]


def _by_image(rows: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    """Return the rows in fewer words: by picture and target, null where it is out of reach."""
    found: dict[str, dict[str, object]] = {}
    for row in rows:
        empty = {"finest": {}, "targets": [], "bytes": [], "samplings": []}
        image = found.setdefault(row["image"], empty)
        image["finest"][row["sampling"]] = row["finest"]
        image["samplings"].append(row["sampling"])
        image["targets"].append(row["target"])
        image["bytes"].append(row.get("bytes"))
    return found


def _told(name: str, value: float) -> str:
    if name.startswith("below"):
        return f"{100 * value:.3f} %"
    return f"{value:.3f}" if name.startswith("seconds") else f"{value:.0f}"


if __name__ == "__main__":
    sys.exit(main())
