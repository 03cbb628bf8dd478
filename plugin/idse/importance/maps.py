"""Importance maps and the file that holds them. Needs numpy and safetensors only.

File format ``idse-map``, version 1: a safetensors file with the string metadata ``format``,
``version``, ``width``, ``height``, ``pix_fmt``, ``frames``, ``model``, ``n_s``, ``seed`` and
``dtype``, and the tensors

- ``energy``: float32 ``(frames, 3, mb_rows, mb_cols)``, see `ImportanceMap`;
- ``frame_index``: int64 ``(frames,)``, strictly increasing from 0 or more;
- ``pts``: int64 ``(frames,)``, time-base units, ``-2**63`` where the frame has none;
- ``luma_crc32``: int64 ``(frames,)``, the source's identity, 0 to ``2**32 - 1``;
- where the first frame was analysed, float64 ``spectrum_...``, see `Spectrum.tensors`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from idse.errors import InputError, MapError
from idse.files import write_atomically
from idse.importance.spectrum import Spectrum
from idse.picture import MACROBLOCK, PictureFormat, macroblocks

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Any

    from idse.picture import Picture

FORMAT = "idse-map"
VERSION = "1"

_NO_PTS = -(2**63)
_DTYPES = {
    "energy": np.float32,
    "frame_index": np.int64,
    "pts": np.int64,
    "luma_crc32": np.int64,
}


def luma_samples(width: int, height: int) -> npt.NDArray[np.float32]:
    """Count the luma samples of each macroblock that lie inside the picture.

    Returns
    -------
    ndarray
        float32 ``(mb_rows, mb_cols)``: 256 but at the right and bottom edge.
    """

    def lengths(size: int) -> npt.NDArray[np.float32]:
        starts = np.arange(0, size, MACROBLOCK)
        return np.minimum(MACROBLOCK, size - starts).astype(np.float32)

    return np.outer(lengths(height), lengths(width)).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImportanceMap:
    """How much each macroblock of one picture matters to a network.

    Attributes
    ----------
    energy
        float32 ``(3, mb_rows, mb_cols)`` for Y, Cb, Cr, finite and >= 0: the sum of ``J_s**2`` over
        the rows of the sketched Jacobian and the macroblock's samples that lie inside the picture.
        In squared feature distance per squared code value. The sum of everything is
        ``||J_s||_F^2`` of the IDSE paper (equation (26) takes its blockwise mean).
    width, height, pix_fmt
        Of the picture, as in `idse.picture.PictureFormat`.
    frame_index
        Number of the frame in decoding output order, from 0.
    pts
        Presentation time in units of the stream's time base, or None.
    luma_crc32
        `idse.picture.Picture.luma_crc32` of the picture: a map fits that picture only.

    Raises
    ------
    MapError
        The energy has another dtype or shape than the picture asks for, or a value that is
        negative or not finite.
    """

    energy: npt.NDArray[np.float32]
    width: int
    height: int
    pix_fmt: str
    frame_index: int
    pts: int | None
    luma_crc32: int

    def __post_init__(self) -> None:
        shape = (3, macroblocks(self.height), macroblocks(self.width))
        if self.energy.dtype != np.float32 or self.energy.shape != shape:
            raise MapError(
                f"energy of frame {self.frame_index} is {self.energy.dtype} {self.energy.shape}, "
                f"a {self.width}x{self.height} picture needs float32 {shape}"
            )
        # One comparison is false for NaN, infinities and negative values alike.
        bad = ~((self.energy >= 0) & (self.energy < np.inf))
        if bad.any():
            plane, row, column = (int(i) for i in np.argwhere(bad)[0])
            bad_value = self.energy[plane, row, column]
            raise MapError(
                f"energy of frame {self.frame_index} at plane {plane}, macroblock row {row}, "
                f"column {column} is {bad_value}; it must be finite and not negative"
            )

    @classmethod
    def neutral(cls, picture: Picture) -> ImportanceMap:
        """Return the map in which every sample matters alike: every weight is exactly 1."""
        form = picture.format
        energy = np.zeros((3, *form.mb_shape), np.float32)
        energy[0] = luma_samples(form.width, form.height)
        return cls.of(picture, energy)

    @classmethod
    def of(cls, picture: Picture, energy: npt.NDArray[np.float32]) -> ImportanceMap:
        """Return the map that ties an energy to the picture that it was computed from."""
        return cls(
            energy=energy,
            width=picture.format.width,
            height=picture.format.height,
            pix_fmt=picture.format.pix_fmt,
            frame_index=picture.index,
            pts=picture.pts,
            luma_crc32=picture.luma_crc32(),
        )

    def weight(self) -> npt.NDArray[np.float32]:
        """Return the energy of all planes per luma sample, float32 ``(mb_rows, mb_cols)``, >= 0."""
        total: npt.NDArray[np.float32] = self.energy.sum(0) / luma_samples(self.width, self.height)
        return total


@dataclass(frozen=True, kw_only=True)
class MapMetadata:
    """How the maps of a file were made.

    Attributes
    ----------
    model
        Networks and weights as given to ``--model``, separated by blanks.
    n_s
        Rows of the sketch, >= 1.
    seed
        Seed of the sketch, >= 0.
    dtype
        Type the network ran in: ``"float32"``, ``"float64"``...
    """

    model: str
    n_s: int
    seed: int
    dtype: str


@dataclass(frozen=True, kw_only=True)
class MapSet:
    """Maps of one video, in increasing order of their frames.

    Attributes
    ----------
    maps, metadata
        The maps, and how they were made.
    spectrum
        Importance per frequency in the first frame; None where it is not known.

    Raises
    ------
    MapError
        There is none, they are out of order, or their pictures differ in size or format.
    """

    maps: tuple[ImportanceMap, ...]
    metadata: MapMetadata
    spectrum: Spectrum | None = None

    def __post_init__(self) -> None:
        if not self.maps:
            raise MapError("a map file needs at least one frame, got none")
        kinds = {(m.width, m.height, m.pix_fmt) for m in self.maps}
        if len(kinds) > 1:
            raise MapError(f"maps of one file must share size and format, got {sorted(kinds)}")
        before = -1
        for item in self.maps:
            if item.frame_index <= before:
                raise MapError(
                    f"frame index {item.frame_index} follows {before}; indices start at 0 or more "
                    "and increase strictly"
                )
            before = item.frame_index

    @cached_property
    def _by_index(self) -> Mapping[int, ImportanceMap]:
        return {item.frame_index: item for item in self.maps}

    def get(self, frame_index: int) -> ImportanceMap | None:
        """Return the map of a frame, or None where that frame was not analysed."""
        return self._by_index.get(frame_index)

    def check_source(self, form: PictureFormat) -> None:
        """Check that the maps were made for pictures of this size and sampling.

        Raises
        ------
        MapError
            They were made for others; both are quoted.
        """
        first = self.maps[0]
        made = PictureFormat(width=first.width, height=first.height, pix_fmt=first.pix_fmt)
        same = (made.width, made.height, made.subsampling, made.bit_depth)
        if same != (form.width, form.height, form.subsampling, form.bit_depth):
            raise MapError(
                f"the maps are for {first.width}x{first.height} {first.pix_fmt}, the input is "
                f"{form.width}x{form.height} {form.pix_fmt}: make them from this input with "
                "idse map"
            )

    def check_frame(self, picture: Picture) -> None:
        """Check that the map of this frame, if there is one, was made from this very picture.

        Raises
        ------
        MapError
            The luma samples differ from those that were analysed.
        """
        item = self.get(picture.index)
        if item is None:
            return
        found = picture.luma_crc32()
        if found != item.luma_crc32:
            raise MapError(
                f"the map of frame {picture.index} was made for another video: luma CRC-32 is "
                f"{found:08x}, the map's {item.luma_crc32:08x}"
            )


def write_maps(
    path: str | os.PathLike[str],
    maps: Sequence[ImportanceMap],
    metadata: MapMetadata,
    *,
    spectrum: Spectrum | None = None,
) -> None:
    """Write maps of one video; the file appears whole or not at all.

    Raises
    ------
    MapError
        The maps do not form a `MapSet`.
    OutputError
        The file cannot be written.
    """
    checked = MapSet(maps=tuple(maps), metadata=metadata)
    first = checked.maps[0]
    tensors: dict[str, npt.NDArray[Any]] = {
        "energy": np.stack([item.energy for item in checked.maps]),
        "frame_index": np.array([item.frame_index for item in checked.maps], np.int64),
        "pts": np.array([_NO_PTS if m.pts is None else m.pts for m in checked.maps], np.int64),
        "luma_crc32": np.array([item.luma_crc32 for item in checked.maps], np.int64),
    }
    if spectrum is not None:
        tensors |= spectrum.tensors()
    described = {
        "format": FORMAT,
        "version": VERSION,
        "width": first.width,
        "height": first.height,
        "pix_fmt": first.pix_fmt,
        "frames": len(checked.maps),
        "model": metadata.model,
        "n_s": metadata.n_s,
        "seed": metadata.seed,
        "dtype": metadata.dtype,
    }
    strings = {key: str(value) for key, value in described.items()}
    write_atomically(path, _sort_header(safetensors.numpy.save(tensors, strings)))


def _sort_header(data: bytes) -> bytes:
    """Make the file a function of its content: safetensors writes metadata in random order."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header = header.ljust(-(-len(header) // 8) * 8)  # tensors stay aligned
    return len(header).to_bytes(8, "little") + header + data[start:]


