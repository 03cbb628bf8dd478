"""Pictures to learn from: still images, and frames of videos now and then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image

from idse.errors import InputError
from idse.pipeline.frames import picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from idse.picture import Picture

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
# libswscale's numbers of BT.601 and of limited range: what `ffmpeg -pix_fmt yuv420p` makes of RGB.
_BT601, _LIMITED = 5, 1


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A picture that can be had again.

    Attributes
    ----------
    path
        An image, or a video.
    frame
        Number of a video's frame from 0 on; None for an image.
    halve
        Whether it is decoded to half its size per side.
    """

    path: Path
    frame: int | None = None
    halve: bool = False


def image_samples(folders: Sequence[Path]) -> list[Sample]:
    """Return the images in folders and in those below, in order of their names.

    Raises
    ------
    InputError
        A folder does not exist, or holds no image.
    """
    found: list[Sample] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"no such folder of images: {folder}")
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise InputError(f"folder {folder} holds no image")
        found += [Sample(path=path) for path in paths]
    return found


def video_samples(path: Path, *, every: float, most: int, end: float | None = None) -> list[Sample]:
    """Return frames of a video at equal distances.

    Parameters
    ----------
    path
        Of the video.
    every
        Seconds between two, at least.
    most
        How many at most.
    end
        Share of the video, from its beginning, that they are taken from; None for all of it.

    Raises
    ------
    InputError
        It cannot be read, or has no video.
    """
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video")
            rate = float(container.streams.video[0].average_rate or 25)
            frames = sum(1 for packet in container.demux(video=0) if packet.size)
    except (OSError, av.FFmpegError) as error:
        raise InputError(f"video {path} cannot be read: {error}") from error
    if not frames:
        raise InputError(f"{path} has no video frames")
    last = frames if end is None else int(frames * end)
    step = max(every * rate, last / most, 1)
    return [
        Sample(path=path, frame=number) for number in np.arange(0, last, step).astype(int).tolist()
    ]


class Decoder:
    """Decodes samples; frames of a video are quickest in their order.

    A context manager: it keeps one video open.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._frames: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._container: av.container.InputContainer | None = None
        self._last: tuple[int, av.VideoFrame] | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the video."""
        if self._container is not None:
            self._container.close()
        self._container, self._path, self._last = None, None, None

    def picture(self, sample: Sample) -> Picture:
        """Decode a sample.

        Raises
        ------
        InputError
            It cannot be decoded, or the video has no such frame.
        """
        if sample.frame is None:
            return _image(sample.path, halve=sample.halve)
        try:
            return picture(self._frame(sample.path, sample.frame), sample.frame)
        except (OSError, av.FFmpegError) as error:
            raise InputError(f"video {sample.path} cannot be decoded: {error}") from error

    def _frame(self, path: Path, number: int) -> av.VideoFrame:
        if self._path != path or self._last is None or self._last[0] > number:
            self.close()
            self._container, self._path = av.open(path), path
            self._frames = enumerate(self._container.decode(video=0))
        elif self._last[0] == number:
            return self._last[1]
        for item in self._frames:
            self._last = item
            if item[0] == number:
                return item[1]
        raise InputError(f"video {path} has no frame {number}")


def _image(path: Path, *, halve: bool) -> Picture:
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except OSError as error:
        raise InputError(f"image {path} cannot be read: {error}") from error
    if halve:
        rgb = rgb.reduce(2)
    frame = av.VideoFrame.from_ndarray(np.asarray(rgb), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=_BT601, dst_color_range=_LIMITED)
    return picture(frame, 0)
