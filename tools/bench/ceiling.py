"""What allocation can win at the limit: offsets found by search, against stock and steering.

    python tools/bench/ceiling.py [--only images|vtest|cars|person] [--crf CRF ...]

The oracle encodes a segment again and again (``idse.pipeline.effort``): it sees the decoded
pictures, which an encoder does not. On 16 even images of coco_val128, each an intra frame, slopes
made equal over the set; and on a segment of the first half of each clip. Every point is kept (set
IDSE_BENCH_CACHE to choose where), so that parts can be run one after the other; the table is
written from all points that there are.
"""

from __future__ import annotations

import json
import tempfile
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import torch
from bench_common import CACHE, command_line, data, parser
from ceiling_images import IMAGES, images_point
from ceiling_segment import ANCHOR, ROUNDS, Segment

from idse.allocation import Allocator, OffsetPolicy, estimate_bits
from idse.evaluation.bdrate import bd_rates
from idse.evaluation.table import markdown_table, write_results
from idse.files import write_atomically
from idse.importance.carry import ImportanceTrack
from idse.importance.motion import MotionEstimator
from idse.pipeline.effort import OraclePolicy, SegmentSearch
from idse.pipeline.frames import picture
from idse.pipeline.store import PictureStore
from idse.vision import load_model

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.pipeline.trial import Trial
    from idse.vision import FeatureExtractor

    FloatMap = npt.NDArray[np.float32]

MODEL = "yolov4-tiny"
CRFS = (23, 27, 31, 35, 39, 43)
# File, first frame, last frame (exclusive), frames per second: 6 seconds of the first half.
CLIPS = {
    "vtest": ("video/vtest.avi", 100, 160, Fraction(10)),
    "cars": ("video/intel-car-detection.mp4", 40, 115, Fraction(25, 2)),
    "person": ("video/intel-one-by-one-person-detection.mp4", 300, 360, Fraction(10)),
}
TITLES = {"images": f"{IMAGES} even images of coco_val128, intra"} | {
    name: f"{Path(file).name}, frames {first} to {last - 1}"
    for name, (file, first, last, _) in CLIPS.items()
}
PROTOCOL = f"""BD-rate in percent against {ANCHOR} (preset medium, one thread, CRF {CRFS[0]} to
{CRFS[-1]} in steps of 4), negative saves bytes. Distance of the outputs of {MODEL}, which also made
the maps and was searched with, over all images and all frames; squared error of luma and
chroma is what the eye pays. A bound for these very pictures, not a sample of others: no interval.
The oracle starts from the sketch's offsets and makes {ROUNDS} rounds; a quarter of a clip's frames
decides which round is kept, another one is measured in each. Objects are what the network finds in
the source with a score of at least 0.25; shares are means over the rates. `mbtree` is x264's own
importance over time.
"""


def steered(segment: Segment, crf: float, every: float) -> FloatMap:
    """Return the offsets of the default policy with an analysis every so many seconds."""
    form = segment.store[0].format
    allocator = Allocator(OffsetPolicy(), form.mb_shape, crf=crf)
    estimator, track = MotionEstimator(), ImportanceTrack()
    step, second = max(1, round(every * segment.rate)), float(1 / segment.rate)
    found = []
    for n, item in enumerate(segment.store):
        field = estimator.push(item)
        fresh = None
        if n % step == 0:
            weight = segment.weight(item)
            allocator.observe(weight, elapsed=step * second if n else 0.0)
            fresh = allocator.normalise(weight)
        rate = estimate_bits(item, field, qp=crf)
        found.append(
            allocator.offsets(track.advance(field, fresh), rate, elapsed=second if n else 0.0)
        )
    return np.stack(found)


def point(segment: Segment, crf: float, options: dict[str, str], field: FloatMap | None) -> Trial:
    """Encode and judge every picture: no row may gain by being judged where it was analysed."""
    return segment.trials(crf, options, stride=1).encode(field, 0.0, judged=True)


