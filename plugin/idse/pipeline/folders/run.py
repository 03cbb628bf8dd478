"""A folder of pictures to a folder of JPEGs, in several processes, and again where it was left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idse import __version__
from idse.codecs.jpeg import library_version
from idse.errors import InputError, OutputError
from idse.learned.student.analyser import student_path
from idse.pipeline.folders.files import find_pictures, output_names
from idse.pipeline.folders.manifest import Entry, Manifest
from idse.pipeline.folders.pool import Pool
from idse.pipeline.folders.report import FolderReport, Row
from idse.pipeline.folders.work import Result, Task, failed, shared_scale, start, work
from idse.pipeline.images.network import Networks
from idse.vision.registry import is_student

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from idse.pipeline.folders.files import Found
    from idse.pipeline.images.options import ImageSteering, JpegOptions

logger = logging.getLogger(__name__)

# Pictures on which the scale that a set shares is found.
_SAMPLE = 32
_LOST = "the process that encoded it died (out of memory?)"


@dataclass(frozen=True, kw_only=True)
class FolderProgress:
    """How far a run is.

    Attributes
    ----------
    phase
        ``"measuring"`` or ``"encoding"``.
    done, total
        Pictures; those that were there before are in neither.
    kept, failed
        Pictures that were there before, and that could not be encoded.
    bytes
        Of all that was encoded in this run.
    """

    phase: str
    done: int
    total: int
    kept: int = 0
    failed: int = 0
    bytes: int = 0


class FolderRun:
    """One run over a folder.

    Parameters
    ----------
    source, target
        Folders. Subfolders of the source are mirrored.
    jpeg
        What every file is asked to be. A quality, steered by one network, is one scale for the
        whole set: easy pictures give their bits to hard ones.
    steering
        Networks, by name; None for stock libjpeg-turbo.
    jobs
        Processes, >= 1; one works in this one.
    overwrite
        Replace files in the target that were made otherwise.
    progress
        Is told how far it is.

    Raises
    ------
    InputError
        The folders cannot be read, or lie in each other in a way that outputs would be inputs.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        *,
        jpeg: JpegOptions,
        steering: ImageSteering | None,
        jobs: int = 1,
        overwrite: bool = False,
        progress: Callable[[FolderProgress], None] | None = None,
    ) -> None:
        if jobs < 1:
            raise InputError(f"{jobs} jobs: give at least 1")
        _check_folders(source, target)
        self._source = source
        self._target = target
        self._jpeg = jpeg
        self._steering = steering
        self._overwrite = overwrite
        self._progress = progress
        self._pool: Pool[Task, Result] = Pool(work, jobs=jobs, start=start, arguments=(steering,))

    def run(self) -> FolderReport:
        """Encode what is not there yet.

        Raises
        ------
        InputError
            There is no picture, or outputs are there that were made otherwise.
        OutputError
            The disk is full, or another run writes to the target.
        """
        begin = time.monotonic()
        found = find_pictures(self._source, leave_out=self._target)
        if not found.pictures:
            raise InputError(f"{self._source} holds no picture ({found.others} other files)")
        # Warnings go into the rows, and one sums them up.
        package = logging.getLogger("idse")
        level = package.level
        try:
            with Manifest(self._target) as manifest:
                rows = self._encode(found, manifest)
        finally:
            package.setLevel(level)
        report = FolderReport(
            rows=tuple(sorted(rows, key=lambda row: row.source)),
            seconds=time.monotonic() - begin,
            asked=self._jpeg.target,
            model=None if self._steering is None else self._steering.name,
            others=found.others,
        )
        if report.unsteered:
            first = next(row for row in report.rows if row.steered is False)
            logger.warning(
                "%d of %d pictures were not steered; %s",
                report.unsteered,
                len(report.rows),
                first.warning,
            )
        return report

    def _encode(self, found: Found, manifest: Manifest) -> list[Row]:
        names = output_names(found.pictures)
        settings = self._settings()
        rows, missing = [], []
        for path in found.pictures:
            try:
                entry = self._entry(path, names[path], settings)
            except OSError as error:
                task = self._task(path, names[path], None)
                rows.append(failed(task, f"cannot read {path}: {error.strerror}"))
                continue
            known = manifest.done(entry)
            if known is None:
                missing.append((path, entry))
            else:
                rows.append(Row(**known | {"status": "kept"}))
        self._check_replaced(missing, manifest)
        if missing and self._steering is not None:
            Networks(self._steering)  # what is wrong with them is one error, not one a picture
        scale = self._scale([path for path, _ in missing], manifest, settings)
        kept = len(rows)
        entries = {}

        def tasks() -> Iterator[Task]:
            for path, entry in missing:
                manifest.add(entry)
                entries[entry.source] = entry
                yield self._task(path, names[path], scale)

        made = 0
        with contextlib.closing(self._pool.run(tasks())) as results:
            for task, result in results:
                row = failed(task, _LOST) if result is None or result.row is None else result.row
                if result is not None and result.fatal:
                    raise OutputError(row.error)
                if row.status == "encoded":
                    manifest.add(entries[task.name].with_row(asdict(row)))
                    made += row.bytes or 0
                rows.append(row)
                self._tell(
                    FolderProgress(
                        phase="encoding",
                        done=len(rows) - kept,
                        total=len(missing),
                        kept=kept,
                        failed=sum(row.status == "failed" for row in rows),
                        bytes=made,
                    )
                )
        return rows

    def _tell(self, progress: FolderProgress) -> None:
        if self._progress is not None:
            self._progress(progress)

    def _task(self, path: Path, output: Path, scale: float | None) -> Task:
        return Task(
            source=self._source / path,
            target=self._target / output,
            name=str(path),
            output=str(output),
            jpeg=self._jpeg,
            scale=scale,
        )

    def _entry(self, path: Path, output: Path, settings: str) -> Entry:
        facts = (self._source / path).stat()
        return Entry(
            output=str(output),
            source=str(path),
            source_bytes=facts.st_size,
            source_changed=facts.st_mtime_ns,
            settings=settings,
        )

    def _settings(self) -> str:
        """Return a hash of what every output depends on beside its source."""
        steering = None if self._steering is None else asdict(self._steering)
        files = [] if self._steering is None else [_file_facts(m) for m in self._steering.models]
        known = [asdict(self._jpeg), steering, files, __version__, library_version()]
        return hashlib.sha256(json.dumps(known, default=str).encode()).hexdigest()[:32]

    def _check_replaced(self, missing: list[tuple[Path, Entry]], manifest: Manifest) -> None:
        """Refuse to replace what was made otherwise, before any work is put into it."""
        if self._overwrite:
            return
        stale = [
            entry.output
            for _, entry in missing
            if (self._target / entry.output).exists() and not manifest.ours(entry)
        ]
        if stale:
            others = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
            raise InputError(
                f"{self._target / stale[0]}{others} would be replaced: made with other settings, "
                "or not by this command; give --overwrite, or name another folder"
            )

    def _scale(self, missing: list[Path], manifest: Manifest, settings: str) -> float | None:
        """Return the scale that the set shares, if it does: a quality, told by one network."""
        bounded = self._jpeg.accuracy or self._jpeg.bpp or self._jpeg.target_bytes
        if self._steering is None or len(self._steering.models) != 1 or bounded or not missing:
            return None
        known = manifest.scale(settings)
        if known is not None:
            return known
        sample = missing[:: -(-len(missing) // _SAMPLE)]
        tasks = [
            Task(source=self._source / p, target=None, name=str(p), output="", jpeg=self._jpeg)
            for p in sample
        ]
        scales: dict[str, float] = {}
        with contextlib.closing(self._pool.run(tasks)) as results:
            for done, (task, result) in enumerate(results, 1):
                if result is not None and result.scale is not None:
                    scales[task.name] = result.scale
                self._tell(FolderProgress(phase="measuring", done=done, total=len(sample)))
        # In one order, so that the sum's last digits do not depend on which came first.
        scale = shared_scale([scales[name] for name in sorted(scales)])
        if scale is not None:
            manifest.add_scale(settings, scale)
        return scale


def _check_folders(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise InputError(f"{source} is no folder")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is no folder: {source} is one, and needs one to be written to")
    inner, outer = source.resolve(), target.resolve()
    if inner.is_relative_to(outer):
        raise InputError(f"{target} holds the pictures of {source}: name another folder to write")


def _file_facts(model: object) -> tuple[object, ...]:
    """Return what tells one state of a model's file from another, where it is a file."""
    name = str(model).partition("=")[0]
    path = student_path(name, stills=True) if is_student(name) else Path(name)
    return (str(model), path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else ()
