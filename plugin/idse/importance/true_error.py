"""How much of what a network loses in a decoded picture is due to the error of each block.

The distance of the features, ``FD = ||f(x + e) - f(x)||^2``, is shared out among the blocks by the
integral of its gradient along the straight path from source to decoded picture (integrated
gradients: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", 2017): with
``a_b = sum over the block of (integral over t of grad FD(x + t e)) . e`` the shares add up to FD.
The gradient at the decoded picture alone would count what is quadratic twice.

The path runs at the network's resolution, where the error is ``D e`` (resizing is linear), and its
mean gradient is carried back to the samples once. Errors that resizing removes get no share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from idse.errors import IdseError, InputError, ModelError
from idse.importance.shares import block_sums, check_same
from idse.picture import MACROBLOCK
from idse.vision.preprocess import planes_to_tensors
from idse.vision.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from idse.picture import Picture, PictureFormat
    from idse.vision import FeatureExtractor

FloatMap = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

# Gauss-Legendre positions and weights on 0..1. One point is exact where FD is quadratic along the
# path, two where it is of fourth order, which is what a network that bends a little gives.
_PATHS: dict[int, tuple[tuple[float, float], ...]] = {
    1: ((0.5, 1.0),),
    2: ((0.2113248654, 0.5), (0.7886751346, 0.5)),
    3: ((0.1127016654, 5 / 18), (0.5, 8 / 18), (0.8872983346, 5 / 18)),
    4: (
        (0.0694318442, 0.1739274226),
        (0.3300094782, 0.3260725774),
        (0.6699905218, 0.3260725774),
        (0.9305681558, 0.1739274226),
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class TrueError:
    """What the error of one decoded picture costs, block by block.

    Attributes
    ----------
    share
        float64 ``(networks, rows, cols)``: a_b, which add up to about ``distance``. Negative where
        a block's error makes up for another one's.
    distance
        float64 ``(networks,)``: squared distance of the features, as measured.
    squared_error
        float64 ``(rows, cols)``: sum over the block's samples, luma and chroma, of the squared
        error in code values.
    """

    share: FloatArray
    distance: FloatArray
    squared_error: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceView:
    """What the networks see in a source picture; serves any number of its encodes."""

    picture: Picture
    shrunk: tuple[Tensor, ...]
    features: tuple[Tensor, ...]


class TrueErrorMeter:
    """Measures true-error shares, on one CPU thread (or where the networks' parameters are).

    Parameters
    ----------
    networks
        Whose features count.
    points
        Gradients per picture and network along the path, 1 to 4.

    Raises
    ------
    InputError
        No network, or another number of points.
    """

    def __init__(self, networks: Sequence[FeatureExtractor], *, points: int = 2) -> None:
        if not networks:
            raise InputError("true-error weights need at least one network, got none")
        if points not in _PATHS:
            raise InputError(f"points {points} is not one of {', '.join(map(str, _PATHS))}")
        self._networks = tuple(networks)
        self._path = _PATHS[points]

    def view(self, picture: Picture) -> SourceView:
        """Look at a source picture.

        Raises
        ------
        ModelError
            A network fails on it.
        """
        shrunk, features = [], []
        with one_thread(), torch.inference_mode(mode=False), torch.no_grad():
            for network in self._networks:
                z = _shrink(network, planes_to_tensors(picture), picture.format)
                shrunk.append(z)
                features.append(_features(network, z, picture))
        return SourceView(picture=picture, shrunk=tuple(shrunk), features=tuple(features))

    def distance(self, source: SourceView, decoded: Picture) -> FloatArray:
        """Return the squared distances of the features ``(networks,)``, without shares.

        Raises
        ------
        InputError, ModelError
            As :meth:`measure`.
        """
        check_same(source.picture.format, decoded.format)
        found = []
        with one_thread(), torch.inference_mode(mode=False), torch.no_grad():
            for network, features in zip(self._networks, source.features, strict=True):
                z = _shrink(network, planes_to_tensors(decoded), source.picture.format)
                found.append(_distance(_features(network, z, source.picture), features))
        return np.array(found)

    def measure(
        self, source: SourceView, decoded: Picture, *, block: int = MACROBLOCK
    ) -> TrueError:
        """Share the distance of a decoded picture out among its blocks.

        Parameters
        ----------
        source
            The source picture (:meth:`view`).
        decoded
            The same picture after coding, of the same size and pixel format.
        block
            Side of a block in luma samples: 16, 8 or 4.

        Raises
        ------
        InputError
            The pictures do not fit each other, or another block size.
        ModelError
            A network fails on the picture or has gradients that are not finite.
        """
        if block not in (4, 8, MACROBLOCK):
            raise InputError(f"block {block} is not 4, 8 or {MACROBLOCK}")
        form = source.picture.format
        check_same(form, decoded.format)
        errors = [
            d.astype(np.float32) - s.astype(np.float32)
            for s, d in zip(source.picture.planes, decoded.planes, strict=True)
        ]
        shares, distances = [], []
        with one_thread(), torch.inference_mode(mode=False):
            for k, network in enumerate(self._networks):
                gradient, distance = self._path_gradient(network, source, k, errors)
                planes = network.shrink_transposed(gradient, form)
                parts = [
                    plane[0, 0].cpu().numpy() * error
                    for plane, error in zip(planes, errors, strict=True)
                ]
                shares.append(block_sums(parts, form, block))
                distances.append(distance)
        squared = block_sums([error * error for error in errors], form, block)
        return TrueError(
            share=np.stack(shares), distance=np.array(distances), squared_error=squared
        )

    def _path_gradient(
        self,
        network: FeatureExtractor,
        source: SourceView,
        k: int,
        errors: Sequence[npt.NDArray[Any]],
    ) -> tuple[Tensor, float]:
        """Return the path's mean gradient, at the network's resolution, and the distance."""
        picture, start, features = source.picture, source.shrunk[k], source.features[k]
        with torch.no_grad():
            # The difference of two resized pictures would lose the last digits of small errors.
            tensors = [torch.from_numpy(error)[None, None] for error in errors]
            step = _shrink(network, tensors, picture.format)
            distance = _distance(_features(network, start + step, picture), features)
        total = torch.zeros_like(start)
        for position, weight in self._path:
            z = (start + position * step).requires_grad_()
            with torch.enable_grad():
                difference = _features(network, z, picture) - features
                try:
                    (gradient,) = torch.autograd.grad((difference * difference).sum(), z)
                except RuntimeError as error:
                    raise ModelError(
                        f"{network.name} on frame {picture.index} has no gradient: {error}"
                    ) from error
            total += weight * gradient
        if not bool(torch.isfinite(total).all()):
            raise ModelError(
                f"{network.name} on frame {picture.index} has gradients that are not finite"
            )
        return total, distance


def _shrink(network: FeatureExtractor, planes: Sequence[Tensor], form: PictureFormat) -> Tensor:
    """Resize planes ``(1, 1, rows, columns)`` to the network's resolution, where it runs."""
    parameter = next(network.module.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    y, cb, cr = (plane.to(device) for plane in planes)
    return network.shrink(y, cb, cr, form)


def _features(network: FeatureExtractor, shrunk: Tensor, picture: Picture) -> Tensor:
    parameter = next(network.module.parameters(), None)
    dtype = torch.float32 if parameter is None else parameter.dtype
    try:
        found = network.features(network.finish(shrunk, picture.format).to(dtype))
    except IdseError:
        raise
    # The network is the user's code.
    except Exception as error:
        message = f"{network.name} on frame {picture.index} failed: {type(error).__name__}: {error}"
        raise ModelError(message) from error
    if not bool(torch.isfinite(found).all()):
        raise ModelError(f"features of {network.name} on frame {picture.index} are not finite")
    return found.float()


def _distance(found: Tensor, features: Tensor) -> float:
    difference = (found - features).double()
    return float((difference * difference).sum())
