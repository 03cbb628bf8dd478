"""What steering does to one image or clip, for the page: maps, both encodes, and detections."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from idse.allocation import OffsetPolicy
from idse.codecs.h264.parser import Parser
from idse.codecs.x264 import Encoder
from idse.errors import BusyError, InputError
from idse.importance.overlay import heat
from idse.picture import Picture
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.makers import students
from idse.pipeline.report import Warnings
from idse.pipeline.source import DecodedFrame
from idse.pipeline.steering import EncodeFacts, lookahead_of, steering_of
from idse.pipeline.timing import FrameTime
from idse.server.models import QueuedNetwork
from idse.server.queue import Job
from idse.server.uploads import read_upload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from idse.evaluation.judge import Judge, Observation
    from idse.server.models import Models
    from idse.server.queue import AnalysisQueue

FloatMap = npt.NDArray[np.float32]

_CLIENT = ("page",)
# Pictures that are shown of a clip, and analysed.
_SHOWN = 6
_UPLOADS = 2
# CRFs that are tried to meet stock's size, and how far from stock's.
_TRIES, _REACH = 6, 8.0
_NO_FRAME = av.VideoFrame(2, 2, "yuv420p")
_SWSCALE = {"bt709": 1, "bt601": 5, "bt2020nc": 9}


@dataclass(eq=False)
class _Upload:
    """An upload that was decoded, and what does not depend on the sliders."""

    pictures: list[Picture]
    rate: Fraction
    shown: list[int]
    weights: dict[int, FloatMap] = field(default_factory=dict)
    observed: list[Observation | None] = field(default_factory=list)
    stock: tuple[_Coded, list[Observation | None]] | None = None  # the last one


@dataclass(frozen=True, kw_only=True, eq=False)
class _Coded:
    """One encode: its size, its pictures and its QPs."""

    crf: float
    size: int
    pictures: list[Picture]
    qp: dict[int, FloatMap]


class _Given:
    """Maps that are known."""

    def __init__(self, weights: dict[int, FloatMap]) -> None:
        self._weights = weights

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:  # noqa: ARG002
        """See :class:`idse.pipeline.maps.Maps`."""
        return self._weights.get(picture.index)

    def blocks(self, picture: Picture) -> FloatMap | None:  # noqa: ARG002
        """See :class:`idse.pipeline.maps.Maps`."""
        return None

    def close(self) -> None:
        """Nothing is open."""


class Previews:
    """Makes previews, one at a time; the last uploads' analyses are kept.

    Parameters
    ----------
    models, queue
        What analyses them, and where analyses wait.
    """

    def __init__(self, models: Models, queue: AnalysisQueue) -> None:
        self._models = models
        self._queue = queue
        self._busy = threading.Lock()
        self._uploads: OrderedDict[tuple[bytes, str], _Upload] = OrderedDict()
        self._judges: dict[str, Judge | None] = {}

    def make(
        self, data: bytes, *, network: str, strength: float, alpha: float, crf: float
    ) -> bytes:
        """Return a preview as JSON.

        Parameters
        ----------
        data
            See `read_upload`.
        network
            A registered one.
        strength, alpha
            See `OffsetPolicy`.
        crf
            Of stock x264, whose size is met.

        Raises
        ------
        InputError
            The upload cannot be used, or there is no such network.
        BusyError
            Another preview is being made.
        """
        policy = OffsetPolicy(strength=strength, alpha=alpha)
        self._models.check([network], n_s=1)
        if not self._busy.acquire(blocking=False):
            raise BusyError("another preview is being made: try again in a moment")
        try:
            upload = self._upload(data, network)
            if upload.stock is None or upload.stock[0].crf != crf:
                coded = _encode(upload, crf, None)
                upload.stock = coded, self._observe_coded(network, upload, coded)
            stock, _ = upload.stock
            steered = _meet(upload, stock, _offsets(upload, policy, crf))
            seen = {
                "stock": upload.stock[1],
                "steered": self._observe_coded(network, upload, steered),
            }
            labels = self._labels(network)
            facts = {"network": network, **_described(upload, stock, steered, seen, labels)}
            return json.dumps(facts).encode()
        finally:
            self._busy.release()

    def _upload(self, data: bytes, network: str) -> _Upload:
        key = (hashlib.sha256(data).digest(), network)
        if key in self._uploads:
            self._uploads.move_to_end(key)
            return self._uploads[key]
        pictures, rate = read_upload(data)
        count = min(_SHOWN, len(pictures))
        shown = sorted({round(k) for k in np.linspace(0, len(pictures) - 1, count)})
        upload = _Upload(pictures, rate, shown)
        queued = QueuedNetwork(
            self._models, [network], self._queue, client=_CLIENT, stills=len(pictures) == 1
        )
        for index in shown:
            upload.weights[index] = queued.weight(pictures[index])
        upload.observed = self._observe(network, [pictures[index] for index in shown])
        self._uploads[key] = upload
        if len(self._uploads) > _UPLOADS:
            self._uploads.popitem(last=False)
        return upload

    def _observe(self, network: str, pictures: Sequence[Picture]) -> list[Observation | None]:
        """Return what the network makes of pictures; None where it has no task of its own."""
        judge = self._judge(network)
        if judge is None:
            return [None] * len(pictures)
        found: list[Observation | None] = []
        for item in pictures:
            job = Job(
                client=_CLIENT,
                kind=("observe", network, item.format),
                call=lambda item=item: judge.observe(item),  # type: ignore[misc]
            )
            found.append(self._queue.submit(job, patient=True).result())
        return found

    def _labels(self, network: str) -> Sequence[str]:
        if students([network]):
            return ()
        return getattr(self._models.network(network).head, "labels", ())

    def _judge(self, name: str) -> Judge | None:
        """Return a judge with a network of its own: it hooks into it."""
        if students([name]):
            return None
        if name not in self._judges:
            from idse.evaluation.judge import Judge

            own = copy.copy(self._models.network(name))
            own.module = copy.deepcopy(own.module)
            try:
                self._judges[name] = Judge(own)
            except InputError:  # it gives features of an inner layer
                self._judges[name] = None
        return self._judges[name]

    def _observe_coded(
        self, network: str, upload: _Upload, coded: _Coded
    ) -> list[Observation | None]:
        return self._observe(network, [coded.pictures[index] for index in upload.shown])


def _described(
    upload: _Upload,
    stock: _Coded,
    steered: _Coded,
    seen: dict[str, list[Observation | None]],
    labels: Sequence[str],
) -> dict[str, object]:
    form = upload.pictures[0].format
    qps = [coded.qp[index] for coded in (stock, steered) for index in upload.shown]
    low, high = _span(np.concatenate([qp.ravel() for qp in qps]), least=4.0)
    frames = []
    for n, index in enumerate(upload.shown):
        source = upload.observed[n]
        boxes = {name: _boxes(found[n], labels) for name, found in seen.items()}
        frames.append(
            {
                "index": index,
                "source": _jpeg(upload.pictures[index]),
                "stock": _jpeg(stock.pictures[index]),
                "steered": _jpeg(steered.pictures[index]),
                "importance": _importance(upload.weights[index]),
                "qp_stock": _png(heat(stock.qp[index], low, high)),
                "qp_steered": _png(heat(steered.qp[index], low, high)),
                "boxes": {"source": _boxes(source, labels), **boxes},
                "kept": {name: _kept(source, found[n]) for name, found in seen.items()},
            }
        )
    return {
        "width": form.width,
        "height": form.height,
        "pictures": len(upload.pictures),
        "bytes": {"stock": stock.size, "steered": steered.size},
        "crf": {"stock": stock.crf, "steered": round(steered.crf, 2)},
        "qp": [low, high],
        "frames": frames,
    }


def _offsets(upload: _Upload, policy: OffsetPolicy, crf: float) -> list[FloatMap | None]:
    """Return every picture's offsets, as a transcode would have them."""
    form, time_base = upload.pictures[0].format, 1 / upload.rate
    facts = EncodeFacts(
        form=form,
        mb_shape=form.mb_shape,
        crf=crf,
        interlaced=False,
        rate=upload.rate,
        time_base=time_base,
    )
    options = SteeringOptions(policy=policy)
    steering = steering_of(
        options,
        _Given(upload.weights),
        facts,
        Warnings(),
        lookahead=lookahead_of(options, facts),
    )
    items = (
        DecodedFrame(_NO_FRAME, item, FrameTime(pts=n, duration=1))
        for n, item in enumerate(upload.pictures)
    )
    return [None if given is None else given.offsets for _, given in steering.run(items)]


