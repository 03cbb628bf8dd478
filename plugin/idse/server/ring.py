"""Pictures in memory that an encoder's process shares: checked before it is mapped.

What lies in it may change at any time, whatever the protocol says: it is read as samples, for which
every value will do, and nothing else.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.errors import InputError, ProtocolError
from idse.picture import Picture, PictureFormat
from idse.pipeline.frames import matrix_of, transfer_of
from idse.server.protocol import Arrangement, Chroma, Hello, RateMethod, SessionFlags

if TYPE_CHECKING:
    from idse.picture import Plane
    from idse.pipeline.steering import EncodeFacts

_PIX_FMTS = {
    Chroma.GREY: "yuv420p",
    Chroma.YUV420: "yuv420p",
    Chroma.YUV422: "yuv422p",
    Chroma.YUV444: "yuv444p",
}
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def picture_format(hello: Hello) -> PictureFormat:
    """Return how the ring's pictures are read.

    Raises
    ------
    InputError
        They cannot be.
    """
    return PictureFormat(
        width=hello.width,
        height=hello.height,
        pix_fmt=_PIX_FMTS[Chroma(hello.chroma)] + ("10le" if hello.bit_depth == 10 else ""),
        matrix=matrix_of(hello.matrix, hello.height),
        full_range=bool(hello.full_range),
        transfer=transfer_of(hello.transfer),
    )


def encode_facts(hello: Hello) -> EncodeFacts:
    """Return what steering must know of the encode.

    Raises
    ------
    InputError
        As `picture_format`.
    """
    from idse.pipeline.steering import EncodeFacts

    return EncodeFacts(
        form=picture_format(hello),
        mb_shape=(hello.mb_rows, hello.mb_cols),
        crf=hello.crf if hello.rate_method == RateMethod.CRF else None,
        interlaced=bool(hello.interlaced),
        rate=Fraction(hello.fps_num, hello.fps_den),
        time_base=Fraction(hello.timebase_num, hello.timebase_den),
    )


class Ring:
    """A ring of pictures, mapped.

    Parameters
    ----------
    descriptor
        Of the memfd; it may be closed afterwards.
    hello
        The layout; checked.

    Raises
    ------
    ProtocolError
        It is no memfd, may be made smaller, or has another size than the layout.
    InputError
        The pictures cannot be read.
    """

    def __init__(self, descriptor: int, hello: Hello) -> None:
        self.hello = hello
        self.format = picture_format(hello)
        found = os.fstat(descriptor)
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        except OSError as error:
            raise ProtocolError("the ring is no memfd that can be sealed") from error
        if not stat.S_ISREG(found.st_mode) or seals & _SEALS != _SEALS:
            raise ProtocolError(f"the ring has the seals {seals:#x}, needs {_SEALS:#x}")
        if found.st_size != hello.ring_bytes:
            raise ProtocolError(f"the ring has {found.st_size} bytes, not {hello.ring_bytes}")
        try:
            self._memory = mmap.mmap(descriptor, hello.ring_bytes)
        except OSError as error:
            raise ProtocolError(f"the ring cannot be mapped: {error.strerror}") from error
        self._grey: Plane | None = None
        if hello.chroma == Chroma.GREY:
            dtype = np.uint8 if hello.bit_depth == 8 else np.uint16
            middle = 1 << (hello.bit_depth - 1)
            self._grey = np.full(self.format.chroma_shape, middle, dtype)

    @classmethod
    def make(cls, hello: Hello) -> tuple[Ring, int]:
        """Make a ring; return it and its descriptor, which the caller closes."""
        descriptor = os.memfd_create("idse-ring", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, hello.ring_bytes)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            return cls(descriptor, hello), descriptor
        except BaseException:
            os.close(descriptor)
            raise

    def picture(self, slot: int, index: int, pts: int | None = None) -> Picture:
        """Return the picture in a slot: views of the ring, not copies."""
        y, cb, cr = self._planes(slot)
        return Picture(planes=(y, cb, cr), format=self.format, index=index, pts=pts)

    def offsets(self, slot: int) -> npt.NDArray[np.float32]:
        """Return the offsets of a slot, float32 ``(mb_rows, mb_cols)``."""
        hello = self.hello
        at = slot * hello.slot_bytes + hello.offsets_at
        count = hello.mb_rows * hello.mb_cols
        flat = np.frombuffer(self._memory, np.float32, count, at)
        return flat.reshape(hello.mb_rows, hello.mb_cols)

    def weights(self, slot: int) -> npt.NDArray[np.uint16]:
        """Return the weights of a slot, uint16 ``(4 mb_rows, 4 mb_cols)``, of which 256 is 1.

        Raises
        ------
        InputError
            The ring has none.
        """
        hello = self.hello
        if not hello.flags & SessionFlags.WEIGHTS:
            raise InputError("this ring has no room for weights")
        at = slot * hello.slot_bytes + hello.weights_at
        shape = 4 * hello.mb_rows, 4 * hello.mb_cols
        flat = np.frombuffer(self._memory, np.uint16, shape[0] * shape[1], at)
        return flat.reshape(shape)

    def _planes(self, slot: int) -> tuple[Plane, Plane, Plane]:
        hello = self.hello
        dtype = np.dtype(np.uint8 if hello.bit_depth == 8 else "<u2")
        (rows, columns), (chroma_rows, chroma_columns) = hello.plane_shapes
        at = slot * hello.slot_bytes
        luma = np.frombuffer(self._memory, dtype, rows * columns, at).reshape(rows, columns)
        if self._grey is not None:
            return luma, self._grey, self._grey
        at += luma.nbytes
        count = chroma_rows * chroma_columns
        chroma = np.frombuffer(self._memory, dtype, 2 * count, at)
        if hello.arrangement == Arrangement.PLANAR:
            first, second = chroma.reshape(2, chroma_rows, chroma_columns)
        else:
            pairs = chroma.reshape(chroma_rows, chroma_columns, 2)
            first, second = pairs[..., 0], pairs[..., 1]
        if hello.arrangement == Arrangement.PAIRS_CR_CB:
            first, second = second, first
        return luma, first, second
