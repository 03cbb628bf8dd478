"""Sketched Jacobians (Algorithm 1 of the IDSE paper) of networks with respect to decoded planes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from idse.errors import IdseError, ModelError
from idse.picture import MACROBLOCK, PictureFormat
from idse.vision.preprocess import planes_to_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.picture import Picture
    from idse.vision import FeatureExtractor


@dataclass(frozen=True, kw_only=True, eq=False)
class SketchedJacobian:
    """J_s with respect to every decoded sample of a picture.

    Attributes
    ----------
    y, cb, cr
        Floating point ``(rows, height, width)`` and twice ``(rows, *format.chroma_shape)``: each
        row is the gradient of a random +-1 combination of the features, divided by sqrt(n_s), so
        that ``E ||J_s e||^2 = ||J e||^2`` for every error e in code values.
    format
        Of the picture.
    """

    y: npt.NDArray[Any]
    cb: npt.NDArray[Any]
    cr: npt.NDArray[Any]
    format: PictureFormat

    def block_energy(self, block: int = MACROBLOCK) -> npt.NDArray[Any]:
        """Sum ``J_s**2`` over the rows and over blocks of ``block`` x ``block`` luma samples.

        Parameters
        ----------
        block
            Side of a block in luma samples; even.

        Returns
        -------
        ndarray
            ``(3, block_rows, block_cols)`` for Y, Cb, Cr; its sum is ``||J_s||_F^2``.
        """
        sub_x, sub_y = self.format.subsampling
        chroma = (block >> sub_y, block >> sub_x)
        return np.stack(
            [
                _block_sums(plane, size)
                for plane, size in ((self.y, (block, block)), (self.cb, chroma), (self.cr, chroma))
            ]
        )


def _block_sums(plane: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    squares = np.einsum("nij,nij->ij", plane, plane)
    rows, columns = (np.arange(0, n, step) for n, step in zip(squares.shape, size, strict=True))
    sums: npt.NDArray[Any] = np.add.reduceat(np.add.reduceat(squares, rows, 0), columns, 1)
    return sums


def rademacher(n_s: int, n_f: int, seed: int, frame_index: int, stream: int = 0) -> Tensor:
    """Draw the sketching matrix: fair coin flips.

    The signs depend on the arguments only, on every machine and with every version of torch, and
    the first rows of a larger ``n_s`` are those of a smaller one.

    Parameters
    ----------
    n_s, n_f
        Rows and number of features.
    seed, frame_index, stream
        Whole numbers from 0 on: frames and, with several networks, networks (``stream``) get
        independent signs.

    Returns
    -------
    Tensor
        int8 ``(n_s, n_f)`` of -1 and +1.
    """
    # The raw output of a bit generator is what numpy promises never to change.
    source = np.random.PCG64(np.random.SeedSequence((seed, frame_index, stream)))
    words = source.random_raw(n_s * -(-n_f // 64)).astype("<u8").reshape(n_s, -1)
    bits = np.unpackbits(words.view(np.uint8), axis=1, count=n_f)
    return torch.from_numpy(bits.view(np.int8) * np.int8(2) - np.int8(1))


@dataclass(frozen=True, kw_only=True)
class SketchSettings:
    """How to sketch: rows, seed, and the type that the network runs in."""

    n_s: int
    seed: int
    dtype: torch.dtype

    @property
    def plane_dtype(self) -> torch.dtype:
        """Type of everything around the network: bfloat16 cannot even hold a 10-bit sample."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32


def sketch_gradients(
    extractor: FeatureExtractor,
    picture: Picture,
    settings: SketchSettings,
    *,
    stream: int = 0,
    batched: bool | None = None,
) -> Tensor:
    """Return J_s at the network's resolution.

    Parameters
    ----------
    extractor
        Its module has the settings' dtype.
    picture
        A decoded picture.
    settings
        Rows, seed, dtype.
    stream
        Tells the sketches of several networks apart.
    batched
        Whether one backward pass carries all rows. By default on accelerators only: on a CPU,
        row by row through the same graph is 3 to 8 % faster (measured with yolov4-tiny at 320
        and 416, 8 rows, one thread: 377 ms against 407 ms) and holds one row's gradients at a
        time.

    Returns
    -------
    Tensor
        ``(n_s, 3, *geometry.resized)``: gradients with respect to what ``extractor.shrink`` makes
        of the planes, divided by sqrt(n_s). ``extractor.shrink_transposed`` carries them to the
        planes.

    Raises
    ------
    ModelError
        The network fails on the picture, is not differentiable down to its input, or returns
        features or gradients that are not finite.
    """
    (gradients,) = batch_gradients(extractor, [picture], settings, stream=stream, batched=batched)
    return gradients


def batch_gradients(
    extractor: FeatureExtractor,
    pictures: Sequence[Picture],
    settings: SketchSettings,
    *,
    stream: int = 0,
    batched: bool | None = None,
) -> list[Tensor]:
    """Return J_s of several pictures of one format, which go through the network together.

    As `sketch_gradients` of each, up to the rounding of sums that another batch size brings.

    Raises
    ------
    ModelError
        As `sketch_gradients`, on any of the pictures.
    """
    where = f"{extractor.name} on frame {' and '.join(str(item.index) for item in pictures)}"
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            gradients = _gradients(extractor, pictures, settings, stream, batched=batched)
    except IdseError:
        raise
    # The network is the user's code: whatever it raises costs this frame its map, not the run.
    except Exception as error:
        raise ModelError(f"{where} failed: {type(error).__name__}: {error}") from error
    if not bool(torch.isfinite(gradients).all()):
        raise ModelError(f"{where} has gradients that are not finite")
    return list(gradients.unbind(1))


def _gradients(
    extractor: FeatureExtractor,
    pictures: Sequence[Picture],
    settings: SketchSettings,
    stream: int,
    *,
    batched: bool | None,
) -> Tensor:
    """Return the gradients of all pictures: ``(n_s, pictures, 3, rows, columns)``."""
    parameter = next(extractor.module.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    form = pictures[0].format
    planes = [planes_to_tensors(item, dtype=settings.plane_dtype) for item in pictures]
    y, cb, cr = (torch.cat(parts).to(device) for parts in zip(*planes, strict=True))
    # Everything up to here is linear in the samples: its transpose comes after the backward pass.
    shrunk = extractor.shrink(y, cb, cr, form).detach().requires_grad_()
    features = extractor.features(extractor.finish(shrunk, form).to(settings.dtype))
    name = extractor.name
    if features.ndim != 2 or len(features) != len(pictures) or features.shape[1] == 0:
        raise ModelError(
            f"features of {name} are {tuple(features.shape)}, expected ({len(pictures)}, n_f)"
        )
    if not features.requires_grad:
        raise ModelError(f"features of {name} do not depend on its input differentiably")
    if not bool(torch.isfinite(features).all()):
        raise ModelError(f"features of {name} on frame {pictures[0].index} are not finite")
    signs = torch.stack(
        [
            rademacher(settings.n_s, features.shape[1], settings.seed, item.index, stream)
            for item in pictures
        ],
        dim=1,
    ).to(device=device, dtype=features.dtype)
    if batched is None:
        batched = device.type != "cpu"
    if batched:
        rows = torch.autograd.grad(features, shrunk, signs, is_grads_batched=True)[0]
    else:
        parts = [torch.autograd.grad(features, shrunk, s, retain_graph=True) for s in signs]
        rows = torch.stack([part[0] for part in parts])
    gradients: Tensor = rows / math.sqrt(settings.n_s)
    return gradients
