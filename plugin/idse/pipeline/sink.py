"""Writing a result: H.264 and copies of the other streams, whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.stream import Disposition

from idse.codecs.x264.stream import START_CODE, annex_b
from idse.errors import InputError, OutputError
from idse.files import part_of
from idse.pipeline.containers import STANDARD_OUTPUT, OutputFormat, add_copy, codec_name, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from fractions import Fraction

    from av.container import OutputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

    from idse.codecs.x264 import Encoder, Packet
    from idse.pipeline.report import Warnings
    from idse.pipeline.source import Source
    from idse.pipeline.timing import FrameTime

# Facts about the source's file or encode that are wrong in a result.
_STALE_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "bps")
_STALE_PREFIXES = ("_statistics", "number_of_", "duration-", "bps-")


class Sink:
    """An output that is being written beside its final name.

    Parameters
    ----------
    target
        Path, or ``"-"`` for standard output.
    form
        Its container.
    overwrite
        Whether a file of that name may be replaced.
    warnings
        Where streams that cannot be carried over are told.

    Raises
    ------
    InputError
        The output exists and may not be replaced.
    OutputError
        Nothing can be written there.
    """

    def __init__(
        self, target: str, form: OutputFormat, *, overwrite: bool, warnings: Warnings
    ) -> None:
        self.target = target
        self.form = form
        self._warnings = warnings
        self._container: OutputContainer | None = None
        self._video: VideoStream | None = None
        self._time_base: Fraction | None = None
        self._copies: dict[int, Stream] = {}
        self._pending: list[av.Packet[Any]] = []
        self._pipe: _RawFile | None = None
        self._segments: list[_RawFile] = []
        self._path = None if target == STANDARD_OUTPUT else Path(os.path.realpath(target))
        self._in_place = self._path is None or (
            self._path.exists() and not self._path.is_file() and not self._path.is_dir()
        )
        if self._path is not None and not self._in_place:
            self._part = part_of(self._path)
            self._probe(overwrite=overwrite)

    def _probe(self, *, overwrite: bool) -> None:
        """Create the partial file (HLS: folder), so that a bad place is told before any work."""
        assert self._path is not None
        if self._path.is_dir():
            raise OutputError(f"cannot write {self.target}: it is a folder")
        if self._path.exists() and not overwrite:
            raise InputError(f"{self.target} exists: give --overwrite to replace it")
        with self._writing():
            if self.form.name == "hls":
                segment = re.compile(re.escape(self._path.stem) + r"\d+\.ts")
                for item in self._path.parent.iterdir():
                    if segment.fullmatch(item.name) and not overwrite:
                        raise InputError(
                            f"a segment {item.name} of {self.target} exists: give --overwrite to "
                            "replace it"
                        )
                self._part.mkdir()
            else:
                self._part.touch(exist_ok=False)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what goes wrong with the output into OutputError."""
        where = "standard output" if self._path is None else self.target
        try:
            yield
        except av.FFmpegError as error:
            raise OutputError(f"cannot write {where}: {error.strerror}") from error
        except OSError as error:
            raise OutputError(f"cannot write {where}: {error.strerror or error}") from error

    def start(
        self,
        source: Source,
        encoder: Encoder,
        first: Packet,
        *,
        matrix: Sequence[int] | None,
    ) -> None:
        """Write the header: once the first access unit tells what the stream is like.

        Parameters
        ----------
        source
            Whose streams, tags and chapters are carried over.
        encoder
            Of the video.
        first
            Its first packet.
        matrix
            Display matrix of the pictures, if any.
        """
        copied = [stream for stream in source.copied if self._can_hold(source, stream)]
        with self._writing():
            container = self._container = self._open()
            for stream in sorted([*copied, source.video], key=lambda item: item.index):
                if stream is source.video:
                    self._video = self._add_video(source, encoder, first, matrix)
                else:
                    self._copies[stream.index] = add_copy(container, stream)
            container.metadata.update(_lasting(source.container.metadata))
            container.set_chapters(source.container.chapters())
            container.start_encoding()
        self._time_base = source.time_base
        for packet in self._pending:
            self.write_copy(packet)
        self._pending.clear()

    def _open(self) -> OutputContainer:
        # Neither dates nor version numbers nor random identifiers: equal runs, equal bytes.
        options = {"fflags": "+bitexact", **self.form.options}
        if self._in_place:
            options.update(self.form.pipe_options)
            self._pipe = _RawFile(
                os.dup(1) if self._path is None else os.open(self._path, os.O_WRONLY)
            )
            return av.open(self._pipe, "w", format=self.form.muxer, container_options=options)
        assert self._path is not None
        io_open = None
        if self.form.name == "hls":
            stem = self._path.stem
            name = f"file:{self._part / self._path.name}"
            options["hls_segment_filename"] = f"file:{self._part / stem}%d.ts"
            io_open = self._open_segment
        else:
            name = f"file:{self._part}"
        return av.open(
            name, "w", format=self.form.muxer, container_options=options, io_open=io_open
        )

    def _open_segment(self, url: str, flags: int, options: dict[str, str]) -> _RawFile:  # noqa: ARG002
        """Open a file for the HLS muxer, which itself would not tell of a full disk."""
        path = url.removeprefix("file:")
        segment = _RawFile(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666))
        self._segments.append(segment)
        return segment

    def _add_video(
        self, source: Source, encoder: Encoder, first: Packet, matrix: Sequence[int] | None
    ) -> VideoStream:
        """Add a stream described by what FFmpeg itself reads from the first access unit."""
        assert self._container is not None
        headers = encoder.headers
        data = b"".join(START_CODE + unit for unit in (headers.sps, headers.pps))
        data += annex_b(first.data) if encoder.global_headers else first.data
        with av.open(io.BytesIO(data), format="h264") as parsed:
            video = self._container.add_stream_from_template(parsed.streams.video[0], opaque=True)
        if encoder.global_headers:
            video.codec_context.extradata = encoder.extradata
        video.codec_context.framerate = source.rate
        video.time_base = source.time_base
        video.metadata.update(_lasting(source.video.metadata))
        video.disposition = source.video.disposition
        if matrix is not None:
            video.set_display_matrix(matrix)
        return video

    def _can_hold(self, source: Source, stream: Stream) -> bool:
        if _is_chapter_track(source, stream):
            return False
        reason = why_not(stream, self.form)
        if reason is None:
            return True
        self._warnings.add(
            f"stream {stream.index}",
            f"stream {stream.index} ({stream.type}, {codec_name(stream)}) cannot be copied into "
            f"{self.form.name} and is left out: {reason}",
        )
        return False

    def write_video(self, packet: Packet, time: FrameTime, dts: int) -> None:
        """Write a coded picture; times are in the source's time base."""
        assert self._container is not None
        assert self._video is not None
        item = av.Packet(packet.data)
        item.stream = self._video
        item.time_base = self._time_base  # type: ignore[assignment]
        item.pts, item.dts, item.duration = time.pts, dts, time.duration
        item.is_keyframe = packet.keyframe
        with self._writing():
            self._container.mux_one(item)

    def write_copy(self, packet: av.Packet[Any]) -> None:
        """Write a packet of another stream of the source, if that stream is carried over."""
        if self._container is None:
            self._pending.append(packet)
            return
        stream = self._copies.get(packet.stream_index)
        if stream is None:
            return
        if packet.dts is None:
            if not stream.disposition & Disposition.attached_pic:
                return
            packet.pts = packet.dts = 0  # a cover has no time of its own
        packet.stream = stream
        with self._writing():
            self._container.mux_one(packet)

    def commit(self) -> int:
        """Finish the output and give it its name; return its bytes.

        Raises
        ------
        OutputError
            The last bytes cannot be written. Nothing is left under the final name.
        """
        assert self._container is not None
        with self._writing():
            self._container.close()
            for segment in self._segments:
                if segment.failure is not None:
                    raise segment.failure
            if self._pipe is not None:
                self._pipe.close()
                return self._pipe.written
            target = self._path
            assert target is not None
            if self.form.name != "hls":
                size = self._part.stat().st_size
                self._part.replace(target)
                return size
            # The playlist comes last: whoever sees it finds all that it names.
            files = sorted(self._part.iterdir(), key=lambda item: item.name == target.name)
            size = sum(item.stat().st_size for item in files)
            for item in files:
                item.replace(target.parent / item.name)
            self._part.rmdir()
            return size

    def abort(self) -> None:
        """Drop everything written so far."""
        if self._container is not None:
            with contextlib.suppress(Exception):
                self._container.close()
        if self._pipe is not None:
            self._pipe.close()
        if not self._in_place:
            if self._part.is_dir():
                shutil.rmtree(self._part, ignore_errors=True)
            else:
                self._part.unlink(missing_ok=True)


class _RawFile:
    """What is written in order and never rewound; keeps the error that writing ended with."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.written = 0
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write all of ``data``."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self.failure = error
            raise
        self.written += len(data)
        return len(data)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _lasting(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags that stay true when the video is coded anew."""
    return {
        key: value
        for key, value in tags.items()
        if key.lower() not in _STALE_TAGS and not key.lower().startswith(_STALE_PREFIXES)
    }


def _is_chapter_track(source: Source, stream: Stream) -> bool:
    """Tell the text track in which mp4 keeps its chapters: the muxer makes a new one."""
    return (
        stream.type == "data"
        and codec_name(stream) == "bin_data"
        and bool(source.container.chapters())
    )
