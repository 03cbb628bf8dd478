"""Macroblocks of a file: demultiplexing, and from decoding to presentation order."""

from __future__ import annotations

import heapq
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from idse.codecs.h264.parser import FrameMacroblocks, Parser
from idse.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import av

    from idse.codecs.h264.parser import ParsedPicture

logger = logging.getLogger(__name__)

# No frame is decoded more than this many frames before its presentation: ITU-T H.264, A.3.1 limits
# the decoded picture buffer to 16 frames.
_MAX_REORDER = 16

# Tags of pictures without a time, and of pictures that an edit list hides. Times are far from both.
_NO_PTS = -(1 << 63)
_HIDDEN = _NO_PTS + 1


def read_macroblocks(path: str | os.PathLike[str]) -> Iterator[FrameMacroblocks]:
    """Read QP, skips and bits of every macroblock of an H.264 file, without decoding pictures.

    Every slice is parsed to its last bit (ITU-T H.264, 7.3.4 and 7.3.5): QPs are exact, and
    macroblocks that carry mb_qp_delta are told apart from those that inherit their QP. Memory does
    not grow with the length of the file.

    Parameters
    ----------
    path
        Anything FFmpeg can open that holds H.264: mp4, mkv, ts, raw Annex B... The first video
        stream is read.

    Yields
    ------
    FrameMacroblocks
        In presentation order, from the first key frame on, without those that an edit list hides.

    Raises
    ------
    InputError
        The file cannot be opened, holds no H.264 video or no frames, is damaged or cut off, or uses
        SP/SI slices, data partitioning, slice groups or separate colour planes.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = _video_stream(str(path), container)
            last = None
            for last in _presented(_parse(str(path), container, stream)):
                yield last
            if last is None:
                raise InputError(f"{path} has no video frames")
            _warn_if_short(str(path), container, stream, last)
    except av.FFmpegError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _video_stream(path: str, container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise InputError(f"{path} has no video stream")
    stream = container.streams.video[0]
    codec = stream.codec_context.name
    if codec != "h264":
        raise InputError(f"{path} holds {codec} video, not H.264: nothing to read back")
    return stream


def _parse(
    path: str, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[ParsedPicture]:
    """Yield the pictures of a stream in decoding order."""
    parser = Parser()
    try:
        for data, length_size, tag in _units(container, stream):
            yield from parser.feed(data, length_size=length_size, tag=tag)
        yield from parser.flush()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _units(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[tuple[bytes, int, int]]:
    """Yield NAL units, the size of their lengths (0: start codes) and the tag of their picture."""
    header = stream.codec_context.extradata or b""
    length_size = 0
    if header[:1] == b"\x01":
        length_size = (header[4] & 3) + 1 if len(header) > 4 else 4
        for unit in _parameter_sets(header):
            yield unit, 2, _HIDDEN
    else:
        yield header, 0, _HIDDEN
    started = False
    for packet in container.demux(stream):
        # As decoders do: a recording may start in the middle of a group of pictures.
        started = started or packet.is_keyframe
        if started:
            tag = _HIDDEN if packet.is_discard else _NO_PTS if packet.pts is None else packet.pts
            yield bytes(packet), length_size, tag


def _warn_if_short(
    path: str,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    last: FrameMacroblocks,
) -> None:
    """Warn where the file promises more than it holds, as a cut Matroska file does silently."""
    import av

    if last.pts is None or stream.time_base is None or container.duration is None:
        return
    promised = container.duration / av.time_base
    found = float((last.pts - (stream.start_time or 0)) * stream.time_base)
    if found < 0.9 * promised - 1:
        logger.warning(
            "%s: the last frame is at %.1f s of %.1f s: is it cut off?", path, found, promised
        )


def _parameter_sets(header: bytes) -> Iterator[bytes]:
    """Yield the parameter sets of an avcC box (ISO/IEC 14496-15, 5.3.3.1), lengths included."""
    position = 5
    for mask in (31, 255):
        if position >= len(header):
            return
        count = header[position] & mask
        position += 1
        for _ in range(count):
            end = position + 2 + int.from_bytes(header[position : position + 2], "big")
            yield header[position:end]
            position = end


def _presented(pictures: Iterator[ParsedPicture]) -> Iterator[FrameMacroblocks]:
    """Bring pictures from decoding to output order, which is the order of their counts."""
    waiting: list[tuple[int, int, ParsedPicture]] = []
    for index, picture in enumerate(pictures):
        heapq.heappush(waiting, (picture.order, index, picture))
        if len(waiting) > _MAX_REORDER:
            yield from _shown(heapq.heappop(waiting)[2])
    while waiting:
        yield from _shown(heapq.heappop(waiting)[2])


def _shown(picture: ParsedPicture) -> Iterator[FrameMacroblocks]:
    if picture.tag != _HIDDEN:
        yield replace(picture.frame, pts=None if picture.tag == _NO_PTS else picture.tag)
