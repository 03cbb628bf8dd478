"""The models that callers of the KServe v2 protocol find: ``importance`` and ``sketch``."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
import numpy.typing as npt

from idse.errors import InputError
from idse.importance.bounds import DEFAULT_ROWS
from idse.picture import Picture, PictureFormat
from idse.pipeline import frames
from idse.pipeline.makers import check_exact
from idse.server.models import QueuedNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from concurrent.futures import Future

    from idse.importance import Analyser
    from idse.importance.maker import MapMaker
    from idse.importance.sketch import SketchedJacobian
    from idse.server.models import Models
    from idse.server.queue import AnalysisQueue
    from idse.server.tensors import Parameters

Arrays = dict[str, npt.NDArray[Any]]

VERSION = "1"
# 4096x2304: what analyses need of memory goes with it.
MAX_PIXELS = 4096 * 2304
_MAX_SKETCH = 64 << 20
_MAX_BATCH = 16
# Seconds, of ``timeout``: a day.
_MAX_TIMEOUT = 86400e6


@dataclass(frozen=True, kw_only=True)
class TensorFacts:
    """Name, type and shape (-1: any) of a model's input or output."""

    name: str
    datatype: str
    shape: list[int]


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model is called with, and returns."""

    name: str
    about: str
    outputs: list[TensorFacts]
    inputs: list[TensorFacts] = field(
        default_factory=lambda: [
            TensorFacts(name="image", datatype="UINT8", shape=[-1, -1, 3]),
            TensorFacts(name="y", datatype="UINT8", shape=[-1, -1]),
            TensorFacts(name="cb", datatype="UINT8", shape=[-1, -1]),
            TensorFacts(name="cr", datatype="UINT8", shape=[-1, -1]),
        ]
    )


MODELS = {
    "importance": ModelFacts(
        name="importance",
        about="importance per luma sample of each macroblock of 16x16",
        outputs=[TensorFacts(name="importance", datatype="FP32", shape=[-1, -1])],
    ),
    "sketch": ModelFacts(
        name="sketch",
        about="sketched Jacobian: derivatives of its rows by every sample",
        outputs=[
            TensorFacts(name=name, datatype="FP32", shape=[-1, -1, -1])
            for name in ("y", "cb", "cr")
        ],
    ),
}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One picture, or several, and what is asked about them.

    Attributes
    ----------
    pictures
        Read from the inputs.
    batched
        Whether the input had a dimension for several.
    network
        Networks, as for ``--model``, and weights.
    stills
        Whether pictures are still ones, not frames of a video.
    n_s, seed
        Of the sketch.
    deadline
        `time.monotonic` seconds; None: at any time.
    """

    pictures: list[Picture]
    batched: bool
    network: tuple[str, ...]
    stills: bool
    n_s: int
    seed: int
    deadline: float | None


def read_call(
    name: str, inputs: Mapping[str, npt.NDArray[Any]], parameters: Parameters, models: Models
) -> Call:
    """Check what a caller wants.

    Parameters
    ----------
    name
        ``"importance"`` or ``"sketch"``.
    inputs
        ``image``: uint8 ``(rows, columns, 3)``, or several in a fourth dimension; or ``y``, ``cb``
        and ``cr``: uint8, or uint16 for 10 bit.
    parameters
        ``network``, ``stills`` (whether pictures are still ones, not frames of a video: the
        built-in student has a network for each), ``n_s``, ``seed``, ``frame_index`` (which signs
        are drawn), ``timeout`` (microseconds), and for planes ``matrix`` and ``full_range``.
    models
        What there is.

    Raises
    ------
    InputError
        Something of it makes no sense, or is too large.
    """
    known = {"network", "stills", "n_s", "seed", "frame_index", "timeout", "matrix", "full_range"}
    unknown = set(parameters) - known - {"binary_data_output", "priority"}
    if unknown:
        raise InputError(f"parameter {min(unknown)!r} is not one of {', '.join(sorted(known))}")
    network = parameters.get("network", models.default)
    if not isinstance(network, str) or not network.split():
        raise InputError(f"network {network!r} is no name of one")
    stills = parameters.get("stills", False)
    if not isinstance(stills, bool):
        raise InputError(f"stills {stills!r} must be true or false")
    n_s = _number(parameters, "n_s", DEFAULT_ROWS, 1, 2**16)
    index = _number(parameters, "frame_index", 0, 0, 2**40)
    call = Call(
        pictures=_pictures(inputs, parameters, index),
        batched="image" in inputs and inputs["image"].ndim == 4,
        network=tuple(network.split()),
        stills=stills,
        n_s=n_s,
        seed=_number(parameters, "seed", 0, 0, 2**63),
        deadline=read_deadline(parameters),
    )
    models.check(call.network, n_s)
    if name == "sketch":
        _check_sketch(call)
    return call


