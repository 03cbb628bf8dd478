"""A still picture as one intra frame of H.264, no larger than asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np

from idse.errors import CodecError, TargetError, describe
from idse.picture import PictureFormat
from idse.pipeline.frames import resized, rgb, unspecified_matrix
from idse.pipeline.options import EncodeOptions
from idse.pipeline.stills import encode_stills

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.picture import Picture

    Pixels = npt.NDArray[np.uint8]

SUFFIX = ".h264"
# x264 tells its settings in 600 bytes of supplemental information, which nobody decodes by.
_START_CODE, _SEI = b"\0\0\1", 6
_OPTIONS = EncodeOptions(preset="slower", options={"ipratio": "1"})
# CRFs are tried in steps of 51 / 2^9.
_COARSEST, _ROUNDS = 51.0, 9


def encode_intra(pixels: Pixels, limit: int) -> bytes:
    """Return an Annex B stream of one IDR frame, 4:2:0, the largest found within a limit.

    Parameters
    ----------
    pixels
        uint8 ``(height, width, 3)`` R'G'B'.
    limit
        Bytes of the stream.

    Raises
    ------
    TargetError
        Even at QP 51 it is larger.
    CodecError
        x264 failed.
    """
    picture = _picture(pixels)
    low, high = 0.0, _COARSEST
    best = _encode(picture, high)
    if len(best) > limit:
        raise TargetError(
            f"{limit} bytes are out of reach for H.264: at QP 51 this picture has {len(best)}"
        )
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        found = _encode(picture, middle)
        if len(found) <= limit:
            high = middle
            best = max(best, found, key=len)
        else:
            low = middle
    return best


def _picture(pixels: Pixels) -> Picture:
    rows, columns, _ = pixels.shape
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
    # Players read what is not tagged just so.
    form = PictureFormat(
        width=columns, height=rows, pix_fmt="yuv420p", matrix=unspecified_matrix(rows)
    )
    return resized(frame, form, 0)[1]


def _encode(picture: Picture, crf: float) -> bytes:
    (stream,) = encode_stills([picture], _OPTIONS, crf=crf)
    units = stream.split(_START_CODE)[1:]
    kept = [unit.rstrip(b"\0") for unit in units if unit[0] & 31 != _SEI]
    return b"".join(_START_CODE + unit for unit in kept)


def decode_intra(data: bytes, height: int, width: int) -> Pixels:
    """Return the picture of a stream as FFmpeg decodes it, uint8 ``(height, width, 3)`` R'G'B'.

    Raises
    ------
    CodecError
        It does not decode.
    """
    context = av.CodecContext.create("h264", "r")
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except av.FFmpegError as error:
        raise CodecError(f"an H.264 picture does not decode: {describe(error)}") from error
    if len(frames) != 1:
        raise CodecError(f"an H.264 picture decodes to {len(frames)} frames")
    return rgb(frames[0])[:height, :width]
