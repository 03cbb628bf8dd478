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
from PIL import Image

from idse.allocation import Allocator, OffsetPolicy, estimate_bits
from idse.allocation.equal_slope import towards_equal_slopes
from idse.codecs.x264 import Encoder
from idse.evaluation.bdrate import bd_rates
from idse.evaluation.table import markdown_table, write_results
from idse.files import write_atomically
from idse.importance import Analyser
from idse.importance.carry import ImportanceTrack
from idse.importance.motion import MotionEstimator
from idse.importance.smoothing import binomial
from idse.importance.true_error import TrueErrorMeter
from idse.pipeline.effort import OraclePolicy, SegmentSearch
from idse.pipeline.frames import picture
from idse.pipeline.store import PictureStore
from idse.pipeline.trial import Trial, Trials
from idse.vision import load_model

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.importance.true_error import SourceView
    from idse.picture import Picture
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
IMAGES = 16
ANCHOR = "stock default"
_BT601, _LIMITED = 5, 1
_ROUNDS = 3
TITLES = {"images": f"{IMAGES} even images of coco_val128, intra"} | {
    name: f"{Path(file).name}, frames {first} to {last - 1}"
    for name, (file, first, last, _) in CLIPS.items()
}
PROTOCOL = f"""BD-rate in percent against {ANCHOR} (preset medium, one thread, CRF {CRFS[0]} to
{CRFS[-1]} in steps of 4), negative saves bytes. Distance of the outputs of {MODEL}, which also made
the maps and was searched with, over all images and all frames; squared error of luma and
chroma is what the eye pays. A bound for these very pictures, not a sample of others: no interval.
The oracle starts from the sketch's offsets and makes {_ROUNDS} rounds; a quarter of a clip's frames
decides which round is kept, another one is measured in each. Objects are what the network finds in
the source with a score of at least 0.25; shares are means over the rates. `mbtree` is x264's own
importance over time.
"""


class Segment:
    """Pictures with everything that is asked of them more often than once."""

    def __init__(self, name: str, store: PictureStore, rate: Fraction, network: FeatureExtractor):
        self.name = name
        self.store = store
        self.rate = rate
        self.network = network
        self.meter = TrueErrorMeter([network])
        self._analyser = Analyser([(network, 1.0)])
        self._weights: dict[int, FloatMap] = {}
        self._views: dict[int, SourceView] = {}

    def weight(self, item: Picture) -> FloatMap:
        """Return a picture's importance by the sketch."""
        if item.index not in self._weights:
            self._weights[item.index] = self._analyser.analyse(item).weight()
        return self._weights[item.index]

    def trials(self, crf: float, options: dict[str, str], *, stride: int) -> Trials:
        """Return encodes of the segment."""
        first = self.store[0].format

        def open_encoder(shift: float) -> Encoder:
            return Encoder(
                width=first.width,
                height=first.height,
                fps=self.rate,
                options={"crf": f"{crf + shift:g}", "threads": "1", **options},
                steer=True,
            )

        return Trials(
            self.store,
            range(len(self.store)),
            open_encoder,
            self.meter,
            stride=stride,
            views=self._views,
        )


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
        policy=OraclePolicy(rounds=_ROUNDS),
    )
    found = search.run().offsets
    tried["oracle"] = point(segment, crf, {}, found)
    if found is not None:
        still = np.average(found, axis=0, weights=tried[ANCHOR].bits + 1).astype(np.float32)
        field = np.broadcast_to(still, found.shape)
        tried["oracle, its mean over time"] = point(segment, crf, {}, field)
    return {name: facts(trial, mask) for name, trial in tried.items()}


