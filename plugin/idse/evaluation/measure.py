"""Measurements of decoded pictures against their sources, kept on disk between runs.

Records are ``.npz`` files of plain arrays (no pickle), written whole or not at all.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.errors import InputError
from idse.evaluation import metrics
from idse.evaluation.average_precision import Matches, match
from idse.evaluation.filtering import resized
from idse.evaluation.judge import output_distance
from idse.files import open_atomically, write_atomically
from idse.vision.heads import Detections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from idse.evaluation.judge import Judge, Observation
    from idse.picture import Picture

FloatArray = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]

_NOTHING = np.zeros(0, np.float32)


def _save(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # no array is named allow_pickle
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def _load(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _pack(found: Sequence[Detections]) -> Arrays:
    return {
        "count": np.array([len(item) for item in found], np.int64),
        "boxes": np.concatenate([item.boxes for item in found]),
        "scores": np.concatenate([item.scores for item in found]),
        "classes": np.concatenate([item.classes for item in found]),
    }


def _unpack(arrays: Arrays) -> list[Detections]:
    ends = np.cumsum(arrays["count"])[:-1]
    columns = [np.split(arrays[name], ends) for name in ("boxes", "scores", "classes")]
    return [Detections(*row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdicts:
    """What one judge says of a row of pictures.

    Attributes
    ----------
    found
        Detections of every picture; empty where the judge detects nothing.
    top1
        int64 ``(n,)``: likeliest class; empty where the judge does not classify.
    distance
        float64 ``(n,)``: squared distance of the features from the source's; empty for the
        source itself.
    """

    found: list[Detections] = field(default_factory=list)
    top1: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    distance: FloatArray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, seen: Sequence[Observation], distance: Sequence[float] = ()) -> Verdicts:
        """Collect the task results of observations."""
        return cls(
            found=[o.found for o in seen if o.found is not None],
            top1=np.array([o.top1 for o in seen if o.top1 is not None], np.int64),
            distance=np.array(distance, np.float64),
        )

    def arrays(self, prefix: str) -> Arrays:
        """Return what :meth:`from_arrays` reads, names starting with ``prefix``."""
        packed = _pack(self.found) if self.found else {}
        packed |= {"top1": self.top1, "distance": self.distance}
        return {f"{prefix}{name}": value for name, value in packed.items()}

    @classmethod
    def joined(cls, parts: Sequence[Verdicts]) -> Verdicts:
        """Return the verdicts on several rows of pictures as those on one."""
        return cls(
            found=[found for part in parts for found in part.found],
            top1=np.concatenate([part.top1 for part in parts]),
            distance=np.concatenate([part.distance for part in parts]),
        )

    @classmethod
    def from_arrays(cls, arrays: Arrays, prefix: str) -> Verdicts:
        """Undo :meth:`arrays`."""
        mine = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        found = _unpack(mine) if "count" in mine else []
        return cls(found=found, top1=mine["top1"], distance=mine["distance"])


class Reference:
    """What a judge saw in the sources: computed once, shared by processes through a mapped file.

    Parameters
    ----------
    stem
        ``stem``.f32 holds the features, one picture's after the other's (each may have another
        number of them), ``stem``.npz the rest.
    """

    def __init__(self, stem: Path) -> None:
        arrays = _load(stem.with_suffix(".npz"))
        self.verdicts = Verdicts.from_arrays(arrays, "source/")
        self._ends = np.cumsum(arrays["sizes"])
        self._features = np.memmap(stem.with_suffix(".f32"), np.float32, mode="r")

    def __len__(self) -> int:
        return len(self._ends)

    def features(self, index: int) -> npt.NDArray[np.float32]:
        """Return the features of one source picture."""
        start = self._ends[index - 1] if index else 0
        values: npt.NDArray[np.float32] = self._features[start : self._ends[index]]
        return values

    @staticmethod
    def write(stem: Path, judge: Judge, pictures: Iterable[Picture]) -> None:
        """Judge the sources and write both files; the second one makes the first one valid."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        seen, sizes = [], []
        with open_atomically(stem.with_suffix(".f32")) as file:
            for picture in pictures:
                observation = judge.observe(picture)
                file.write(observation.features.tobytes())
                sizes.append(observation.features.size)
                seen.append(replace(observation, features=_NOTHING))
        if not seen:
            raise InputError(f"judge {judge.name} was given no source picture")
        arrays = Verdicts.of(seen).arrays("source/") | {"sizes": np.array(sizes, np.int64)}
        _save(stem.with_suffix(".npz"), arrays)


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """One configuration at one rate, picture by picture.

    Attributes
    ----------
    psnr_y
        float64 ``(n,)``, dB; empty where only judges were asked.
    ms_ssim
        float64 ``(n,)``; NaN where it was not measured; empty as ``psnr_y``.
    judges
        What each judge says, by its name.
    """

    psnr_y: FloatArray
    ms_ssim: FloatArray
    judges: dict[str, Verdicts]

    def write(self, path: Path) -> None:
        """Write everything to one ``.npz`` file."""
        arrays: Arrays = {"psnr_y": self.psnr_y, "ms_ssim": self.ms_ssim}
        arrays["names"] = np.array(list(self.judges))
        for name, verdicts in self.judges.items():
            arrays |= verdicts.arrays(f"judge/{name}/")
        _save(path, arrays)

    @classmethod
    def read(cls, path: Path) -> Measurement:
        """Read what :meth:`write` wrote."""
        arrays = _load(path)
        return cls(
            psnr_y=arrays["psnr_y"],
            ms_ssim=arrays["ms_ssim"],
            judges={
                str(name): Verdicts.from_arrays(arrays, f"judge/{name}/")
                for name in arrays["names"]
            },
        )

    def parts(self, judged: Mapping[str, Path], eye: Path) -> Iterator[tuple[Measurement, Path]]:
        """Take it apart into what each judge says, and what was measured for the eye."""
        nothing = np.zeros(0)
        for name, verdicts in self.judges.items():
            part = Measurement(psnr_y=nothing, ms_ssim=nothing, judges={name: verdicts})
            yield part, judged[name]
        if self.psnr_y.size:
            yield replace(self, judges={}), eye

    @classmethod
    def merged(cls, parts: Sequence[Measurement]) -> Measurement:
        """Return measurements of the same pictures by different judges, or for the eye, as one."""
        eye = max(parts, key=lambda part: part.psnr_y.size)
        judges = {name: verdicts for part in parts for name, verdicts in part.judges.items()}
        return cls(psnr_y=eye.psnr_y, ms_ssim=eye.ms_ssim, judges=judges)

    @classmethod
    def joined(cls, parts: Sequence[Measurement]) -> Measurement:
        """Return measurements of several rows of pictures, by the same judges, as that of one."""
        return cls(
            psnr_y=np.concatenate([part.psnr_y for part in parts]),
            ms_ssim=np.concatenate([part.ms_ssim for part in parts]),
            judges={
                name: Verdicts.joined([part.judges[name] for part in parts])
                for name in parts[0].judges
            },
        )