def objects(segment: Segment) -> npt.NDArray[np.bool_]:
    """Return which macroblocks the network finds something in, in the source."""
    rows, cols = segment.store[0].format.mb_shape
    mask = np.zeros((len(segment.store), rows, cols), bool)
    for n, found in enumerate(segment.network.detect(list(segment.store))):
        for x0, y0, x1, y1 in np.clip(found.boxes / 16, 0, None).astype(int):
            mask[n, y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def facts(trial: Trial, mask: npt.NDArray[np.bool_] | None) -> dict[str, Any]:
    """Return what the table is made from."""
    bits = trial.bits.sum(axis=(1, 2))
    kinds = np.array(trial.types)
    made: dict[str, Any] = {
        "bytes": trial.bytes,
        "distance": float(trial.distance[0]) / len(trial.judged),
        "error": float(trial.error.mean()),
        "skipped": float(trial.skipped.mean()),
        "bits": {kind: float(bits[kinds == kind].sum() / bits.sum()) for kind in "IPB"},
    }
    if mask is not None:
        made["object bits"] = float(trial.bits[mask].sum() / trial.bits.sum())
    return made


def clip_points(name: str, crf: float, network: FeatureExtractor) -> dict[str, dict[str, Any]]:
    """Return all configurations of one clip at one CRF."""
    file, first, last, rate = CLIPS[name]
    with (
        tempfile.TemporaryDirectory() as folder,
        av.open(data(file)) as container,
    ):
        frames = islice(container.decode(video=0), first, last)
        pictures = [picture(frame, n) for n, frame in enumerate(frames)]
        with PictureStore(Path(folder) / "pictures", pictures[0].format) as store:
            for item in pictures:
                store.append(item)
            del pictures
            return _clip_points(Segment(name, store, rate, network), crf)


def _clip_points(segment: Segment, crf: float) -> dict[str, dict[str, Any]]:
    mask = objects(segment)
    ours = steered(segment, crf, 0.4)
    tried = {
        ANCHOR: point(segment, crf, {}, None),
        "stock, mbtree off": point(segment, crf, {"mbtree": "0"}, None),
        "steered, analysed every 5 s": point(segment, crf, {}, steered(segment, crf, 5.0)),
        "steered, analysed every 0.4 s": point(segment, crf, {}, ours),
        "the same, mbtree off": point(segment, crf, {"mbtree": "0"}, ours),
    }
    stride = 4
    search = SegmentSearch(
        segment.trials(crf, {}, stride=stride),
        [1.0],
        segment.weight,
        stride=stride,
        policy=OraclePolicy(rounds=ROUNDS),
    )
    found = search.run().offsets
    tried["oracle"] = point(segment, crf, {}, found)
    if found is not None:
        still = np.average(found, axis=0, weights=tried[ANCHOR].bits + 1).astype(np.float32)
        field = np.broadcast_to(still, found.shape)
        tried["oracle, its mean over time"] = point(segment, crf, {}, field)
    return {name: facts(trial, mask) for name, trial in tried.items()}


def points(name: str, crf: float) -> dict[str, dict[str, Any]]:
    """Return all configurations of one source at one CRF, from the cache where they are in it."""
    path = CACHE / "ceiling" / f"{name}-{crf:g}.json"
    if not path.exists():
        torch.set_num_threads(1)
        network = load_model(MODEL)
        made = images_point(crf, network) if name == "images" else clip_points(name, crf, network)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(made).encode())
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def gathered(name: str) -> dict[str, list[dict[str, Any]]]:
    """Return the points of a source by configuration, as far as they were measured."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for crf in CRFS:
        if (CACHE / "ceiling" / f"{name}-{crf:g}.json").exists():
            for label, point_ in points(name, crf).items():
                rows.setdefault(label, []).append(point_)
    return rows


def section(rows: dict[str, list[dict[str, Any]]]) -> tuple[str, dict[str, Any]]:
    """Return the table of one source and its numbers."""
    curves = {
        label: ([p["bytes"] for p in row], [p["distance"] for p in row])
        for label, row in rows.items()
    }
    eye = {
        label: ([p["bytes"] for p in row], [p["error"] for p in row]) for label, row in rows.items()
    }
    gain = {
        label: bd_rates({ANCHOR: curves[ANCHOR], label: curve}, anchor=ANCHOR, kind="distance")
        for label, curve in curves.items()
        if label != ANCHOR
    }
    loss = {
        label: bd_rates({ANCHOR: eye[ANCHOR], label: curve}, anchor=ANCHOR, kind="distance")
        for label, curve in eye.items()
        if label != ANCHOR
    }
    header = ["", "output distance", "squared error"]
    moving = "object bits" in rows[ANCHOR][0]
    if moving:
        header += ["bits in objects", "bits in I, P, B", "macroblocks skipped"]
    lines = []
    for label, row in rows.items():
        line = [label]
        line += (
            ["0", "0"]
            if label == ANCHOR
            else [f"{table[label][label].percent:+.1f}" for table in (gain, loss)]
        )
        if moving:
            shares = [np.mean([p["bits"][kind] for p in row]) for kind in "IPB"]
            line.append(f"{np.mean([p['object bits'] for p in row]):.0%}")
            line.append(", ".join(f"{share:.0%}" for share in shares))
            line.append(f"{np.mean([p['skipped'] for p in row]):.0%}")
        lines.append(line)
    return markdown_table(header, lines), {
        "points": rows,
        "bd_rate": {label: table[label].percent for label, table in gain.items()},
        "bd_rate_squared_error": {label: table[label].percent for label, table in loss.items()},
    }


def main() -> None:
    """Measure what is asked for, and write ``results/ceiling.{json,md}`` from all there is."""
    options = parser(__doc__)
    options.add_argument("--only", choices=("images", *CLIPS), action="append")
    options.add_argument("--crf", type=int, choices=CRFS, action="append")
    args = options.parse_args()
    for name in args.only or ("images", *CLIPS):
        for crf in args.crf or CRFS:
            points(name, crf)
            print(name, crf, flush=True)
    text = f"# The ceiling: offsets found by search\n\n`{command_line()}`\n\n{PROTOCOL}"
    results: dict[str, Any] = {"command": command_line(), "crf": CRFS}
    for name in ("images", *CLIPS):
        rows = gathered(name)
        if rows and len(rows[ANCHOR]) == len(CRFS):
            table, results[name] = section(rows)
            text += f"\n## {TITLES[name]}\n\n{table}"
    print(text)
    write_results(args.results / "ceiling", data=results, markdown=text)


if __name__ == "__main__":
    main()
