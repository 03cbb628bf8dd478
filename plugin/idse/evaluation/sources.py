"""What is encoded and judged: sets of images, and clips."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import av
import numpy as np
import numpy.typing as npt

from idse.errors import InputError
from idse.evaluation.filtering import filter_pictures
from idse.evaluation.fingerprint import digest, file_digest
from idse.evaluation.pixels import RGB24, filter_pixels, jfif_picture, read_pixels
from idse.picture import PIX_FMTS
from idse.pipeline.frames import picture, picture_format
from idse.vision.heads import Detections

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from idse.evaluation.pixels import RGB
    from idse.picture import Picture, PictureFormat

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
# libswscale's numbers of BT.601 and of limited range: what `ffmpeg -pix_fmt yuv420p` makes of RGB.
_BT601, _LIMITED = 5, 1
# Which part of a source a name stands for: the one to choose settings on, and the one to report.
TUNE, REPORT = {"tune", "even", "first"}, {"report", "odd", "second"}
SELECTIONS = ("all", "tune", "report", "even", "odd", "first", "second")


@dataclass(frozen=True, kw_only=True)
class Images:
    """Still images: what an encoder is given, and what its output is compared with.

    As Y'CbCr pictures of BT.601 and limited range, or as the R'G'B' that the files decode to.

    Attributes
    ----------
    name
        For tables.
    paths
        In order; each is one intra frame, and a unit of the bootstrap.
    pix_fmt
        What they are encoded from: one of ``idse.picture.PIX_FMTS``, or ``"rgb24"``.
    filter
        An FFmpeg filter that is run over every one before it is encoded, or nothing.
    others
        Those that :meth:`select` left out.
    """

    name: str
    paths: tuple[Path, ...]
    pix_fmt: str = "yuv420p"
    filter: str = ""
    others: tuple[Path, ...] = ()
    still: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.pix_fmt not in (*PIX_FMTS, RGB24):
            known = ", ".join((*PIX_FMTS, RGB24))
            raise InputError(f"pixel format {self.pix_fmt!r} is not one of {known}")

    @property
    def key(self) -> str:
        """Hash of the content."""
        return digest(*map(file_digest, self.paths), self.pix_fmt, self.filter)

    @property
    def sample(self) -> str:
        """What is judged, for tables."""
        kind = "still" if self.pix_fmt == RGB24 else "intra"
        return f"{len(self.paths)} images, {self.pix_fmt}, {kind}"

    def pictures(self) -> tuple[Picture, ...]:
        """Return all pictures; of R'G'B' images what judges see of them: JFIF's Y'CbCr, 4:4:4."""
        if self.pix_fmt == RGB24:
            return tuple(jfif_picture(rgb, index) for index, rgb in enumerate(self.pixels()))
        return _pictures(self.paths, self.pix_fmt, self.filter)

    def pixels(self) -> tuple[RGB, ...]:
        """Return all images as R'G'B', filtered."""
        return _pixels(self.paths, self.filter)

    def units(self) -> npt.NDArray[np.int64]:
        """Return the unit of the bootstrap that every picture is in."""
        return np.arange(len(self.paths))

    def select(self, selection: str) -> Images:
        """Return the part that ``selection`` names: every second one, from the first or second.

        Raises
        ------
        InputError
            It names a part of a clip, or nothing is left.
        """
        if selection in {"first", "second"}:
            raise InputError(f"{self.name} are images: select odd or even ones, not {selection!r}")
        step = {True: slice(0, None, 2), False: slice(1, None, 2)}
        part = slice(None) if selection == "all" else step[selection in TUNE]
        if not self.paths[part]:
            raise InputError(f"{self.name} has no {selection} image: {len(self.paths)} in all")
        left = tuple(path for path in self.paths if path not in set(self.paths[part]))
        return replace(self, paths=self.paths[part], others=left)

    def complement(self) -> Images:
        """Return those that were not selected; itself where all were."""
        return replace(self, paths=self.others, others=self.paths) if self.others else self

    def boxes(self) -> list[Detections]:
        """Return the labelled boxes in luma samples, or nothing where there are no labels.

        Labels are those of YOLO: ``labels/NAME.txt`` beside the images' folder (or in it), one box
        a line, ``class cx cy w h`` relative to the picture. No file means no boxes.
        """
        folder = _label_folder(self.paths[0])
        if folder is None:
            return []
        return [
            _boxes(folder / f"{path.stem}.txt", item.format.width, item.format.height)
            for path, item in zip(self.paths, self.pictures(), strict=True)
        ]

    def classes(self) -> npt.NDArray[np.int64]:
        """Return the class of every image from ``labels.csv`` (file,class_index); empty without."""
        table = self.paths[0].parent / "labels.csv"
        if not table.is_file():
            return np.zeros(0, np.int64)
        with table.open(encoding="utf-8", newline="") as file:
            known = {row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}
        missing = [path.name for path in self.paths if path.name not in known]
        if missing:
            raise InputError(f"{table} has no class for {missing[0]} ({len(missing)} missing)")
        return np.array([known[path.name] for path in self.paths], np.int64)


