"""The ceiling on still images: slopes made equal over a set of intra frames."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from bench_common import data
from ceiling_segment import ANCHOR, ROUNDS, Segment
from PIL import Image

from idse.allocation import OffsetPolicy
from idse.allocation.equal_slope import towards_equal_slopes
from idse.importance.smoothing import binomial
from idse.pipeline.effort import OraclePolicy
from idse.pipeline.frames import picture
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.stills import set_offsets
from idse.pipeline.store import PictureStore

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.pipeline.trial import Trial
    from idse.vision import FeatureExtractor

    FloatMap = npt.NDArray[np.float32]

IMAGES = 16
_BT601, _LIMITED = 5, 1


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
        weights = [s.weight(item) for s, item in zip(self.segments, pictures, strict=True)]
        return set_offsets(pictures, weights, SteeringOptions(policy=policy), crf=crf)

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
        policy = OraclePolicy(rounds=ROUNDS, bound=14.0)
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