def _meet(upload: _Upload, stock: _Coded, offsets: Sequence[FloatMap | None]) -> _Coded:
    """Encode with offsets at the CRF that gives the most bytes up to stock's."""
    best: _Coded | None = None
    low, high = stock.crf - _REACH, stock.crf + _REACH
    for _ in range(_TRIES):
        tried = _encode(upload, (low + high) / 2, offsets)
        if tried.size > stock.size:
            low = tried.crf
        else:
            best, high = tried, tried.crf
    return best or _encode(upload, high, offsets)


def _encode(upload: _Upload, crf: float, offsets: Sequence[FloatMap | None] | None) -> _Coded:
    form = upload.pictures[0].format
    with Encoder(
        width=form.width,
        height=form.height,
        fps=upload.rate,
        options={"crf": f"{crf:.3f}", "threads": "2"},
        steer=offsets is not None,
        global_headers=False,
    ) as encoder:
        packets = []
        for n, item in enumerate(upload.pictures):
            given = None if offsets is None else offsets[n]
            packets += encoder.encode(item.planes, pts=n, offsets=given)
        packets += encoder.flush()
    decoder = av.CodecContext.create("h264", "r")
    parser = Parser()
    pictures: list[Picture] = []
    qp: dict[int, FloatMap] = {}
    for packet in packets:
        for frame in decoder.decode(av.Packet(packet.data)):
            pictures.append(_picture(frame, upload.pictures[len(pictures)]))
        for parsed in parser.feed(packet.data, length_size=0, tag=packet.pts):
            qp[parsed.tag] = parsed.frame.qp_array
    for frame in decoder.decode(None):
        pictures.append(_picture(frame, upload.pictures[len(pictures)]))
    for parsed in parser.flush():
        qp[parsed.tag] = parsed.frame.qp_array
    size = sum(len(packet.data) for packet in packets)
    return _Coded(crf=crf, size=size, pictures=pictures, qp=qp)


