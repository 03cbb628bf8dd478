"""Ownership and errors around the C parser: bytes of NAL units in, arrays out."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from idse.codecs.h264 import _native
from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

Structure = Literal["frame", "mbaff", "fields"]
_STRUCTURES: tuple[Structure, ...] = ("frame", "mbaff", "fields")  # by idse_h264_picture.structure


@dataclass(frozen=True, kw_only=True)
class FrameMacroblocks:
    """What the bitstream says about every macroblock of one frame.

    All arrays have the shape ``(mb_rows, mb_cols)`` of the *coded* frame: 16x16 luma samples a
    macroblock, before cropping. Interlaced frames count their rows as pairs: of two coded fields
    (``structure`` ``"fields"``) row 2r is row r of the top field and row 2r + 1 of the bottom
    field; of an MBAFF pair the top macroblock comes first, be the pair coded as frame or as fields.

    Attributes
    ----------
    pts
        Presentation time in units of the stream's time base; None where the file has none (raw
        Annex B).
    pict_type
        ``"I"``, ``"P"`` or ``"B"``: the most general type among its slices.
    structure
        ``"frame"``, ``"mbaff"`` or ``"fields"``.
    bit_depth
        Of luma, 8 to 14. QP_Y runs from ``-6 * (bit_depth - 8)`` to 51; x264 and FFmpeg count from
        0 instead (QP'_Y = QP_Y + 6 * (bit_depth - 8)).
    qp : int8
        QP_Y of every macroblock as ITU-T H.264, 7.4.5 defines it. One without ``coded`` has no QP
        of its own: it inherits its predecessor's in the slice, and the slice's at the start.
    coded : bool
        The macroblock carries mb_qp_delta, hence the QP that the encoder chose for it.
    skipped : bool
        P_Skip or B_Skip: nothing but the fact that it is skipped was transmitted.
    intra : bool
        Intra prediction, or I_PCM (which is never ``coded``).
    bits : int32
        Bits spent on the macroblock, headers of NAL units and slices excluded. In CAVLC a run of
        skipped macroblocks counts for its first one.
    """

    pts: int | None
    pict_type: Literal["I", "P", "B"]
    structure: Structure
    bit_depth: int
    qp: npt.NDArray[np.int8]
    coded: npt.NDArray[np.bool_]
    skipped: npt.NDArray[np.bool_]
    intra: npt.NDArray[np.bool_]
    bits: npt.NDArray[np.int32]

    @property
    def qp_array(self) -> npt.NDArray[np.float32]:
        """``qp`` as float32, NaN where the macroblock is skipped."""
        return np.where(self.skipped, np.float32(np.nan), self.qp).astype(np.float32)


@dataclass(frozen=True)
class ParsedPicture:
    """One picture of :class:`Parser`: the tag of its data, its place in output order, its data."""

    tag: int
    order: int
    frame: FrameMacroblocks


class Parser:
    """One H.264 elementary stream. Feed it NAL units in decoding order.

    Not for use by two threads at a time. After an error it is of no more use.
    """

    def __init__(self) -> None:
        self._library = _native.library()
        self._handle = self._library.idse_h264_open()
        if not self._handle:
            raise MemoryError("no memory for the H.264 parser")
        weakref.finalize(self, self._library.idse_h264_close, self._handle)
        self._pictures = 0

    def feed(self, data: bytes, *, length_size: int, tag: int) -> Iterator[ParsedPicture]:
        """Read NAL units and yield the pictures that they complete, in decoding order.

        Parameters
        ----------
        data
            Whole NAL units.
        length_size
            Bytes of the length before each unit, 1 to 4; 0 where start codes separate them
            (Annex B).
        tag
            Any 64-bit integer: comes back with the picture whose first slice is in ``data``.

        Raises
        ------
        InputError
            The stream is damaged, cut off, or uses what is not supported.
        """
        offset = ctypes.c_size_t(0)
        while self._check(
            self._library.idse_h264_read(
                self._handle, data, len(data), length_size, tag, ctypes.byref(offset)
            )
        ):
            yield self._fetch()

    def flush(self) -> Iterator[ParsedPicture]:
        """End the stream and yield its last picture, where there is one.

        Raises
        ------
        InputError
            The last picture is incomplete.
        """
        if self._check(self._library.idse_h264_flush(self._handle)):
            yield self._fetch()

    def _check(self, status: int) -> bool:
        """Return whether a picture is ready; raise where ``status`` is an error."""
        if status in (_native.DONE, _native.PICTURE):
            return status == _native.PICTURE
        problem = self._library.idse_h264_problem(self._handle).decode()
        if status == _native.UNSUPPORTED:
            raise InputError(f"this H.264 stream cannot be read: {problem}")
        macroblock = self._library.idse_h264_problem_macroblock(self._handle)
        place = f", macroblock {macroblock}" if macroblock >= 0 else ""
        raise InputError(
            f"the H.264 stream is damaged or cut off at coded picture {self._pictures}{place}: "
            f"{problem}"
        )

    def _fetch(self) -> ParsedPicture:
        picture = _native.Picture()
        self._library.idse_h264_fetch(self._handle, ctypes.byref(picture))
        self._pictures += 1
        shape = (picture.mb_height, picture.mb_width)
        flags = np.ctypeslib.as_array(picture.flags, shape)
        types = picture.slice_types
        frame = FrameMacroblocks(
            pts=None,
            pict_type="B" if types & _native.SLICE_B else "P" if types & _native.SLICE_P else "I",
            structure=_STRUCTURES[picture.structure],
            bit_depth=picture.bit_depth,
            qp=np.ctypeslib.as_array(picture.qp, shape).copy(),
            coded=(flags & _native.CODED) != 0,
            skipped=(flags & _native.SKIPPED) != 0,
            intra=(flags & _native.INTRA) != 0,
            bits=np.ctypeslib.as_array(picture.bits, shape).copy(),
        )
        return ParsedPicture(picture.tag, picture.order, frame)