def submit(
    name: str, call: Call, models: Models, queue: AnalysisQueue, client: Hashable
) -> list[Future[Any]]:
    """Let every picture wait for its turn.

    Raises
    ------
    BusyError
        One of them cannot be served in time.
    """
    futures: list[Future[Any]] = []
    try:
        for picture in call.pictures:
            network = QueuedNetwork(
                models,
                call.network,
                queue,
                client=client,
                stills=call.stills,
                n_s=call.n_s,
                seed=call.seed,
                together=True,
            )
            asked = network.submit(picture, _question(name, picture), deadline=call.deadline)
            futures.append(asked)
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return futures


def _question(name: str, picture: Picture) -> Callable[[MapMaker], Any]:
    if name == "importance":
        return lambda maker: maker.weight(picture)
    # `_check_sketch` has refused students.
    return lambda maker: cast("Analyser", maker).sketch(picture)


def outputs(name: str, call: Call, results: list[Any]) -> Arrays:
    """Return a model's outputs by name."""
    if name == "importance":
        return {"importance": np.stack(results) if call.batched else results[0]}
    (found,) = results
    return _sketch(found)


def _sketch(found: SketchedJacobian) -> Arrays:
    planes = {"y": found.y, "cb": found.cb, "cr": found.cr}
    return {name: np.asarray(plane, np.float32) for name, plane in planes.items()}


def _check_sketch(call: Call) -> None:
    check_exact(call.network, "a sketch")
    if call.batched:
        raise InputError("sketch takes one image, of (rows, columns, 3)")
    samples = sum(rows * columns for rows, columns in call.pictures[0].format.plane_shapes)
    size = 4 * samples * call.n_s * len(call.network)
    if size > _MAX_SKETCH:
        raise InputError(
            f"a sketch of {size} bytes is above {_MAX_SKETCH}: take fewer rows, or a smaller image"
        )


def _pictures(
    inputs: Mapping[str, npt.NDArray[Any]], parameters: Parameters, index: int
) -> list[Picture]:
    if set(inputs) == {"image"}:
        return _images(inputs["image"], index)
    if set(inputs) == {"y", "cb", "cr"}:
        return [_planes(inputs, parameters, index)]
    raise InputError(f"inputs are {', '.join(sorted(inputs))}, expected image, or y, cb and cr")


def _images(image: npt.NDArray[Any], index: int) -> list[Picture]:
    if image.dtype != np.uint8 or image.ndim not in (3, 4) or image.shape[-1] != 3:
        raise InputError(f"image is {image.dtype} {image.shape}, expected uint8 (rows, columns, 3)")
    images = image if image.ndim == 4 else image[None]
    if len(images) > _MAX_BATCH:
        raise InputError(f"{len(images)} images in one request are more than {_MAX_BATCH}")
    check_size(images.shape[2], images.shape[1])
    return [
        frames.picture(av.VideoFrame.from_ndarray(item, "rgb24"), index + n)
        for n, item in enumerate(images)
    ]


def _planes(inputs: Mapping[str, npt.NDArray[Any]], parameters: Parameters, index: int) -> Picture:
    y, cb, cr = (inputs[name] for name in ("y", "cb", "cr"))
    if y.ndim != 2 or cb.ndim != 2:
        raise InputError(f"planes are {y.shape} and {cb.shape}, expected (rows, columns)")
    rows, columns = y.shape
    check_size(columns, rows)
    halved = cb.shape[1] < columns, cb.shape[0] < rows
    sampling = {(True, True): "420", (True, False): "422"}.get(halved, "444")
    depth = "p" if y.dtype == np.uint8 else "p10le"
    matrix = parameters.get("matrix", frames.unspecified_matrix(rows))
    form = PictureFormat(
        width=columns,
        height=rows,
        pix_fmt=f"yuv{sampling}{depth}",
        matrix=str(matrix),
        full_range=parameters.get("full_range", False) is True,
    )
    if depth != "p" and max(int(plane.max()) for plane in (y, cb, cr)) > 1023:
        raise InputError("samples of 10 bit must be 0 to 1023")
    return Picture(planes=(y, cb, cr), format=form, index=index)


def check_size(width: int, height: int) -> None:
    """Refuse pictures that are too large, by InputError."""
    if width * height > MAX_PIXELS:
        raise InputError(f"an image of {width}x{height} has more than {MAX_PIXELS} pixels")


def _number(parameters: Parameters, name: str, default: int, low: int, high: int) -> int:
    value = parameters.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value < high:
        raise InputError(f"{name} {value!r} must be a whole number from {low} to {high - 1}")
    return value


def read_deadline(parameters: Parameters) -> float | None:
    """Return the `time.monotonic` seconds of ``timeout``, microseconds; None where there is none.

    Raises
    ------
    InputError
        It is no such number.
    """
    value = parameters.get("timeout", 0)
    if isinstance(value, bool | str) or not 0 <= value <= _MAX_TIMEOUT:
        raise InputError(f"timeout {value!r} must be microseconds, at most {_MAX_TIMEOUT:g}")
    return time.monotonic() + value / 1e6 if value else None
