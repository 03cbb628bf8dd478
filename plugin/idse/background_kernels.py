"""The C kernels that smooth a still background over time (``native/background``).

Everything is checked here before C sees a pointer. The kernels keep no state and allocate nothing.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse import native
from idse.errors import InputError

if TYPE_CHECKING:
    from idse.picture import Picture, PictureFormat, Plane

_ABI = 1
CELL = 8  # luma samples across a cell, the unit of every decision
UNIT_GAIN = 1 << 14
UNIT_WEIGHT = 256
FORGET, LEARN, HOLD = range(3)

_pointer = ctypes.c_void_p
_int = ctypes.c_int


@cache
def _library() -> ctypes.CDLL:
    library = native.load("idse_background", _ABI)
    # source, stride, held, width, height, sample_bytes, cell_width, cell_height, rows, cols, scale,
    # difference
    compare = library.idse_background_compare
    compare.argtypes = [
        _pointer,
        ctypes.c_ssize_t,
        _pointer,
        *[_int] * 7,
        ctypes.c_float,
        _pointer,
    ]
    compare.restype = None
    # source, stride, width, height, depth, cell_width, cell_height, rows, cols, action, gain,
    # weight, mean, held, target
    update = library.idse_background_update
    update.argtypes = [_pointer, ctypes.c_ssize_t, *[_int] * 7, *[_pointer] * 6]
    update.restype = None
    return library


def cell_shape(form: PictureFormat) -> tuple[int, int]:
    """Return the rows and columns of cells of a picture."""
    return -(-form.height // CELL), -(-form.width // CELL)


@dataclass(frozen=True, eq=False)
class Background:
    """What is remembered of the pictures so far; changed in place by :func:`update`.

    Attributes
    ----------
    form
        Of the pictures.
    mean
        uint16 ``form.plane_shapes``: running means, samples times ``2 ** (16 - depth)``.
    held
        uint8 or uint16 ``form.plane_shapes``: what a still background shows.
    """

    form: PictureFormat
    mean: tuple[npt.NDArray[np.uint16], ...]
    held: tuple[Plane, ...]

    @classmethod
    def of(cls, picture: Picture) -> Background:
        """Return the background that a picture alone makes."""
        shift = 16 - picture.format.bit_depth
        held = tuple(np.array(plane, order="C") for plane in picture.planes)
        mean = tuple(plane.astype(np.uint16) << np.uint16(shift) for plane in held)
        return cls(picture.format, mean, held)

    def _cells(self, plane: int) -> tuple[int, int, int, int]:
        """Width and height of a plane's cells, rows and columns of them."""
        sx, sy = self.form.subsampling if plane else (0, 0)
        return CELL >> sx, CELL >> sy, *cell_shape(self.form)

    def compare(self, picture: Picture) -> npt.NDArray[np.float32]:
        """Return how far a picture is from what is held.

        Returns
        -------
        float32 ``cell_shape(form)``: the largest, over the 4x4 blocks of the cell's three planes,
        of the absolute mean difference, in 8-bit code values. Averaging keeps noise out, blocks of
        4x4 keep small things in.

        Raises
        ------
        InputError
            The picture has another format.
        """
        planes = self._checked(picture)
        difference = np.zeros(cell_shape(self.form), np.float32)
        for index, (plane, held) in enumerate(zip(planes, self.held, strict=True)):
            _library().idse_background_compare(
                plane.ctypes.data,
                plane.strides[0],
                held.ctypes.data,
                plane.shape[1],
                plane.shape[0],
                plane.itemsize,
                *self._cells(index),
                2.0 ** (8 - self.form.bit_depth),
                difference.ctypes.data,
            )
        return difference

    def update(
        self,
        picture: Picture,
        *,
        action: npt.NDArray[np.uint8],
        gain: npt.NDArray[np.uint16],
        weight: npt.NDArray[np.uint16],
    ) -> tuple[Plane, Plane, Plane]:
        """Learn from a picture and return it with the held samples mixed in.

        Parameters
        ----------
        action
            uint8 ``cell_shape(form)``: ``FORGET``, ``LEARN`` or ``HOLD``.
        gain
            uint16 ``cell_shape(form)``: share of the picture in the new mean, of ``UNIT_GAIN``.
        weight
            uint16, one more row and column: share of the held samples in the result at the corners
            of cells, of ``UNIT_WEIGHT``, bilinear in between.

        Raises
        ------
        InputError
            The picture has another format, or an array another shape or type.
        """
        planes = self._checked(picture)
        rows, cols = cell_shape(self.form)
        _check(action, (rows, cols), np.uint8, 2, "actions")
        _check(gain, (rows, cols), np.uint16, UNIT_GAIN, "gains")
        _check(weight, (rows + 1, cols + 1), np.uint16, UNIT_WEIGHT, "weights")
        target = []
        for index, plane in enumerate(planes):
            mixed = np.empty_like(self.held[index])
            _library().idse_background_update(
                plane.ctypes.data,
                plane.strides[0],
                plane.shape[1],
                plane.shape[0],
                self.form.bit_depth,
                *self._cells(index),
                action.ctypes.data,
                gain.ctypes.data,
                weight.ctypes.data,
                self.mean[index].ctypes.data,
                self.held[index].ctypes.data,
                mixed.ctypes.data,
            )
            target.append(mixed)
        y, cb, cr = target
        return y, cb, cr

    def _checked(self, picture: Picture) -> tuple[Plane, ...]:
        """Return planes that C can walk."""
        found, own = picture.format, self.form
        if found.plane_shapes != own.plane_shapes or found.bit_depth != own.bit_depth:
            raise InputError(
                f"picture {found.pix_fmt} {found.width}x{found.height} has no place in a "
                f"background of {own.pix_fmt} {own.width}x{own.height}"
            )
        return tuple(
            plane if plane.strides[1] == plane.itemsize else np.ascontiguousarray(plane)
            for plane in picture.planes
        )


def _check(
    values: npt.NDArray[Any], shape: tuple[int, int], dtype: type[Any], most: int, what: str
) -> None:
    if values.shape != shape or values.dtype != dtype or not values.flags.c_contiguous:
        raise InputError(
            f"{what} are {values.dtype} {values.shape}, expected contiguous {np.dtype(dtype)} "
            f"{shape}"
        )
    if int(values.max()) > most:
        raise InputError(f"{what} hold {int(values.max())}, at most {most} is allowed")
