"""PyAV frames as ``idse.picture`` pictures: the one place that decides how their samples are read.

FFmpeg's enumerations are those of ITU-T H.273; what a stream leaves unspecified is filled in as
players do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from idse.errors import InputError
from idse.picture import PIX_FMTS, Picture, PictureFormat

if TYPE_CHECKING:
    import av
    import numpy.typing as npt
    from av.video.plane import VideoPlane

    from idse.picture import Plane

# AVColorSpace (H.273 MatrixCoefficients) -> the matrix that reads it. FCC and SMPTE 240M differ
# from their neighbour by less than two 8-bit codes; constant-luminance BT.2020 is read as
# non-constant, as FFmpeg itself does.
_MATRICES = {
    1: "bt709",
    4: "bt601",
    5: "bt601",
    6: "bt601",
    7: "bt709",
    9: "bt2020nc",
    10: "bt2020nc",
}
_RGB, _UNSPECIFIED, _RESERVED = 0, 2, 3
_TRANSFERS = {16: "pq", 18: "hlg"}  # AVColorTransferCharacteristic; every other one is SDR
_LIMITED, _FULL = 1, 2  # AVColorRange
_HD_HEIGHT = 720  # unspecified matrices are BT.709 from here on, as in players

# Matrix -> libswscale's SWS_CS_* number.
_SWSCALE = {"bt709": 1, "bt601": 5, "bt2020nc": 9}


def picture_format(frame: av.VideoFrame) -> PictureFormat:
    """Describe the picture that `picture` returns for a frame.

    Parameters
    ----------
    frame
        Decoded frame in system memory, any pixel format that libswscale reads.

    Returns
    -------
    PictureFormat
        ``pix_fmt`` is the frame's own where it is planar Y'CbCr of 8 or 10 bit (``yuvj*`` is
        named ``yuv*`` with ``full_range``), else the nearest such format that keeps the chroma
        resolution, and the depth up to 10 bit. R'G'B' becomes limited-range 4:4:4.

    Raises
    ------
    InputError
        The frame lives on a device, or its matrix is none that can be read (YCgCo, ICtCp...).
    """
    name = _planar_name(frame)
    return PictureFormat(
        width=frame.width,
        height=frame.height,
        pix_fmt=name,
        matrix=_matrix(frame),
        full_range=_full_range(frame),
        transfer=transfer_of(frame.color_trc),
        rotation=round(frame.rotation / 90) * 90 % 360,
    )


def picture(frame: av.VideoFrame, index: int) -> Picture:
    """Return a frame's planes as a picture, without copying where the format allows.

    Parameters
    ----------
    frame
        Decoded frame.
    index
        Number of the frame in decoding output order, from 0.

    Returns
    -------
    Picture
        Its planes are views of the frame's buffers (which they keep alive), or of a converted
        copy where the frame is not planar Y'CbCr of 8 or 10 bit.

    Raises
    ------
    InputError
        As `picture_format`.
    """
    target = picture_format(frame)
    if frame.format.name.replace("yuvj", "yuv") != target.pix_fmt:
        frame = _convert(frame, target)
    return _views(frame, target, index)


def resized(frame: av.VideoFrame, form: PictureFormat, index: int) -> tuple[av.VideoFrame, Picture]:
    """Return a frame scaled to another size, and its planes as a picture.

    Bicubic, as ffmpeg scales: of libswscale's filters the one that leaves the outputs of a network
    nearest to what they were over all sizes; averaging areas blurs where the ratio is near 1.

    Parameters
    ----------
    frame
        Decoded frame, progressive.
    form
        How its pictures are read (`picture_format`), with the wanted size.
    index
        As for `picture`.
    """
    scaled = _convert(frame, form, interpolation="BICUBIC")
    return scaled, _views(scaled, form, index)


def _views(frame: av.VideoFrame, form: PictureFormat, index: int) -> Picture:
    y, cb, cr = (
        _view(plane, shape, form.bit_depth)
        for plane, shape in zip(frame.planes, form.plane_shapes, strict=True)
    )
    return Picture(planes=(y, cb, cr), format=form, index=index, pts=frame.pts)


def _planar_name(frame: av.VideoFrame) -> str:
    source = frame.format
    if not source.components:
        raise InputError(
            f"frames of format {source.name!r} live on a device: decode without hardware "
            "acceleration"
        )
    name = source.name.replace("yuvj", "yuv")
    if name in PIX_FMTS:
        return name
    depth = "p10le" if max(component.bits for component in source.components) > 8 else "p"
    if is_rgb(frame):
        return f"yuv444{depth}"
    if _is_grey(frame):
        return f"yuv420{depth}"
    # A 16x16 block has 16, 8 or 4 chroma columns and rows; keep at least that many.
    columns, rows = source.chroma_width(16), source.chroma_height(16)
    if columns > 8:
        return f"yuv444{depth}"
    return f"yuv422{depth}" if rows > 8 else f"yuv420{depth}"


def is_rgb(frame: av.VideoFrame) -> bool:
    """Tell whether a frame holds R'G'B' (or a palette of it), which `picture` converts."""
    return frame.format.is_rgb or frame.format.has_palette