def _picture(frame: Any, source: Picture) -> Picture:  # noqa: ANN401 - PyAV's decode has any frame
    """Return a decoded picture, read as its source was."""
    y, cb, cr = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:rows, :columns].copy()
        for plane, (rows, columns) in zip(frame.planes, source.format.plane_shapes, strict=True)
    )
    return Picture(planes=(y, cb, cr), format=source.format, index=source.index)


def _jpeg(item: Picture) -> str:
    form = item.format
    frame = av.VideoFrame(form.width, form.height, form.pix_fmt)
    for plane, samples in zip(frame.planes, item.planes, strict=True):
        lines = np.zeros((plane.height, plane.line_size), np.uint8)
        lines[: samples.shape[0], : samples.shape[1]] = samples
        plane.update(lines.tobytes())
    shown = frame.reformat(
        format="rgb24",
        src_colorspace=_SWSCALE[form.matrix],
        src_color_range=2 if form.full_range else 1,
    )
    buffer = io.BytesIO()
    image = Image.fromarray(shown.to_ndarray(format="rgb24"))
    image.save(buffer, "JPEG", quality=93, subsampling=0)
    return _url("jpeg", buffer.getvalue())


def _importance(weight: FloatMap) -> str:
    mean = max(float(weight.mean()), 1e-30)
    level = np.log2(np.maximum(weight / mean, 2.0**-16))
    return _png(heat(level, *_span(level, least=2.0)))


def _span(values: npt.NDArray[Any], *, least: float) -> tuple[float, float]:
    """Return the ends of a scale that shows nearly all values."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 0.0)
    middle, half = (low + high) / 2, max(high - low, least) / 2
    return float(middle - half), float(middle + half)


def _png(colours: npt.NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "PNG")
    return _url("png", buffer.getvalue())


def _url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _boxes(seen: Observation | None, labels: Sequence[str]) -> list[dict[str, object]]:
    if seen is None or seen.found is None:
        return []
    from idse.evaluation.average_precision import confident

    found = confident(seen.found)
    return [
        {
            "box": [round(float(side), 1) for side in box],
            "score": round(float(score), 2),
            "label": labels[int(kind)] if int(kind) < len(labels) else str(int(kind)),
        }
        for box, score, kind in zip(found.boxes, found.scores, found.classes, strict=True)
    ]


def _kept(source: Observation | None, seen: Observation | None) -> int | None:
    """Return how many of the source's detections are still found."""
    if source is None or seen is None or source.found is None or seen.found is None:
        return None
    from idse.evaluation.average_precision import confident, match

    matches = match(confident(source.found), confident(seen.found))
    return int(matches.hits[0].sum())
