"""An encoder to be used explicitly: idse's own, with PyAV's frames and packets."""

from __future__ import annotations

import io
from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import av
import numpy as np

from idse.codecs import x264
from idse.codecs.x264.stream import START_CODE, annex_b
from idse.errors import IdseError, InputError, LibraryLoadError, describe
from idse.picture import Picture
from idse.pipeline.frames import picture
from idse.server.client import FrameSession
from idse_pyav._asked import asked
from idse_pyav._control import fail, socket_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt
    from av.container import OutputContainer
    from av.video.stream import VideoStream

    from idse.picture import PictureFormat
    from idse.server.client import Answer

    Offsets = npt.NDArray[np.float32]

# The first PyAV that tells how samples are to be read, and mixes its streams with those of others.
_FIRST_MAJOR = 17

# x264's options that are none of its parameters.
_OWN_OPTIONS = ("preset", "tune", "profile")
_FILE_HEAD = 24
_GLOBAL_HEADER = 0x40  # AVFMT_GLOBALHEADER


class Encoder:
    """Encode frames by idse's own libx264 encoder, steered; PyAV's is not touched.

    Use it as a stream of PyAV is used: ``container.mux(encoder.encode(frame))``, at the end
    ``container.mux(encoder.encode(None))``. Close it, or use it as a context manager.

    Parameters
    ----------
    container
        Opened for writing; gets a stream.
    rate
        Pictures per second.
    width, height, pix_fmt
        Of the video. Frames are converted where they differ.
    time_base
        Seconds per unit of the packets' pts; None is ``1 / rate``.
    options
        x264's, as for `idse.codecs.x264.Encoder`, and ``preset``, ``tune``, ``profile``.
    model, server, offsets, steering, live, strict
        As for `idse_pyav.install`.

    Attributes
    ----------
    stream
        Of the container.
    frames, steered
        Pictures that were encoded, and those of them that got offsets.

    Raises
    ------
    InputError
        An option cannot be; a frame cannot be read.
    CodecError
        x264 fails; where strict, something cannot be steered.
    LibraryLoadError
        PyAV is older than version 17.
    """

    def __init__(
        self,
        container: OutputContainer,
        *,
        rate: Fraction | int,
        width: int,
        height: int,
        pix_fmt: str = "yuv420p",
        time_base: Fraction | None = None,
        options: Mapping[str, str] | None = None,
        model: str | Sequence[str] | None = None,
        server: str | os.PathLike[str] | None = None,
        offsets: str | os.PathLike[str] | None = None,
        steering: str = "",
        live: bool = False,
        strict: bool = False,
    ) -> None:
        if int(av.__version__.partition(".")[0]) < _FIRST_MAJOR:
            raise LibraryLoadError(
                f"idse_pyav.Encoder needs PyAV {_FIRST_MAJOR} or later, this is {av.__version__}: "
                "use idse_pyav.steer"
            )
        self._wanted = asked(
            model=model, server=server, offsets=offsets, steering=steering, live=live, strict=strict
        )
        self._rate = Fraction(rate)
        self._time_base = 1 / self._rate if time_base is None else time_base
        self._settings: dict[str, Any] = {
            "width": width,
            "height": height,
            "pix_fmt": pix_fmt,
            "fps": self._rate,
            "time_base": self._time_base,
            "global_headers": bool(container.format.flags & _GLOBAL_HEADER),
        }
        given = dict(options or {})
        self._settings |= {name: given.pop(name) for name in _OWN_OPTIONS if name in given}
        self._settings["options"] = given
        self._held: deque[tuple[Picture, int]] = deque()
        self._seen = self.frames = self.steered = 0
        self._session: FrameSession | None = None
        self._encoder = self._open()
        self.stream = self._add_stream(container)

    def encode(self, frame: av.VideoFrame | None = None) -> list[av.Packet[VideoStream]]:
        """Hand in the next frame, or None after the last one; return the packets that came out.

        Raises
        ------
        InputError
            The frame cannot be read, or is shown before the previous one.
        CodecError
            As for the class.
        """
        if frame is None:
            return self._flush()
        pts = self._seen
        if frame.pts is not None and frame.time_base:
            pts = round(frame.pts * frame.time_base / self._time_base)
        taken = self._picture(frame)
        self._held.append((taken, pts))
        self._seen += 1
        made = [packet for answer in self._show(taken, pts) for packet in self._submit(answer)]
        if self._session is None:
            made += self._submit_all()
        return self._packets(made)

    def close(self) -> None:
        """Free the encoder; pictures that were not flushed are lost."""
        if self._session is not None:
            self._session.close()
        self._encoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- opening

    def _open(self) -> x264.Encoder:
        self._steers = True
        try:
            return x264.Encoder(**self._settings, steer=True)
        except InputError as error:
            encoder = x264.Encoder(**self._settings)  # raises where it is not for the offsets
            self._steers = False
            self._fail(error)
            return encoder

    def _add_stream(self, container: OutputContainer) -> VideoStream:
        """Add a stream described by what FFmpeg itself reads from a first access unit.

        It is of another encoder, with a grey picture: other streams must be written before there
        is a picture of our own.
        """
        with x264.Encoder(**self._settings) as twin:
            kind = np.uint8 if twin.format.bit_depth == 8 else np.uint16
            middle = 1 << (twin.format.bit_depth - 1)
            grey = [np.full(shape, middle, kind) for shape in twin.format.plane_shapes]
            first = next(iter([*twin.encode(grey, pts=0), *twin.flush()]))
            units = (twin.headers.sps, twin.headers.pps)
            data = b"".join(START_CODE + unit for unit in units)
            data += annex_b(first.data) if twin.global_headers else first.data
        with av.open(io.BytesIO(data), format="h264") as parsed:
            stream = container.add_stream_from_template(parsed.streams.video[0], opaque=True)
        if self._encoder.global_headers:
            stream.codec_context.extradata = self._encoder.extradata
        stream.codec_context.framerate = self._rate
        stream.time_base = self._time_base
        return stream

    def _connect(self, form: PictureFormat) -> None:
        parameters = self._encoder.parameters
        try:
            self._session = FrameSession(
                form,
                fps=self._rate,
                time_base=self._time_base,
                crf=parameters.crf if parameters.rc_method == "crf" else None,
                interlaced=parameters.interlaced,
                arguments=self._wanted.all_words,
                path=socket_of(self._wanted),
                live=self._wanted.live,
                weights=self._encoder.library.weighted,
            )
        except (IdseError, OSError) as error:
            self._lose(error)

    # -- pictures

    def _picture(self, frame: av.VideoFrame) -> Picture:
        """Return a frame's samples, which stay as they are while they are held."""
        width, height, name = (self._settings[key] for key in ("width", "height", "pix_fmt"))
        if (frame.width, frame.height, frame.format.name) != (width, height, name):
            frame = frame.reformat(width=width, height=height, format=name)
        view = picture(frame, self._seen)
        luma, cb, cr = (plane.copy() for plane in view.planes)
        return Picture(planes=(luma, cb, cr), format=view.format, index=view.index)

    def _show(self, taken: Picture, pts: int) -> Iterator[Answer]:
        """Hand a picture to the sidecar; yield what it says meanwhile."""
        if taken.index == 0 and self._wanted.offsets is None and self._steers:
            # Now it is known how samples are to be read.
            self._connect(taken.format)
        if self._session is None:
            return
        try:
            self._session.push(taken.planes, pts=pts)
            while self._session.ready():
                yield self._session.take()
        except (IdseError, OSError) as error:
            self._lose(error)

    def _rest(self) -> Iterator[Answer]:
        """Yield what the sidecar says of pictures that are held."""
        if self._session is None:
            return
        try:
            yield from self._session.finish()
        except (IdseError, OSError) as error:
            self._lose(error)

    def _submit(self, answer: Answer | None) -> list[x264.Packet]:
        """Encode the picture that was held for longest."""
        taken, pts = self._held.popleft()
        offsets = weights = None
        if answer is not None:
            offsets, weights = answer.offsets, answer.weights
        elif self._wanted.offsets is not None and self._steers:
            offsets = self._read_offsets(self._wanted.offsets)
        made = self._encoder.encode(taken.planes, pts=pts, offsets=offsets, weights=weights)
        self.frames += 1
        self.steered += offsets is not None and bool(offsets.any())
        return made

    def _submit_all(self) -> list[x264.Packet]:
        made: list[x264.Packet] = []
        while self._held:
            made += self._submit(None)
        return made

    def _read_offsets(self, path: Path) -> Offsets | None:
        """Return the next picture's; None where the file ends before it."""
        rows, columns = self._encoder.mb_shape
        try:
            with path.open("rb") as file:
                head = file.read(_FILE_HEAD)
                if head[:8] != b"IDSEQPO1" or len(head) < _FILE_HEAD:
                    raise InputError(f"{path} is no file of QP offsets")
                facts = np.frombuffer(head[8:], "<u4")
                if (facts[0], facts[1]) != (columns, rows):
                    raise InputError(
                        f"{path} has {facts[0]}x{facts[1]} macroblocks, not {columns}x{rows}"
                    )
                size = 4 * rows * columns
                file.seek(_FILE_HEAD + size * self.frames)
                data = file.read(size) if self.frames < facts[2] else b""
        except (InputError, OSError) as error:
            self._steers = False
            self._fail(error)
            return None
        if len(data) < size:
            return None
        return np.frombuffer(data, "<f4").reshape(rows, columns).astype(np.float32)

    def _flush(self) -> list[av.Packet[VideoStream]]:
        made = [packet for answer in self._rest() for packet in self._submit(answer)]
        made += self._submit_all()
        return self._packets([*made, *self._encoder.flush()])

    def _packets(self, made: Iterable[x264.Packet]) -> list[av.Packet[VideoStream]]:
        duration = round(1 / self._rate / self._time_base)
        packets: list[av.Packet[VideoStream]] = []
        for item in made:
            packet: av.Packet[Any] = av.Packet(item.data)
            packet.stream = self.stream
            packet.time_base = self._time_base
            packet.pts, packet.dts, packet.duration = item.pts, item.dts, duration
            packet.is_keyframe = item.keyframe
            packets.append(packet)
        return packets

    # -- failing

    def _lose(self, error: Exception) -> None:
        """Go on without the sidecar."""
        if self._session is not None:
            self._session.close()
            self._session = None
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        fail(describe(error), strict=self._wanted.strict, error=error)
