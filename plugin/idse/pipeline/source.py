"""Reading a source: demuxing, decoding, and telling what cannot be transcoded and why."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import av
from av.codec.context import ThreadType
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition

from idse.errors import InputError
from idse.pipeline.frames import picture
from idse.pipeline.timing import FrameTime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from idse.picture import Picture, PictureFormat
    from idse.pipeline.report import Warnings

STANDARD_INPUT = "-"
# Seconds that a network source may be silent before it counts as gone.
_NETWORK_TIMEOUT = 30.0
# Protocols in which a sender may go away without saying so: silence is how their streams end.
_LIVE = ("udp://", "rtp://", "rtsp://", "rtsps://", "srt://")
_DEFAULT_RATE = Fraction(25)  # of sources that state none, as FFmpeg assumes
_NO_MEDIA = {"tty"}  # FFmpeg draws any text as a video
# A declared duration that is off by more than this was not rounding.
_MISSING_SECONDS = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """One picture of the source.

    Attributes
    ----------
    frame
        As decoded.
    picture
        Its planes, as x264 takes them.
    time
        When it is shown; strictly increasing, also where the source's timestamps are not.
    """

    frame: VideoFrame
    picture: Picture
    time: FrameTime

    @property
    def size(self) -> int:
        """Bytes that its planes hold."""
        return sum(plane.nbytes for plane in self.picture.planes)


Item: TypeAlias = "DecodedFrame | av.Packet[Any]"


class Source:
    """An opened file, pipe or network stream with a video stream that can be decoded.

    Parameters
    ----------
    url
        Path, ``"-"`` for standard input, or any URL that FFmpeg reads (rtsp, udp, http...).
    warnings
        Where damage that does not end the run is told.

    Raises
    ------
    InputError
        It cannot be opened, is no media file, or has no video.
    """

    def __init__(self, url: str, *, warnings: Warnings) -> None:
        self.url = url
        self._warnings = warnings
        self._form: PictureFormat | None = None
        network = "://" in url
        options = {"rtsp_flags": "prefer_tcp"} if url.startswith("rtsp") else {}
        name = "pipe:0" if url == STANDARD_INPUT else url if network else f"file:{url}"
        try:
            self.container = av.open(
                name,
                container_options=options,
                metadata_errors="replace",
                timeout=_NETWORK_TIMEOUT if network else None,
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"cannot open {self.label}: {_reason(error)}") from error
        try:
            if self.container.format.name in _NO_MEDIA:
                raise InputError(f"{self.label} is no media file, but text")
            self.video = self._choose_video()
            self.copied: tuple[Stream, ...] = tuple(
                stream for stream in self.container.streams if stream is not self.video
            )
            self.video.thread_type = ThreadType.AUTO
        except BaseException:
            self.container.close()
            raise

    @property
    def label(self) -> str:
        """What to call the source in messages."""
        return "standard input" if self.url == STANDARD_INPUT else self.url

    @property
    def rate(self) -> Fraction:
        """Frames per second, guessed where the source does not say."""
        return self.video.guessed_rate or self.video.average_rate or _DEFAULT_RATE

    @property
    def constant_rate(self) -> bool:
        """Whether the container describes its frames as evenly spaced."""
        return self.video.average_rate == self.video.base_rate == self.rate

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of the video stream's timestamps."""
        return self.video.time_base or 1 / self.rate

    @property
    def duration(self) -> float | None:
        """Seconds from the first to the end of the last frame, where the source says."""
        if self.video.duration is not None:
            return float(self.video.duration * self.time_base)
        if self.container.duration is not None and self.container.duration > 0:
            return float(self.container.duration / av.time_base)
        return None

    def _choose_video(self) -> VideoStream:
        streams = [
            stream
            for stream in self.container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        if not streams:
            kinds = sorted({str(stream.type) for stream in self.container.streams})
            found = f"only {', '.join(kinds)}" if kinds else "nor any other"
            raise InputError(f"{self.label} has no video stream, {found}")
        video = self.container.streams.best("video")
        chosen = next((stream for stream in streams if stream is video), streams[0])
        if chosen.codec_context is None:
            raise InputError(
                f"the video of {self.label} is coded in a way that no decoder here reads"
            )
        return chosen

    def items(self) -> Iterator[Item]:
        """Decode everything: frames of the video, packets of the other streams, as they come.

        Raises
        ------
        InputError
            The source is damaged beyond what a decoder conceals, ends early, or has no frame.
        """
        clock = _Clock(self.time_base, self.rate, self._warnings)
        count = 0
        for packet in self._packets():
            if packet.stream is not self.video:
                if packet.size:
                    yield packet
                continue
            for frame in self._decode(packet):
                time = clock.take(frame)
                if frame.is_corrupt:
                    self._warnings.add(
                        "damage",
                        f"{self.label}: frame {count} is damaged; the decoder filled in what it "
                        "could, there and perhaps in later frames",
                    )
                yield DecodedFrame(frame, self._picture(frame, count), time)
                count += 1
        if count == 0:
            raise InputError(f"{self.label} has a video stream, but no frame of it can be decoded")
        self._check_end(clock)

    def _packets(self) -> Iterator[av.Packet[Any]]:
        try:
            for packet in self.container.demux():
                if packet.is_corrupt and self._is_indexed:
                    raise InputError(f"{self.label} is truncated: its index points past its end")
                yield packet
        except (av.FFmpegError, OSError) as error:
            if not (isinstance(error, av.ExitError) and self.url.startswith(_LIVE)):
                raise InputError(f"{self.label} {self._damage}: {_reason(error)}") from error
            self._warnings.add("silence", f"{self.label}: {_reason(error)}, taken for its end")
            flush: av.Packet[Any] = av.Packet()
            flush.stream = self.video
            yield flush

    @property
    def _damage(self) -> str:
        """What to say of a source that cannot be read to its end."""
        if not self._is_indexed:
            return "cannot be read on"
        if self.url == STANDARD_INPUT:
            return "is truncated, damaged, or has its index last (then give the file, not a pipe)"
        return "is truncated or damaged"

    @property
    def _is_indexed(self) -> bool:
        """Whether the container says up front where every packet lies (mp4 and its kin)."""
        return "mp4" in self.container.format.name

    def _decode(self, packet: av.Packet[Any]) -> list[VideoFrame]:
        try:
            return self.video.decode(packet)
        except EOFError:  # a second flush, after a stream that ended by itself
            return []
        except av.FFmpegError as error:
            self._warnings.add(
                "decode",
                f"{self.label}: a packet near {_seconds(packet)} cannot be decoded "
                f"({_reason(error)}); its frames are missing",
            )
            return []

    def _picture(self, frame: VideoFrame, index: int) -> Picture:
        """Return a frame's planes, scaled where the size changes in mid-stream."""
        shown = picture(frame, index)
        form = shown.format
        if self._form is None:
            self._form = form
        like = self._form
        if (form.width, form.height, form.pix_fmt) == (like.width, like.height, like.pix_fmt):
            return shown
        self._warnings.add(
            "size",
            f"{self.label}: frame {index} is {form.width}x{form.height} {form.pix_fmt}, the first "
            f"was {like.width}x{like.height} {like.pix_fmt}: converted to that",
        )
        scaled = frame.reformat(like.width, like.height, like.pix_fmt, threads=1)
        return picture(scaled, index)

    def _check_end(self, clock: _Clock) -> None:
        """Warn where the source ended before its header said."""
        declared = self.duration
        if declared is None or clock.elapsed is None:
            return
        if declared - clock.elapsed > max(_MISSING_SECONDS, 2 / float(self.rate)):
            self._warnings.add(
                "early end",
                f"{self.label} ends after {clock.elapsed:.2f} s of the {declared:.2f} s that its "
                "header states",
            )

    def close(self) -> None:
        """Close the source. No other thread may be reading from it."""
        self.container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Clock:
    """Gives every frame a time: its own where it has one that follows the previous frame's."""

    def __init__(self, time_base: Fraction, rate: Fraction, warnings: Warnings) -> None:
        self._tick = max(1, round(1 / (rate * time_base)))
        self._time_base = time_base
        self._warnings = warnings
        self._first: int | None = None
        self._end = 0  # of the last frame
        self._last = 0
        self._shift = 0

    @property
    def elapsed(self) -> float | None:
        """Seconds from the start of the first frame to the end of the last."""
        return None if self._first is None else float((self._end - self._first) * self._time_base)

    def take(self, frame: VideoFrame) -> FrameTime:
        duration = frame.duration or self._tick
        pts = frame.pts if frame.pts is not None else frame.dts
        if pts is None:
            pts = self._end - self._shift
        pts += self._shift
        if self._first is not None and pts <= self._last:
            self._warnings.add(
                "timestamps",
                f"timestamps of the video jump back from {float(self._last * self._time_base):.3f}"
                f" s to {float(pts * self._time_base):.3f} s: shifted to follow each other",
            )
            self._shift += self._end - pts
            pts = self._end
        if self._first is None:
            self._first = pts
        self._last, self._end = pts, pts + duration
        return FrameTime(pts=pts, duration=duration)


def can_read_again(url: str) -> bool:
    """Tell whether a source, opened a second time, starts where it did the first time."""
    path = Path(url)
    return not (
        url == STANDARD_INPUT or url.startswith(_LIVE) or path.is_fifo() or path.is_char_device()
    )


def side_data(frame: VideoFrame) -> dict[str, Any]:
    """Return what a frame carries beside its planes, by the name of its AV_FRAME_DATA type.

    ``frame.side_data`` would make a reference cycle, which keeps the frame's megabytes until the
    garbage collector comes by.
    """
    container = SideDataContainer(frame)  # type: ignore[call-arg]  # missing in PyAV's stubs
    return {item.type.name: item for item in container}


def _reason(error: BaseException) -> str:
    if isinstance(error, av.ExitError):  # PyAV's timeout
        return f"nothing came for {_NETWORK_TIMEOUT:g} s"
    if isinstance(error, av.FFmpegError):
        return str(error.strerror)
    return getattr(error, "strerror", None) or str(error)


def _seconds(packet: av.Packet[Any]) -> str:
    at = packet.pts if packet.pts is not None else packet.dts
    return "its end" if at is None else f"{float(at * packet.time_base):.2f} s"
