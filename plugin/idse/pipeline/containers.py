"""The containers that can be written, and which streams each of them can hold."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

import av

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from av.container import OutputContainer
    from av.stream import Stream

STANDARD_OUTPUT = "-"

# What an MPEG-2 transport stream has a stream type for. FFmpeg writes any other codec as private
# data that nothing reads back.
_TS_CODECS = {
    *("aac", "aac_latm", "ac3", "dts", "eac3", "mp1", "mp2", "mp3", "opus", "s302m", "truehd"),
    *("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"),
    *("dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"),
    *("klv", "timed_id3", "scte_35"),
}


@dataclass(frozen=True, kw_only=True)
class OutputFormat:
    """A container that can be written.

    Attributes
    ----------
    name
        As ``--format`` takes it.
    muxer
        FFmpeg's name of it.
    suffixes
        File name endings that mean it.
    global_headers
        Whether parameter sets go into the container (mp4, mkv) or into the stream (ts).
    options
        For the muxer.
    pipe_options
        In addition, where the output cannot be rewound.
    """

    name: str
    muxer: str
    suffixes: tuple[str, ...]
    global_headers: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    pipe_options: Mapping[str, str] = field(default_factory=dict)


_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}

FORMATS: tuple[OutputFormat, ...] = (
    OutputFormat(name="mp4", muxer="mp4", suffixes=(".mp4", ".m4v"), pipe_options=_FRAGMENTED),
    OutputFormat(name="mov", muxer="mov", suffixes=(".mov",), pipe_options=_FRAGMENTED),
    OutputFormat(name="mkv", muxer="matroska", suffixes=(".mkv",)),
    OutputFormat(
        name="ts", muxer="mpegts", suffixes=(".ts", ".m2ts", ".mts"), global_headers=False
    ),
    OutputFormat(
        name="hls",
        muxer="hls",
        suffixes=(".m3u8",),
        global_headers=False,
        options={"hls_list_size": "0", "hls_playlist_type": "vod"},
    ),
)


def output_format(target: str, name: str | None) -> OutputFormat:
    """Return the container for an output, by its name or by what the user asked for.

    Raises
    ------
    InputError
        The name says nothing or something unknown, or the container cannot go into a pipe.
    """
    known = ", ".join(item.name for item in FORMATS)
    if name is not None:
        found = next((item for item in FORMATS if name in (item.name, item.muxer)), None)
        if found is None:
            raise InputError(f"output format {name!r} is not one of {known}")
    else:
        suffix = PurePath(target).suffix.lower()
        found = next((item for item in FORMATS if suffix in item.suffixes), None)
        if found is None:
            what = "standard output" if target == STANDARD_OUTPUT else repr(target)
            raise InputError(
                f"the name of {what} tells no container: give --format, one of {known}"
            )
    if target == STANDARD_OUTPUT and found.name == "hls":
        raise InputError("HLS is several files and cannot go to standard output: use ts or mkv")
    return found


def add_copy(container: OutputContainer, stream: Stream) -> Stream:
    """Add a stream that takes another one's packets as they are."""
    copy = container.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(stream.metadata)
    copy.disposition = stream.disposition
    return copy


def why_not(stream: Stream, form: OutputFormat) -> str | None:
    """Return why a container cannot hold a stream, or None where it can.

    The container is asked, by writing a header with that one stream.
    """
    muxer = "mpegts" if form.name == "hls" else form.muxer
    if muxer == "mpegts" and stream.type != "attachment" and codec_name(stream) not in _TS_CODECS:
        return "MPEG-TS has no stream type for it"
    if stream.type == "attachment" and form.name != "mkv":
        return "only mkv holds attachments"
    try:
        trial = av.open(io.BytesIO(), "w", format=muxer)
        try:
            add_copy(trial, stream)
            trial.start_encoding()
        finally:
            trial.close()
    except (av.FFmpegError, ValueError, OSError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None


def codec_name(stream: Stream) -> str:
    """Return FFmpeg's name of a stream's codec, or of its kind where it has none."""
    context = stream.codec_context
    name = getattr(stream, "name", None) if context is None else context.codec.canonical_name
    return name or stream.type
