"""Whether QPs chosen by rate and distortion beat offsets by a formula, both with the same weights.

    python tools/bench/rd_allocation.py

On even images of coco_val128, each an intra frame. Every macroblock's bits and squared errors are
measured in encodes at 13 constant QPs: no estimate could know more. QPs are then chosen to minimise
weighted error plus lambda times bits, one lambda for the set (equation 27 of the IDSE paper), and
by the formula of ``idse.allocation``, and both are encoded as they are (no AQ of x264's). Takes two
minutes.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from bench_common import command_line, data, machine, parser

from idse.codecs.h264.parser import Parser
from idse.evaluation.bdrate import bootstrap_bd_rates, bootstrap_weights, mean_of
from idse.evaluation.decoding import decode_stills
from idse.evaluation.judge import Judge, output_distance
from idse.evaluation.sources import Images
from idse.evaluation.table import cell, markdown_table, write_results
from idse.importance import Analyser
from idse.importance.shares import squared_error
from idse.importance.smoothing import binomial
from idse.kernels import ac_energy
from idse.pipeline.options import EncodeOptions
from idse.pipeline.stills import encode_stills
from idse.vision import load_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from idse.evaluation.bdrate import Estimate
    from idse.picture import Picture

    FloatMap = npt.NDArray[np.float32]
    FloatArray = npt.NDArray[np.float64]

MODEL, COUNT = "yolov4-tiny", 32
CRFS = (23, 27, 31, 35, 39, 43)
MEASURED = np.arange(13, 50, 3)
QPS = np.arange(MEASURED[0], MEASURED[-1] + 1)
WINDOW = 10
ALPHA = 0.3
# Octaves of weight per octave of a block's AC energy: x264's AQ mode 1, taken for a weight, and
# what path integrals of the feature distance say a textured block's errors truly cost.
MASKING = -1.0397 / 3
# Sets the mean QP near the CRF; the same at every rate, so that it moves points along a curve only.
LAMBDA = 0.5
VERBATIM = EncodeOptions(
    options={"qcomp": "1", "ipratio": "1", "mbtree": "0", "aq-mode": "1", "aq-strength": "0.0001"}
)
FORMULA, CHOSEN = "offsets by the formula", "chosen by measured rate and error"


def weights(pictures: Sequence[Picture]) -> list[FloatArray]:
    """Return what errors count per macroblock: importance, and masking by texture."""
    analyser = Analyser([(load_model(MODEL), 1.0)])
    found = [analyser.analyse(item).weight() for item in pictures]
    mean = float(np.mean(np.concatenate([item.ravel() for item in found])))
    result = []
    for item, weight in zip(pictures, found, strict=True):
        octaves = binomial(np.log2((weight / mean + ALPHA) / (1 + ALPHA)).astype(np.float32))
        energy = np.maximum(ac_energy(item).astype(np.float64), 16)
        result.append(octaves + MASKING * np.log2(energy))
    centre = float(np.mean(np.concatenate([item.ravel() for item in result])))
    return [np.exp2(item - centre) for item in result]


def code(
    pictures: Sequence[Picture], crf: float, fields: Sequence[FloatMap] | None
) -> tuple[list[bytes], list[Picture]]:
    """Encode at exactly these QPs and decode."""
    streams = encode_stills(pictures, VERBATIM, crf=crf, offsets=fields)
    return streams, list(decode_stills(streams, [item.format for item in pictures]))


def bits(stream: bytes) -> FloatArray:
    """Return what every macroblock takes in a stream of one picture."""
    reader = Parser()
    found = [*reader.feed(stream, length_size=0, tag=0), *reader.flush()]
    return found[0].frame.bits.astype(np.float64)


def curves(pictures: Sequence[Picture]) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return bits and squared errors of every picture, each ``(len(QPS), rows, cols)``."""
    rate: list[list[FloatArray]] = [[] for _ in pictures]
    error: list[list[FloatArray]] = [[] for _ in pictures]
    for qp in MEASURED:
        streams, decoded = code(pictures, int(qp), None)
        for i, item in enumerate(pictures):
            rate[i].append(bits(streams[i]))
            error[i].append(squared_error(item, decoded[i]))
    return [between(np.stack(r)) for r in rate], [between(np.stack(e)) for e in error]


def between(values: FloatArray) -> FloatArray:
    """Return values at all QPs from those at the measured ones, linear in their logarithm."""
    octaves = np.log2(np.maximum(values, 1e-3))
    place = (QPS - MEASURED[0]) / 3
    low = np.minimum(place.astype(int), len(MEASURED) - 2)
    part = (place - low)[:, None, None]
    result: FloatArray = np.exp2(octaves[low] * (1 - part) + octaves[low + 1] * part)
    return result