def measure(
    pairs: Iterable[tuple[Picture, Picture]],
    judges: Mapping[str, tuple[Judge, Reference]],
    *,
    eye: bool = True,
    ms_ssim_every: int = 1,
) -> Measurement:
    """Measure decoded pictures.

    Parameters
    ----------
    pairs
        ``(source, decoded)``, in the order that the references were made in. A decoded picture of
        another size is compared after bicubic scaling to the source's, and judged as it is.
    judges
        Judges with what they saw in the sources.
    eye
        Whether PSNR and MS-SSIM are measured.
    ms_ssim_every
        MS-SSIM is slow and changes little from frame to frame: measure every n-th picture.

    Raises
    ------
    InputError
        More or fewer pictures than the references hold.
    """
    psnr: list[float] = []
    similarity: list[float] = []
    seen: dict[str, list[Observation]] = {name: [] for name in judges}
    distance: dict[str, list[float]] = {name: [] for name in judges}
    count = 0
    for index, (source, decoded) in enumerate(pairs):
        count += 1
        form = source.format
        same = (decoded.format.width, decoded.format.height) == (form.width, form.height)
        shown = decoded if same else resized(decoded, form.width, form.height)
        if eye:
            luma = source.planes[0], shown.planes[0]
            psnr.append(metrics.psnr(*luma, bit_depth=form.bit_depth))
            wanted = index % ms_ssim_every == 0 and min(luma[0].shape) >= metrics.MS_SSIM_MIN_SIZE
            found = metrics.ms_ssim(*luma, bit_depth=form.bit_depth) if wanted else np.nan
            similarity.append(found)
        for name, (judge, reference) in judges.items():
            if index >= len(reference):
                raise InputError(f"{index + 1} decoded pictures for {len(reference)} sources")
            # Where rounding gives the network an input of another size, features do not compare.
            fits = judge.input_size(decoded.format) == judge.input_size(form)
            observation = judge.observe(decoded if fits else shown, boxes_in=form)
            seen[name].append(replace(observation, features=_NOTHING))
            distance[name].append(output_distance(reference.features(index), observation.features))
    lengths = {len(reference) for _, reference in judges.values()}
    if lengths - {count}:
        raise InputError(f"{count} decoded pictures for {sorted(lengths)} sources")
    return Measurement(
        psnr_y=np.array(psnr),
        ms_ssim=np.array(similarity),
        judges={name: Verdicts.of(seen[name], distance[name]) for name in judges},
    )


def label_matches(labels: Sequence[Detections], decoded: Verdicts) -> list[Matches]:
    """Match what a judge finds in decoded pictures to their true boxes or pseudo-labels."""
    return [match(truth, found) for truth, found in zip(labels, decoded.found, strict=True)]


def top1_agreement(source: Verdicts, decoded: Verdicts) -> FloatArray:
    """Return 1 for every picture whose likeliest class is still that of the source, else 0."""
    if source.top1.shape != decoded.top1.shape:
        raise InputError(f"{source.top1.size} and {decoded.top1.size} classes cannot be compared")
    return np.asarray(source.top1 == decoded.top1, np.float64)
