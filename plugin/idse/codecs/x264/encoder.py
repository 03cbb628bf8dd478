"""The encoder: pictures and QP offsets in, H.264 packets out."""

from __future__ import annotations

import ctypes
import logging
import threading
import weakref
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Self

from idse.codecs.x264 import _param_raw, _raw, steering, stream
from idse.codecs.x264.distortion import Distortion, hand_in
from idse.codecs.x264.inputs import checked_offsets, checked_planes, pad_plane, picture_of
from idse.codecs.x264.library import X264Library, load_library
from idse.codecs.x264.log import LogSink
from idse.codecs.x264.params import (
    Parameters,
    Params,
    Settings,
    build_params,
    check_choice,
    effective,
)
from idse.codecs.x264.stream import Headers, Packet
from idse.errors import CodecError, InputError
from idse.picture import PictureFormat, Plane, macroblocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

logger = logging.getLogger(__name__)

_TYPE_NAMES = {number: name for name, number in _raw.PICTURE_TYPES.items()}


class Encoder:
    """One libx264 encoder. Use it as a context manager, or call ``close``.

    Defaults and order of settings are those of FFmpeg's libx264 wrapper: the same options on the
    same build give the same bitstream as ``ffmpeg -c:v libx264``. One thread at a time may use an
    encoder; any number of encoders run side by side.

    Parameters
    ----------
    width, height
        Luma samples of the pictures handed in, any positive size. Where H.264 cannot carry it (odd
        sizes in 4:2:0, for instance), the last column and row are repeated up to the next size that
        it can: ``coded_width`` and ``coded_height``.
    pix_fmt
        One of ``idse.picture.PIX_FMTS``.
    fps
        Nominal frame rate, which scales rate control.
    time_base
        Seconds per unit of pts; None is ``1 / fps``. Durations that rate control uses come from the
        pts, so variable frame rate needs nothing else.
    preset, tune, profile
        x264's. A profile restricts options, also explicit ones.
    options
        Any x264 option by name, applied in this order: ``{"crf": "23", "bframes": "2"}``.
        ``bitrate`` in kbit/s asks for ABR; ``pass`` 1 and 2 with ``stats`` for two passes (flush
        and close the first encoder before opening the second; ``slow-firstpass`` keeps a first pass
        from using fast settings); ``vbv-maxrate`` and ``vbv-bufsize`` constrain any of them;
        ``tff`` or ``bff`` codes interlaced.
    matrices
        Quantisation matrices as x264's options ``cqm...``. They are left out where ``options``
        choose some, and where they would change what plays the stream: it must be of a High profile
        anyway. ``parameters.matrices`` tells whether they are in use.
    steer
        QP offsets are going to be given: settings in which x264 would drop them silently are set
        right where that changes nothing else, and refused where it would (see ``steering``).
        A stream without any offset is the same either way.
    global_headers
        True: SPS and PPS are in ``headers`` and ``extradata`` only, packets are length-prefixed
        (mp4, mkv). False: Annex B with headers repeated before each keyframe.
    library
        None takes ``load_library()``.

    Attributes
    ----------
    headers
        SPS, PPS and x264's message; ``extradata`` has the first two as an "avcC" record.
    parameters
        The settings in effect, after x264's own corrections.
    format
        Size and pixel format of the pictures that ``encode`` takes.
    coded_width, coded_height
        Size of the pictures that a decoder gives out.
    library, global_headers
        As given.

    Raises
    ------
    InputError
        A setting is unknown, unreadable, contradicts another, or would drop offsets.
    CodecError
        x264 refuses the combination; its message is quoted.
    LibraryLoadError
        No libx264 was found.
    """

    def __init__(
        self,
        *,
        width: int,
        height: int,
        pix_fmt: str = "yuv420p",
        fps: Fraction,
        time_base: Fraction | None = None,
        preset: str = "medium",
        tune: str | None = None,
        profile: str | None = None,
        options: Mapping[str, str] | None = None,
        matrices: Mapping[str, str] | None = None,
        steer: bool = False,
        global_headers: bool = True,
        library: X264Library | None = None,
    ) -> None:
        self.library = library if library is not None else load_library()
        settings = Settings(
            width=width,
            height=height,
            pix_fmt=pix_fmt,
            fps=fps,
            time_base=1 / Fraction(fps) if time_base is None and fps else Fraction(time_base or 0),
            preset=preset,
            tune=tune,
            profile=profile,
            options=dict(options or {}),
            matrices=dict(matrices or {}),
            repeat_headers=not global_headers,
        )
        self.global_headers = global_headers
        self._sink = LogSink()
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._last_pts: int | None = None
        self._taken = 0  # pictures: x264 numbers them in the order in which it gets them
        self._flushing = False
        self._first_packet = True
        params = build_params(self.library, settings)
        self.format = PictureFormat(width=width, height=height, pix_fmt=pix_fmt)
        self.coded_width: int = params.struct.i_width
        self.coded_height: int = params.struct.i_height
        coded_size = f"{self.coded_width}x{self.coded_height}"
        if coded_size != f"{width}x{height}":
            message = "H.264 cannot carry %s of %dx%d: coded as %s, edges repeated"
            logger.info(message, pix_fmt, width, height, coded_size)
        picture = PictureFormat(width=self.coded_width, height=self.coded_height, pix_fmt=pix_fmt)
        self._coded_shapes = picture.plane_shapes
        self._csp = params.struct.i_csp | (_raw.CSP_HIGH_DEPTH if picture.bit_depth > 8 else 0)
        self._open(params)
        if steer and steering.drops_offsets(self.parameters):
            self._open_steerable(params)

    # -- opening and closing

    def _open(self, params: Params) -> None:
        """Open the handle and read back what x264 made of the parameters."""
        struct, functions = params.struct, self.library.functions
        struct.pf_log, struct.i_log_level = self._sink.function, self._sink.level
        handle = self.library.open_function(struct)
        if handle:
            self._handle = handle
            self._finalizer = weakref.finalize(self, _close, functions, handle, self._sink)
        self._sink.raise_failure(failed=not handle)
        if not handle:
            raise CodecError(
                f"x264 {self.library.version} does not open an encoder for {self.format.pix_fmt} "
                f"{self.coded_width}x{self.coded_height}: {self._sink.take_errors()}"
            )
        nals, count = ctypes.POINTER(_raw.Nal)(), ctypes.c_int()
        size = functions.x264_encoder_headers(handle, nals, count)
        if size < 0:
            raise CodecError(f"x264 writes no headers: {self._sink.take_errors()}")
        self.headers: Headers = stream.headers_from(stream.nal_units(nals, count.value, size))
        taken = _param_raw.Param()
        functions.x264_encoder_parameters(handle, taken)
        self._interlaced = bool(taken.b_interlaced or taken.b_fake_interlaced)
        self.parameters: Parameters = effective(taken, self.headers.options)

    def _open_steerable(self, params: Params) -> None:
        """Open again with parameters that keep offsets; the stream states those asked for."""
        asked, message = self.parameters, self.headers.sei
        self.close()
        steering.set_right(params.struct, asked)
        self._open(params)
        if steering.drops_offsets(self.parameters):
            self.close()
            raise InputError("x264 drops QP offsets with these options: encode unsteered")
        # Nothing but offsets can tell the two apart, and a stream that gets none must be the one
        # that stock x264 writes, its message included.
        self.headers = Headers(self.headers.sps, self.headers.pps, message)
        logger.info(
            "adaptive quantisation is off (aq-mode=0 or aq-strength=0, mbtree=0), in which x264 "
            "drops QP offsets: opened with aq-mode=1:aq-strength=%g, which adds nothing of its own",
            steering.TINY_STRENGTH,
        )

    def close(self) -> None:
        """Free the encoder; delayed pictures are lost. A flushed first pass gets its statistics."""
        if self._handle is None:
            return
        with self._exclusive():
            self._handle = None
            self._finalizer()
        self._sink.raise_failure()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- facts

    @property
    def extradata(self) -> bytes:
        """The AVC decoder configuration record for mp4 and mkv."""
        return self.headers.extradata(self.format)

    @property
    def mb_shape(self) -> tuple[int, int]:
        """Macroblock rows and columns: the shape of offsets.

        Interlaced streams have their rows rounded up to 32 lines; the rows of macroblocks are those
        of pairs, in which x264 alternates between top and bottom field.
        """
        rows = macroblocks(self.coded_height)
        return rows + (rows & 1 if self._interlaced else 0), macroblocks(self.coded_width)

    @property
    def delayed(self) -> int:
        """Pictures that were handed in and have not come out."""
        return int(self.library.functions.x264_encoder_delayed_frames(self._open_handle()))

    # -- encoding

    def encode(
        self,
        planes: Sequence[Plane],
        *,
        pts: int,
        offsets: npt.NDArray[np.float32] | None = None,
        weights: Distortion | npt.NDArray[np.float32] | None = None,
        frame_type: str = "auto",
    ) -> list[Packet]:
        """Hand in one picture; return the packets that came out, in decoding order.

        Parameters
        ----------
        planes
            Y, Cb, Cr as ``idse.picture.Picture`` has them: uint8 or uint16 (10 bit, values below
            1024). Rows may be strided, samples within a row must follow each other. They are read
            in place and not kept.
        pts
            Presentation time in units of the time base, larger than every one before.
        offsets
            ``(mb_rows, mb_cols)`` float32: added to each macroblock's QP before it is rounded.
            Finite, within +-128. Not kept. None, or zeros everywhere, leaves x264 to itself: the
            stream is byte-identical to one without steering.
        weights
            ``(4 mb_rows, 4 mb_columns)`` float32 per 4x4 luma block, or a ``Distortion``: what
            errors cost where x264 decides by rate and distortion. Needs ``library.weighted``. Not
            kept. None is stock's squared error, and so, byte for byte, are ones everywhere.
        frame_type
            ``"auto"``, ``"idr"``, ``"i"``, ``"p"``, ``"b"``, ``"bref"``, or ``"keyframe"`` (an IDR
            picture, or with open GOPs a recovery point). x264 corrects what cannot be, with a
            warning.

        Raises
        ------
        InputError
            Planes, pts, offsets, weights or frame type are not as described, or offsets or weights
            were given to an encoder that drops them.
        CodecError
            x264 failed, or the encoder is closed, flushed, or in use by another thread.
        """
        if self._flushing:
            raise CodecError("the encoder was flushed: it takes no more pictures")
        check_choice("frame type", frame_type, _raw.PICTURE_TYPES, [frame_type])
        pts = self._checked_pts(pts)
        coded = [
            pad_plane(plane, shape, interlaced=self._interlaced)
            for plane, shape in zip(
                checked_planes(planes, self.format), self._coded_shapes, strict=True
            )
        ]
        picture = picture_of(self.library, self._csp, coded)
        picture.i_type, picture.i_pts = _raw.PICTURE_TYPES[frame_type], pts
        if offsets is not None:
            offsets = checked_offsets(offsets, self.mb_shape)
        if offsets is not None:
            if steering.drops_offsets(self.parameters):
                raise InputError("x264 drops QP offsets with these options: open with steer=True")
            picture.prop.quant_offsets = offsets.ctypes.data
        if weights is not None:
            with self._exclusive():
                hand_in(self.library, self._open_handle(), self._taken, weights, self.mb_shape)
        # ``coded`` and ``offsets`` live until x264 has read them, which is before it returns.
        packets = self._encode(picture)
        self._last_pts, self._taken = pts, self._taken + 1
        return packets

    def flush(self) -> Iterator[Packet]:
        """Return the packets of all delayed pictures; the encoder takes no more pictures.

        Raises
        ------
        CodecError
            As for ``encode``.
        """
        self._open_handle()
        self._flushing = True
        while self.delayed:
            yield from self._encode(None)

    def _checked_pts(self, pts: int) -> int:
        pts = int(pts)  # ctypes takes no numpy integers
        if self._last_pts is not None and pts <= self._last_pts:
            raise InputError(f"pts {pts} does not follow {self._last_pts}: pts must increase")
        if not -(2**62) < pts < 2**62:
            raise InputError(f"pts {pts} is out of range")
        return pts

    def _encode(self, picture: _raw.Picture | None) -> list[Packet]:
        nals, count = ctypes.POINTER(_raw.Nal)(), ctypes.c_int()
        out = _raw.Picture()
        functions = self.library.functions
        with self._exclusive():
            size = functions.x264_encoder_encode(self._open_handle(), nals, count, picture, out)
            units = stream.nal_units(nals, count.value, size) if size > 0 else []
        self._sink.raise_failure(failed=size < 0)
        if size < 0:
            raise CodecError(f"x264 failed to encode a picture: {self._sink.take_errors()}")
        if not units:
            return []
        return [
            Packet(
                data=self._access_unit(units),
                pts=out.i_pts,
                dts=out.i_dts,
                keyframe=bool(out.b_keyframe),
                frame_type=_TYPE_NAMES[out.i_type],
            )
        ]

    def _access_unit(self, units: list[stream.NalUnit]) -> bytes:
        """Return the bytes of a packet, x264's message included in the first one."""
        message = stream.NalUnit(_raw.NAL_SEI, self.headers.sei)
        if not self.global_headers:
            return stream.with_start_codes(
                [message if unit.is_version_message else unit for unit in units]
            )
        if self._first_packet and message.body:
            units = [message, *units]
        self._first_packet = False
        return stream.with_lengths(units)

    # -- the handle

    def _open_handle(self) -> int:
        if self._handle is None:
            raise CodecError("the encoder is closed")
        return self._handle

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the encoder for one call; x264 does not say when two threads corrupt it."""
        if not self._lock.acquire(blocking=False):
            raise CodecError("the encoder is in use by another thread")
        try:
            yield
        finally:
            self._lock.release()


def _close(functions: ctypes.CDLL, handle: int, sink: LogSink) -> None:  # noqa: ARG001
    """Close a handle. ``sink`` is held because x264 logs until it has closed."""
    functions.x264_encoder_close(handle)