def at(values: FloatArray, qp: npt.NDArray[Any]) -> float:
    """Return the sum over a picture of values at each macroblock's QP."""
    index = np.clip(np.rint(qp).astype(int) - QPS[0], 0, len(QPS) - 1)
    return float(np.take_along_axis(values, index[None], 0).sum())


class Trial:
    """The set, what its errors count, and what every QP would take and lose."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures = pictures
        self.weight = weights(pictures)
        self.rate, error = curves(pictures)
        self.loss = [w * e for w, e in zip(self.weight, error, strict=True)]
        total = sum(float(item.sum()) for item in self.loss)
        self.mean = total / sum(float(item.sum()) for item in error)
        self.judge = Judge(load_model(MODEL))
        self.seen = [self.judge.observe(item).features for item in pictures]

    def fields(self, name: str, crf: int) -> list[FloatMap]:
        """Return the offsets of a configuration."""
        if name == FORMULA:
            return [
                np.clip(-3 * np.log2(w), -WINDOW, WINDOW).astype(np.float32) for w in self.weight
            ]
        slope = LAMBDA * 2 ** ((crf - 12) / 3) * self.mean
        allowed = (np.abs(QPS - crf) <= WINDOW)[:, None, None]
        costs = [loss + slope * rate for loss, rate in zip(self.loss, self.rate, strict=True)]
        best = [QPS[np.where(allowed, cost, np.inf).argmin(0)] for cost in costs]
        return [(item - crf).astype(np.float32) for item in best]

    def points(self, name: str, crf: int) -> list[tuple[list[float], list[float]]]:
        """Return bits and what is lost, of every picture, for each of ``METRICS``."""
        fields = self.fields(name, crf)
        streams, decoded = code(self.pictures, crf, fields)
        known = zip(self.rate, self.loss, fields, strict=True)
        promised = [(at(rate, f + crf), at(loss, f + crf)) for rate, loss, f in known]
        size = [8.0 * len(stream) for stream in streams]
        pairs = zip(self.pictures, decoded, self.weight, strict=True)
        lost = [float((weight * squared_error(a, b)).sum()) for a, b, weight in pairs]
        found = [self.judge.observe(item).features for item in decoded]
        distance = [output_distance(a, b) for a, b in zip(self.seen, found, strict=True)]
        return [
            ([r for r, _ in promised], [d for _, d in promised]),
            (size, lost),
            (size, distance),
        ]


def bd_rates(trial: Trial) -> dict[str, Estimate]:
    """Return the BD-rate of chosen QPs against the formula's, for each of ``METRICS``."""
    draws = bootstrap_weights(len(trial.pictures))
    # (metrics, rates and losses, CRFs, pictures)
    raw = {
        name: np.array([trial.points(name, crf) for crf in CRFS]).transpose(1, 2, 0, 3)
        for name in (FORMULA, CHOSEN)
    }
    result = {}
    for index, metric in enumerate(METRICS):
        both = {
            name: (mean_of(values[index, 0], draws), mean_of(values[index, 1], draws))
            for name, values in raw.items()
        }
        result[metric] = bootstrap_bd_rates(both, anchor=FORMULA, kind="distance")[CHOSEN]
    return result


def main() -> None:
    """Measure, print and write ``results/rd_allocation.{json,md}``."""
    args = parser(__doc__).parse_args()
    paths = tuple(sorted(data("coco_val128/images").glob("*.jpg"))[0::2][:COUNT])
    results = bd_rates(Trial(Images(name="coco", paths=paths).pictures()))
    text = f"# QPs {CHOSEN}, against {FORMULA}\n\n`{command_line()}`\n\n{PROTOCOL}\n"
    rows = [[metric, cell(value)] for metric, value in results.items()]
    text += markdown_table(["BD-rate, %, at equal", CHOSEN], rows)
    print(text)
    facts = {"command": command_line(), "machine": machine(), "crf": CRFS}
    facts |= {"bd_rate": {metric: asdict(value) for metric, value in results.items()}}
    write_results(args.results / "rd_allocation", data=facts, markdown=text)


METRICS = (
    "weighted squared error, as the measured curves promise",
    "weighted squared error, as encoded",
    f"output distance of {MODEL}, as encoded",
)
PROTOCOL = f"""{COUNT} even images, each an intra frame, verbatim; QPs within {WINDOW} of the
CRF, which runs from {CRFS[0]} to {CRFS[-1]}. Negative saves bits; 95 % paired bootstrap interval
over the images. The curves know every macroblock's own bits and errors, but not that its neighbours
are predicted from it; and no weight is true at every size of error.
"""

if __name__ == "__main__":
    main()