class Stills:
    """Images as intra frames, each an encode of its own, allocated as one set."""

    def __init__(self, folder: Path, network: FeatureExtractor) -> None:
        paths = sorted(data("coco_val128/images").glob("*.jpg"))[0::2][:IMAGES]
        self.segments = []
        for n, path in enumerate(paths):
            with Image.open(path) as image:
                frame = av.VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace=_BT601, dst_color_range=_LIMITED
            )
            item = picture(frame, n)
            store = PictureStore(folder / f"{n}", item.format)
            store.append(item)
            self.segments.append(Segment(path.stem, store, Fraction(25), network))

    def encode(
        self, crf: float, fields: list[FloatMap] | None, *, measured: bool = False
    ) -> list[Trial]:
        """Encode every image and judge it."""
        rows = [None] * len(self.segments) if fields is None else fields
        chosen = frozenset({0}) if measured else frozenset[int]()
        return [
            segment.trials(crf, {"keyint": "1"}, stride=1).encode(
                None if row is None else row[None], 0.0, measured=chosen, judged=True
            )
            for segment, row in zip(self.segments, rows, strict=True)
        ]

    def steered(self, crf: float, policy: OffsetPolicy) -> list[FloatMap]:
        """Return offsets by a policy, normalised over the set."""
        pictures = [segment.store[0] for segment in self.segments]
        whole = Allocator(policy, pictures[0].format.mb_shape, crf=crf)
        parts = [whole.for_shape(item.format.mb_shape) for item in pictures]
        weights = [s.weight(item) for s, item in zip(self.segments, pictures, strict=True)]
        for part, weight in zip(parts, weights, strict=True):
            part.observe(weight)
        logs = [part.normalise(weight) for part, weight in zip(parts, weights, strict=True)]
        for part, log, item in zip(parts, logs, pictures, strict=True):
            part.account(log, estimate_bits(item, None, qp=crf))
        return [part.offsets(log) for part, log in zip(parts, logs, strict=True)]

    def search(self, crf: float, *, sketched: float, policy: OraclePolicy) -> list[FloatMap]:
        """Make slopes equal over the set; return the best round's offsets."""
        sizes = [segment.store[0].format.mb_shape for segment in self.segments]
        sketch = joined([s.weight(s.store[0]) for s in self.segments], sizes)
        stock = self.encode(crf, None)
        offsets = joined(self.steered(crf, OffsetPolicy()), sizes).astype(np.float32)
        shift, damping, best = 0.0, policy.damping, None
        share, error = np.zeros(offsets.shape), np.zeros(offsets.shape)
        for _ in range(policy.rounds + 1):
            offsets = np.clip(offsets + shift, -policy.bound, policy.bound).astype(np.float32)
            trials = self.encode(crf, split(offsets, sizes), measured=True)
            more = size(trials) / size(stock)
            score = np.log(distance(trials)) + np.log(more)
            if best is None or score < best[0]:
                best = (score, offsets, more, joined([t.error[0] for t in trials], sizes))
                bits = joined([t.bits[0] for t in trials], sizes)
                near = [self.encode(crf + step, split(offsets, sizes)) for step in (2.0, -2.0)]
            else:
                damping /= 2
            share = policy.keep * share + joined([t.share[0][0] for t in trials], sizes)
            error = policy.keep * error + joined([t.error[0] for t in trials], sizes)
            errors, costs = (
                [joined([getattr(t, what)[0] for t in each], sizes) for each in near]
                for what in ("error", "bits")
            )
            lost = np.maximum(errors[0] - errors[1], 0.05 * best[3])
            cost = costs[1] - costs[0]
            pools = [pooled(values, sizes) for values in (share, error, lost, cost)]
            ours = pools[0] / (pools[1] + 64) * error.sum() / share.sum()
            theirs = pooled(sketch, sizes) * best[3].sum() / (sketch * best[3]).sum()
            weight = sketched * theirs + (1 - sketched) * np.maximum(ours, 0.02)
            offsets = towards_equal_slopes(
                best[1],
                pooled(weight * lost, sizes),
                pools[3],
                damping=damping,
                longest=policy.longest,
                bound=policy.bound,
            )
            shift = 6 * np.log2(best[2]) - np.average(offsets - best[1], weights=bits + 1e-9)
        assert best is not None
        return split(best[1], sizes)


def joined(maps: list[Any], sizes: list[tuple[int, int]]) -> npt.NDArray[np.float64]:
    """Return maps of several sizes as one: ``(1, rows of all, columns of the widest)``, 0 beyond.

    An encode's map may be padded; slopes of nothing are slopes of 0 bits, which change nothing.
    """
    width = max(columns for _, columns in sizes)
    return np.concatenate(
        [np.pad(m[:r, :c], ((0, 0), (0, width - c))) for m, (r, c) in zip(maps, sizes, strict=True)]
    )[None].astype(np.float64)


def split(values: Any, sizes: list[tuple[int, int]]) -> list[FloatMap]:
    """Undo :func:`joined`."""
    ends = np.cumsum([rows for rows, _ in sizes])[:-1]
    parts = np.split(values[0], ends)
    return [p[:, :c].astype(np.float32) for p, (_, c) in zip(parts, sizes, strict=True)]


def pooled(values: Any, sizes: list[tuple[int, int]]) -> npt.NDArray[np.float64]:
    """Smooth joined maps, each by itself."""
    return joined([binomial(part) for part in split(values, sizes)], sizes)


def size(trials: list[Trial]) -> float:
    """Return the bytes of all trials."""
    return float(sum(trial.bytes for trial in trials))


def distance(trials: list[Trial]) -> float:
    """Return the mean distance of all trials."""
    return float(np.mean([trial.distance[0] for trial in trials]))


def images_point(crf: float, network: FeatureExtractor) -> dict[str, dict[str, Any]]:
    """Return all configurations of the images at one CRF."""
    with tempfile.TemporaryDirectory() as folder:
        stills = Stills(Path(folder), network)
        policy = OraclePolicy(rounds=_ROUNDS, bound=14.0)
        fields = {
            ANCHOR: None,
            "steered": stills.steered(crf, OffsetPolicy()),
            "steered, alpha 0.1, bound 14": stills.steered(
                crf, OffsetPolicy(alpha=0.1, max_offset=14.0)
            ),
            "oracle": stills.search(crf, sketched=0.5, policy=policy),
            "oracle, weights measured only": stills.search(crf, sketched=0.0, policy=policy),
            "oracle, weights of the sketch only": stills.search(crf, sketched=1.0, policy=policy),
        }
        made = {}
        for name, field in fields.items():
            trials = stills.encode(crf, field)
            made[name] = {
                "bytes": size(trials),
                "distance": distance(trials),
                "error": float(np.mean([t.error.mean() for t in trials])),
            }
        return made


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