@lru_cache(maxsize=4)
def _pictures(paths: tuple[Path, ...], pix_fmt: str, chain: str) -> tuple[Picture, ...]:
    pictures = []
    for index, path in enumerate(paths):
        frame = av.VideoFrame.from_ndarray(read_pixels(path), format=RGB24)
        frame = frame.reformat(format=pix_fmt, dst_colorspace=_BT601, dst_color_range=_LIMITED)
        pictures.append(replace(picture(frame, index), index=index))
    return tuple(filter_pictures(pictures, chain)) if chain else tuple(pictures)


@lru_cache(maxsize=4)
def _pixels(paths: tuple[Path, ...], chain: str) -> tuple[RGB, ...]:
    images = map(read_pixels, paths)
    return tuple(filter_pixels(images, chain) if chain else images)


def _label_folder(image: Path) -> Path | None:
    for folder in (image.parent.parent / "labels", image.parent / "labels"):
        if folder.is_dir():
            return folder
    return None


def _boxes(path: Path, width: int, height: int) -> Detections:
    text = path.read_text(encoding="utf-8").split() if path.exists() else []
    try:
        table = np.array(text, np.float64).reshape(-1, 5)
    except ValueError:
        raise InputError(f"labels {path} are not lines of class, cx, cy, w and h") from None
    low, high = table[:, 1:3] - table[:, 3:] / 2, table[:, 1:3] + table[:, 3:] / 2
    corners = np.concatenate([low, high], axis=1) * ([width, height] * 2)
    return Detections(
        corners.astype(np.float32), np.ones(len(table), np.float32), table[:, 0].astype(np.int64)
    )


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Frames ``first`` to ``last`` (exclusive), every ``step``-th, of a video file.

    All of the file is encoded.

    Attributes
    ----------
    rate
        Frames per second.
    frames
        Of the whole file.
    block
        Seconds of a unit of the bootstrap.
    """

    name: str
    path: Path
    first: int
    last: int
    step: int
    rate: float
    frames: int
    block: float = 5.0
    still: ClassVar[bool] = False

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        start: float | None = None,
        end: float | None = None,
        selection: str = "all",
        step: int = 1,
        block: float = 5.0,
    ) -> Clip:
        """Look into a video file.

        Parameters
        ----------
        path
            The file.
        start, end
            Seconds of the part that is judged; they win over ``selection``.
        selection
            ``"all"``, ``"first"`` or ``"second"`` half (``"tune"``, ``"report"``).
        step
            Judge every so many frames.
        block
            Seconds of a unit of the bootstrap.

        Raises
        ------
        InputError
            The file cannot be read, the part is empty, or under two blocks long.
        """
        if selection in {"odd", "even"}:
            raise InputError(f"{path} is a clip: select its first or second half, not {selection}")
        if step < 1 or block <= 0:
            raise InputError(f"step {step} and blocks of {block:g} s must be above 0")
        frames, rate = _probe(path)
        first, last = 0, frames
        if start is not None or end is not None:
            first = round((start or 0) * rate)
            last = frames if end is None else min(frames, round(end * rate))
        elif selection in TUNE:
            last = frames // 2
        elif selection in REPORT:
            first = frames // 2
        if last - first < 2 * block * rate * 0.75:
            raise InputError(
                f"{path} has {max(0, last - first) / rate:.1f} s in the part to judge (it is "
                f"{frames / rate:.1f} s long): an interval needs two blocks of {block:g} s"
            )
        return cls(
            name=path.name,
            path=path,
            first=first,
            last=last,
            step=step,
            rate=rate,
            frames=frames,
            block=block,
        )

    def complement(self) -> Clip:
        """Return the longer of what lies before and behind this part; itself where it is all."""
        before, behind = (0, self.first), (self.last, self.frames)
        first, last = max(before, behind, key=lambda part: part[1] - part[0])
        if last - first < 2 * self.block * self.rate * 0.75:
            return self
        return replace(self, first=first, last=last)

    @property
    def key(self) -> str:
        """Hash of the content."""
        return digest(file_digest(self.path), f"{self.first} {self.last} {self.step}")

    @property
    def sample(self) -> str:
        """What is judged, for tables."""
        return (
            f"{self.first / self.rate:g} to {self.last / self.rate:g} s, "
            f"every {_ordinal(self.step)}frame judged, {self.units().max() + 1} blocks of "
            f"{self.block:g} s"
        )

    def pictures(self) -> Iterator[Picture]:
        """Decode the frames."""
        with av.open(self.path) as container:
            frames = islice(container.decode(video=0), self.first, self.last, self.step)
            for index, frame in enumerate(frames):
                yield picture(frame, index)

    def format(self) -> PictureFormat:
        """Return how its frames are read, from the first one."""
        with av.open(self.path) as container:
            return picture_format(next(container.decode(video=0)))

    def times(self) -> npt.NDArray[np.float64]:
        """Return when every judged frame is shown, in seconds."""
        return np.arange(self.first, self.last, self.step) / self.rate

    def units(self) -> npt.NDArray[np.int64]:
        """Return the block that every judged frame is in; a short last one joins the one before."""
        length = max(1, round(self.rate * self.block))
        block = np.arange(0, self.last - self.first, self.step) // length
        if np.count_nonzero(block == block[-1]) * self.step < length / 2 and block[-1]:
            block[block == block[-1]] -= 1
        return block


Source = Images | Clip


def _ordinal(number: int) -> str:
    return {1: "", 2: "second ", 3: "third ", 4: "fourth "}.get(number, f"{number}th ")


@lru_cache(maxsize=64)
def _probe(path: Path) -> tuple[int, float]:
    """Return how many frames a video has, and its rate."""
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video")
            rate = container.streams.video[0].average_rate
            frames = sum(1 for packet in container.demux(video=0) if packet.size)
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or error
        raise InputError(f"clip {path} cannot be read: {reason}") from error
    if not frames or not rate:
        raise InputError(f"{path} has no video frames, or no frame rate")
    return frames, float(rate)


def find_sources(
    names: Sequence[str],
    *,
    selection: str = "all",
    pix_fmt: str = "yuv420p",
    start: float | None = None,
    end: float | None = None,
    step: int = 1,
    block: float = 5.0,
) -> list[Source]:
    """Return the sources that paths name: folders of images, videos, and single images as one set.

    Raises
    ------
    InputError
        A path does not exist, holds no image, or cannot be read.
    """
    found: list[Source] = []
    loose: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            paths = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not paths:
                raise InputError(f"folder {name} holds no image")
            label = path.resolve()
            title = label.parent.name if label.name == "images" else label.name
            found.append(Images(name=title, paths=tuple(paths), pix_fmt=pix_fmt).select(selection))
        elif not path.exists():
            raise InputError(f"no such file or folder: {name}")
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            loose.append(path)
        else:
            found.append(
                Clip.open(path, start=start, end=end, selection=selection, step=step, block=block)
            )
    if loose:
        images = Images(name="images", paths=tuple(loose), pix_fmt=pix_fmt)
        found.append(images.select(selection))
    return found