def read_maps(path: str | os.PathLike[str]) -> MapSet:
    """Read a map file and check everything in it.

    Raises
    ------
    MapError
        The file is missing, damaged, of another version, or holds values that no map has.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            described = file.metadata() or {}
            _check_version(path, described)
            tensors = {name: file.get_tensor(name) for name in _DTYPES}
            others = set(file.keys()) - set(_DTYPES)
            spectrum = Spectrum.from_tensors({name: file.get_tensor(name) for name in others})
    except OSError as error:
        reason = "it is a folder" if Path(path).is_dir() else error
        raise MapError(f"cannot read maps from {path}: {reason}") from error
    except (safetensors.SafetensorError, TypeError, KeyError) as error:
        raise MapError(f"{path} is no map file, or is damaged: {error}") from error
    try:
        return replace(_assemble(described, tensors), spectrum=spectrum)
    except InputError as error:
        raise MapError(f"{path}: {error}") from error


def _check_version(path: str | os.PathLike[str], described: Mapping[str, str]) -> None:
    if described.get("format") != FORMAT:
        raise MapError(
            f"{path} is no map file: its format is {described.get('format')!r}, not {FORMAT!r}"
        )
    if described.get("version") != VERSION:
        raise MapError(
            f"{path} has map version {described.get('version')!r}, this idse reads {VERSION!r}: "
            "make it again with idse map"
        )


def _assemble(described: Mapping[str, str], tensors: Mapping[str, npt.NDArray[Any]]) -> MapSet:
    width, height, frames = (_number(described, key, least=1) for key in _SIZES)
    metadata = MapMetadata(
        model=_text(described, "model"),
        n_s=_number(described, "n_s", least=1),
        seed=_number(described, "seed", least=0),
        dtype=_text(described, "dtype"),
    )
    form = PictureFormat(width=width, height=height, pix_fmt=_text(described, "pix_fmt"))
    for name, dtype in _DTYPES.items():
        expected = (frames, 3, *form.mb_shape) if name == "energy" else (frames,)
        if tensors[name].dtype != dtype or tensors[name].shape != expected:
            raise MapError(
                f"{name} is {tensors[name].dtype} {tensors[name].shape}, "
                f"expected {np.dtype(dtype)} {expected}"
            )
    crc = tensors["luma_crc32"]
    if crc.min() < 0 or crc.max() >= 2**32:
        raise MapError(f"luma_crc32 spans {crc.min()} to {crc.max()}, which are no CRC-32 values")
    maps = tuple(
        ImportanceMap(
            energy=tensors["energy"][i],
            width=width,
            height=height,
            pix_fmt=form.pix_fmt,
            frame_index=int(tensors["frame_index"][i]),
            pts=None if tensors["pts"][i] == _NO_PTS else int(tensors["pts"][i]),
            luma_crc32=int(crc[i]),
        )
        for i in range(frames)
    )
    return MapSet(maps=maps, metadata=metadata)


_SIZES = ("width", "height", "frames")


def _text(described: Mapping[str, str], key: str) -> str:
    if key not in described:
        raise MapError(f"the metadata lacks {key!r}")
    return described[key]


def _number(described: Mapping[str, str], key: str, *, least: int) -> int:
    text = _text(described, key)
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < least:
        raise MapError(f"metadata {key} is {text!r}, which is no whole number from {least} on")
    return int(text)
