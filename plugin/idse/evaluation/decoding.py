"""Decoding by stock ffmpeg, the program: what comes out is what any user of the file sees."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import IO, TYPE_CHECKING

import av
import numpy as np

from idse.errors import InputError
from idse.picture import Picture, PictureFormat
from idse.pipeline.options import EncodeOptions
from idse.pipeline.stills import encode_stills

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from idse.evaluation.sources import Clip

_FIRST = PictureFormat(width=16, height=16)
_LEAST_PROBE = "32"
# Frames as they are decoded: none dropped or doubled, turned, or brought to the first one's size.
_AS_DECODED = ("-fps_mode", "passthrough", "-autoscale", "0", "-f", "rawvideo", "pipe:1")


def need_ffmpeg() -> str:
    """Return the path of ffmpeg.

    Raises
    ------
    InputError
        It is not installed.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        raise InputError("ffmpeg is needed and was not found on PATH: install it")
    return found


@contextmanager
def _raw_video(arguments: Sequence[str | Path]) -> Iterator[IO[bytes]]:
    """Run ffmpeg and hand out what it writes."""
    command = [need_ffmpeg(), "-nostdin", "-v", "error", *map(str, arguments), *_AS_DECODED]
    with tempfile.TemporaryFile() as messages:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages) as process:
            assert process.stdout is not None
            try:
                yield process.stdout
            except BaseException:
                process.kill()
                raise
            process.stdout.close()
        if process.returncode:
            messages.seek(0)
            text = messages.read().decode(errors="replace").strip()
            raise InputError(f"ffmpeg could not decode: {text or process.returncode}")


def _read(stream: IO[bytes], form: PictureFormat, index: int) -> Picture | None:
    """Read one picture; None at the end.

    Raises
    ------
    InputError
        The end comes inside of a picture: it is not of this size or format.
    """
    dtype = np.dtype(np.uint8 if form.bit_depth == 8 else "<u2")
    counts = [rows * columns for rows, columns in form.plane_shapes]
    data = stream.read(sum(counts) * dtype.itemsize)
    if not data:
        return None
    if len(data) != sum(counts) * dtype.itemsize:
        raise InputError(f"ffmpeg gave out {len(data)} bytes of a picture that needs {counts}")
    parts = np.split(np.frombuffer(data, dtype), np.cumsum(counts)[:-1])
    y, cb, cr = (part.reshape(shape) for part, shape in zip(parts, form.plane_shapes, strict=True))
    return Picture(planes=(y, cb, cr), format=form, index=index)


def _coded(form: PictureFormat) -> PictureFormat:
    """Return the format with sides rounded up to what the chroma sampling can carry."""
    sx, sy = form.subsampling
    width, height = (form.width + sx) >> sx << sx, (form.height + sy) >> sy << sy
    return replace(form, width=width, height=height)


def _cropped(item: Picture, form: PictureFormat) -> Picture:
    """Cut off what an odd size was padded by."""
    if item.format == form:
        return item
    planes = [
        plane[:rows, :columns]
        for plane, (rows, columns) in zip(item.planes, form.plane_shapes, strict=True)
    ]
    return Picture(planes=(planes[0], planes[1], planes[2]), format=form, index=item.index)


@lru_cache(maxsize=4)
def _first_picture(pix_fmt: str) -> bytes:
    """Return a stream to put before pictures of several sizes.

    FFmpeg's decoder takes the size that the demuxer found for a crop of pictures that are as large
    in macroblocks, and gives that up at the first one that is not: with the least probe it finds
    this one's.
    """
    form = replace(_FIRST, pix_fmt=pix_fmt)
    grey = 1 << (form.bit_depth - 1)
    dtype = np.uint8 if form.bit_depth == 8 else np.uint16
    y, cb, cr = (np.full(shape, grey, dtype) for shape in form.plane_shapes)
    (stream,) = encode_stills(
        [Picture(planes=(y, cb, cr), format=form)], EncodeOptions(preset="ultrafast"), crf=51
    )
    return stream


def decode_stills(streams: Sequence[bytes], formats: Sequence[PictureFormat]) -> Iterator[Picture]:
    """Decode pictures that were encoded each by itself.

    Parameters
    ----------
    streams
        Annex B, one IDR picture each, with its parameter sets.
    formats
        What was encoded.

    Raises
    ------
    InputError
        They do not decode into pictures of these formats.
    """
    with tempfile.NamedTemporaryFile(suffix=".h264") as file:
        file.write(b"".join([_first_picture(formats[0].pix_fmt), *streams]))
        file.flush()
        with _raw_video(["-probesize", _LEAST_PROBE, "-f", "h264", "-i", file.name]) as raw:
            _read(raw, replace(_FIRST, pix_fmt=formats[0].pix_fmt), 0)
            for index, form in enumerate(formats):
                item = _read(raw, _coded(form), index)
                if item is None:
                    raise InputError(f"{index} of {len(formats)} pictures could be decoded")
                yield _cropped(item, form)
            if raw.read(1):
                raise InputError(f"more than {len(formats)} pictures came out")


def decode_clip(path: Path, clip: Clip, form: PictureFormat) -> Iterator[Picture]:
    """Decode the judged frames of an encode of a clip.

    Parameters
    ----------
    path
        The encode, which may be of another size.
    clip
        Which frames.
    form
        How the source is read; the encode is read in the same way.

    Raises
    ------
    InputError
        It cannot be decoded.
    """
    with av.open(path) as container:
        context = container.streams.video[0].codec_context
        form = replace(form, width=context.width, height=context.height)
    last = clip.last - 1
    chosen = f"select='between(n,{clip.first},{last})*not(mod(n-{clip.first},{clip.step}))'"
    count = len(range(clip.first, clip.last, clip.step))
    wanted: list[str | Path] = ["-noautorotate", "-i", path, "-map", "0:v:0", "-vf", chosen]
    with _raw_video([*wanted, "-frames:v", str(count)]) as raw:
        for index in range(count):
            item = _read(raw, form, index)
            if item is None:
                raise InputError(f"{path}: {index} of {count} frames could be decoded")
            yield item