def _is_grey(frame: av.VideoFrame) -> bool:
    return not is_rgb(frame) and len(frame.format.components) < 3


def _full_range(frame: av.VideoFrame) -> bool:
    if is_rgb(frame):
        return False
    if frame.color_range in (_LIMITED, _FULL) and not frame.format.name.startswith("yuvj"):
        return frame.color_range == _FULL
    # FFmpeg takes untagged grey for full range, untagged Y'CbCr for limited.
    return _is_grey(frame) or frame.format.name.startswith("yuvj")


def unspecified_matrix(height: int) -> str:
    """Return the matrix by which players read pictures of so many lines that state none."""
    return "bt601" if height < _HD_HEIGHT else "bt709"


def _matrix(frame: av.VideoFrame) -> str:
    return matrix_of(_UNSPECIFIED if is_rgb(frame) else frame.colorspace, frame.height)


def transfer_of(code: int) -> str:
    """Return `PictureFormat.transfer` of H.273's TransferCharacteristics."""
    return _TRANSFERS.get(code, "sdr")


def matrix_of(code: int, height: int) -> str:
    """Return `PictureFormat.matrix` of H.273's MatrixCoefficients in pictures of so many lines.

    Raises
    ------
    InputError
        It is none that can be read (R'G'B', YCgCo, ICtCp...).
    """
    if code in (_UNSPECIFIED, _RESERVED):
        return unspecified_matrix(height)
    if code not in _MATRICES:
        kind = "R'G'B' in a Y'CbCr format" if code == _RGB else f"H.273 code {code}"
        raise InputError(
            f"colour matrix {kind} of the input cannot be read: convert it to BT.709 first, e.g. "
            "ffmpeg -vf scale=out_color_matrix=bt709"
        )
    return _MATRICES[code]


def _convert(
    frame: av.VideoFrame, target: PictureFormat, *, interpolation: str | None = None
) -> av.VideoFrame:
    matrix = _SWSCALE[target.matrix]
    # libswscale reads grey as full range whatever its tag: full to full keeps the code values.
    colour_range = _FULL if target.full_range or _is_grey(frame) else _LIMITED
    if is_rgb(frame):
        return frame.reformat(
            width=target.width,
            height=target.height,
            format=target.pix_fmt,
            dst_colorspace=matrix,
            dst_color_range=colour_range,
            interpolation=interpolation,
            threads=1,
        )
    # With several threads libswscale races for the chroma of P010 where their slices meet, and now
    # and then leaves 8 samples there grey.
    return frame.reformat(
        width=target.width,
        height=target.height,
        format=target.pix_fmt,
        interpolation=interpolation,
        threads=1,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=colour_range,
        dst_color_range=colour_range,
    )


def _view(plane: VideoPlane, shape: tuple[int, int], depth: int) -> Plane:
    rows, columns = shape
    pitch = abs(plane.line_size)
    data = memoryview(plane)
    lines = np.frombuffer(data, np.uint8)[: rows * pitch].reshape(rows, pitch)
    if plane.line_size < 0:  # stored bottom-up
        lines = np.ascontiguousarray(lines[::-1])
    samples: Plane = lines if depth == 8 else lines.view("<u2")
    return samples[:, :columns]


def rgb(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    """Return a frame as 8-bit R'G'B' ``(height, width, 3)`` to look at, read as `picture` reads it.

    It is neither rotated nor, if HDR, tone-mapped.

    Raises
    ------
    InputError
        As `picture_format`.
    """
    source = picture_format(frame)
    if not is_rgb(frame):
        frame = frame.reformat(
            format="rgb24",
            src_colorspace=_SWSCALE[source.matrix],
            src_color_range=_FULL if source.full_range else _LIMITED,
        )
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
