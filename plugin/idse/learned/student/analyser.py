"""From decoded pictures to importance maps, by a student: no gradients, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.errors import InputError, ModelError
from idse.importance.maps import ImportanceMap, MapMetadata, luma_samples
from idse.importance.spectrum import Spectrum
from idse.learned.student.engine import Engine, spread
from idse.learned.student.file import read_student
from idse.learned.student.spectrum import picture_spectrum
from idse.picture import MACROBLOCK
from idse.vision.registry import EXACT_MODEL, STUDENT, split_student

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.learned.student.file import StudentFile
    from idse.picture import Picture, PictureFormat

FloatMap = npt.NDArray[np.float32]

_WEIGHTS = Path(__file__).parents[2] / "weights"
_BLOCK = 4
_DCT = 8
# Places per side of a block that a mean is of, at most.
_MOST_PLACES = 4
# Formats whose spectra are kept: a folder of pictures may have as many as pictures.
_MOST_FORMATS = 16


class StudentAnalyser:
    """Predicts importance maps: a `MapMaker`.

    What it says depends on the picture alone, and may be asked for by several threads.

    Parameters
    ----------
    student
        Where the network and its heads come from.
    name
        What reports call it.
    head
        The network to stand for; None is the blend of all of them.

    Raises
    ------
    InputError
        The student has no such head.
    ModelError
        It cannot be run.
    """

    def __init__(
        self, student: StudentFile, *, name: str = STUDENT, head: str | None = None
    ) -> None:
        check_head(student, head, name)
        self.name = name
        self._student = student
        self._engine = Engine(student)
        self._blend = [
            b if head is None else float(h == head)
            for h, b in zip(student.heads, student.blend, strict=True)
        ]
        self._spectra: dict[PictureFormat, list[Spectrum]] = {}
        # The last picture of which more than a map was asked for, and what the network said.
        self._kept: tuple[Picture | None, FloatMap | None] = (None, None)

    @property
    def heads(self) -> tuple[str, ...]:
        """The networks that it stands for."""
        return tuple(
            name for name, b in zip(self._student.heads, self._blend, strict=True) if b > 0
        )

    @property
    def isa(self) -> str:
        """The instruction set that it runs by: ``"avx512"``, ``"avx2"`` or ``"portable"``."""
        return self._engine.isa

    @property
    def metadata(self) -> MapMetadata:
        """What a map file says about how its maps were made."""
        return MapMetadata(model=self.name, n_s=1, seed=0, dtype="float32")

    def weight(self, picture: Picture) -> FloatMap:
        """Predict the importance of every macroblock per luma sample.

        Returns
        -------
        ndarray
            float32 ``(mb_rows, mb_cols)``, as `ImportanceMap.weight` of the networks that the
            student stands for; of those at the edge the mean over what lies inside.

        Raises
        ------
        ModelError
            The network's output is not finite, or the picture's shape asks for more memory than a
            student gets.
        """
        spectra = self._spectra_of(picture.format)
        return self._at_macroblocks(picture, [found.per_sample for found in spectra])

    def analyse(self, picture: Picture) -> ImportanceMap:
        """Predict the importance of every macroblock, tied to its picture.

        Raises
        ------
        ModelError
            As `weight`.
        """
        form = picture.format
        spectra = self._spectra_of(form)
        # Per luma sample; Cb and Cr share theirs, for a spectrum is of both.
        luma = self._at_macroblocks(picture, [s.luma[_DCT].mean() for s in spectra], keep=True)
        chroma = self._at_macroblocks(
            picture, [s.chroma_share * s.chroma[_DCT].mean() / 2 for s in spectra]
        )
        planes = np.stack([luma, chroma, chroma])
        return ImportanceMap.of(picture, planes * luma_samples(form.width, form.height))

    def blocks(self, picture: Picture) -> FloatMap:
        """Predict the importance of 4x4 luma blocks.

        Returns
        -------
        ndarray
            float32 ``(ceil(height / 4), ceil(width / 4))``: energy of the samples inside.

        Raises
        ------
        ModelError
            As `weight`.
        """
        form = picture.format
        factors = [s.luma[_DCT].mean() for s in self._spectra_of(form)]
        lengths = [_inside(n, _BLOCK) for n in (form.height, form.width)]
        density = self._at(picture, factors, (form.height, form.width), _BLOCK, keep=True)
        return density * np.outer(*lengths).astype(np.float32)

    def spectrum(self, picture: Picture) -> Spectrum:
        """Predict the mean importance per frequency.

        Raises
        ------
        ModelError
            As `weight`.
        """
        parts = []
        for k, found in enumerate(self._spectra_of(picture.format)):
            level = self._level(picture, k)
            luma, chroma = (
                {size: values * level for size, values in plane.items()}
                for plane in (found.luma, found.chroma)
            )
            parts.append(Spectrum(luma, chroma, found.chroma_share))
        return Spectrum.total(parts)

    def coefficients(self, picture: Picture) -> list[npt.NDArray[np.float32]]:
        """Predict what errors in each coefficient of a JPEG cost.

        A block's energy, spread over frequencies as in the mean of the heads' pictures: how it is
        spread differs little between blocks.

        Parameters
        ----------
        picture
            Sampled as the JPEG, see `idse.importance.Analyser.coefficients`.

        Returns
        -------
        list of ndarray
            For Y, Cb and Cr, float32 ``(block rows, block columns, 8, 8)``.

        Raises
        ------
        ModelError
            As `weight`.
        """
        spectra = self._spectra_of(picture.format)
        luma = self._weights(picture, picture.planes[0].shape, [s.luma[_DCT] for s in spectra])
        chroma = self._weights(picture, picture.planes[1].shape, [s.chroma[_DCT] for s in spectra])
        return [luma, chroma, chroma.copy()]

    def forget(self) -> None:
        """Let go of the last picture and its map."""
        self._kept = (None, None)

    def _weights(
        self, picture: Picture, shape: tuple[int, ...], shapes: Sequence[npt.NDArray[np.float64]]
    ) -> npt.NDArray[np.float32]:
        """Return weights of the blocks of a plane: each head's density times its spectrum."""
        rows, columns = shape
        found = np.zeros((-(-rows // _DCT), -(-columns // _DCT), _DCT, _DCT), np.float32)
        for k, frequencies in enumerate(shapes):
            if self._blend[k]:
                only = _only(k, len(shapes))
                density = self._at(picture, only, (rows, columns), _DCT, keep=True)
                found += density[:, :, None, None] * frequencies.astype(np.float32)
        return found

    def _level(self, picture: Picture, head: int) -> float:
        """Return the mean of a head's blended importance over the picture."""
        found = self._map(picture, keep=True)
        *shape, heads = found.shape
        blend = [b * only for b, only in zip(self._blend, _only(head, heads), strict=True)]
        levels = spread(found, blend, *(_places(n, 1, 1) for n in shape))
        return float(levels.mean(dtype=np.float64))

    def _at_macroblocks(
        self, picture: Picture, factors: Sequence[float], *, keep: bool = False
    ) -> FloatMap:
        sides = picture.format.height, picture.format.width
        return self._at(picture, factors, sides, MACROBLOCK, keep=keep)

    def _at(
        self,
        picture: Picture,
        factors: Sequence[float],
        sides: tuple[int, int],
        size: int,
        *,
        keep: bool = False,
    ) -> FloatMap:
        """Return the mean of the sum over heads of blend * factor * importance in square blocks.

        Parameters
        ----------
        picture, keep
            As for `_map`.
        factors
            For each head.
        sides
            Rows and columns of the plane that the blocks are of.
        size
            Of a block.
        """
        blend = [b * factor for b, factor in zip(self._blend, factors, strict=True)]
        found = self._map(picture, keep=keep)
        # Where a block is larger than the map's cells, it is looked at in several places.
        counts = [
            min(_MOST_PLACES, -(-size * cells // samples))
            for cells, samples in zip(found.shape, sides, strict=False)
        ]
        places = [_places(n, size, count) for n, count in zip(sides, counts, strict=True)]
        dense = spread(found, blend, *places)
        if counts == [1, 1]:
            return dense
        rows, columns = (-(-n // size) for n in sides)
        means: FloatMap = dense.reshape(rows, counts[0], columns, counts[1]).mean((1, 3))
        return means

    def _map(self, picture: Picture, *, keep: bool) -> FloatMap:
        """Return what the network says, and keep it for the next question where there is one."""
        seen, found = self._kept
        if seen is not picture or found is None:
            found = self._engine.run(picture)
        self._kept = (picture, found) if keep else (None, None)
        return found

    def _spectra_of(self, form: PictureFormat) -> list[Spectrum]:
        """Return each head's spectrum, in absolute units, where its map says 0."""
        found = self._spectra.get(form)
        if found is None:
            student = self._student
            found = [
                picture_spectrum(correlation, teacher, form)
                for correlation, teacher in zip(
                    student.autocorrelation, student.teachers, strict=True
                )
            ]
            if len(self._spectra) >= _MOST_FORMATS:
                self._spectra.clear()
            self._spectra[form] = found
        return found


def check_head(student: StudentFile, head: str | None, name: str) -> None:
    """Check that a student, of this name, has a head; None is the blend of all of them.

    Raises
    ------
    InputError
        It has none of this name.
    """
    if head is not None and head not in student.heads:
        raise InputError(f"{name}: the student has no head {head!r}: {', '.join(student.heads)}")


def load_student(name: str, *, stills: bool = False) -> StudentAnalyser:
    """Load a student by the name that the command line takes.

    Parameters
    ----------
    name
        ``"student"``, the built-in one, or a path that ends in ``.safetensors``; ``@HEAD`` at the
        end picks the network that it is to stand for.
    stills
        Whether it is for still pictures, not for video: the built-in one has a network for each,
        others serve both.

    Raises
    ------
    InputError
        It has no such head.
    ModelError
        The file is missing or damaged.
    LibraryLoadError
        The library that runs students is missing.
    """
    path = student_path(name, stills=stills)
    if split_student(name)[0] == STUDENT and not path.is_file():
        raise ModelError(
            f"the built-in student {path} is missing: install the package again, or give --model "
            f"{EXACT_MODEL}"
        )
    return StudentAnalyser(read_student(path), name=name, head=split_student(name)[1])


def student_path(name: str, *, stills: bool = False) -> Path:
    """Return the file of a student that is named as for `load_student`."""
    path, _ = split_student(name)
    if path != STUDENT:
        return Path(path)
    return _WEIGHTS / ("student-stills.safetensors" if stills else "student.safetensors")


def _only(head: int, heads: int) -> list[float]:
    return [float(k == head) for k in range(heads)]


def _inside(samples: int, size: int) -> npt.NDArray[np.float64]:
    """Return how many samples of each block of a side lie inside the picture."""
    return np.minimum(size, samples - np.arange(0, samples, size)).astype(np.float64)


def _places(samples: int, size: int, count: int) -> FloatMap:
    """Return the middles of so many equal parts of each block of a side, the side being 1.

    Of the last block only what lies inside is divided.
    """
    parts = (np.arange(count) + 0.5) / count
    places = np.arange(0, samples, size)[:, None] + np.outer(_inside(samples, size), parts)
    return (places.reshape(-1) / samples).astype(np.float32)
