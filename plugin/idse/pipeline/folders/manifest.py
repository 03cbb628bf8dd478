"""What is known of the files in a folder that was written to: the base of going on with it later.

One JSON object a line in a hidden file, added to as pictures are done, so that whatever ends a run,
the next one knows what is there. Of two lines about one file the later one holds.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from idse.errors import OutputError
from idse.files import output_errors

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

NAME = ".idse-image.jsonl"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One output.

    Attributes
    ----------
    output
        Path, relative to the folder.
    source
        Path of its source, relative to the folder of sources.
    source_bytes, source_changed
        Size of the source, and its time of modification in nanoseconds.
    settings
        Hash of everything else that the output depends on.
    row
        What the report says about it; None as long as it is not complete.
    """

    output: str
    source: str
    source_bytes: int
    source_changed: int
    settings: str
    row: dict[str, Any] | None = None

    def same_origin(self, other: Entry) -> bool:
        """Tell whether both are made of one state of one source with the same settings."""
        return (self.source, self.source_bytes, self.source_changed, self.settings) == (
            other.source,
            other.source_bytes,
            other.source_changed,
            other.settings,
        )

    def with_row(self, row: dict[str, Any]) -> Entry:
        """Return the entry of the output when it is complete."""
        return replace(self, row=row)


class Manifest:
    """The record of a folder, locked as long as it is open.

    Parameters
    ----------
    folder
        That is written to; made if need be.

    Raises
    ------
    OutputError
        The folder cannot be written, or another run writes to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[str, Entry] = {}
        self._scales: dict[str, float] = {}
        path = folder / NAME
        with output_errors(path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise OutputError(f"another run writes to {folder}: wait for it to end") from error
        self._read()

    def _read(self) -> None:
        self._file.seek(0)
        text = self._file.read()
        if text and not text.endswith("\n"):
            self._write("\n")  # a run was cut off while it wrote its last line
        for line in text.splitlines():
            try:
                record = json.loads(line)
                if "scale" in record:
                    self._scales[record["settings"]] = float(record["scale"])
                else:
                    entry = Entry(**record)
                    self._entries[entry.output] = entry
            except (ValueError, TypeError, KeyError):
                continue  # a line that was cut off: its file counts as not made by us

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def done(self, wanted: Entry) -> dict[str, Any] | None:
        """Return the row of an output that is complete and made just so; None where it is not."""
        known = self._entries.get(wanted.output)
        if known is None or known.row is None or not known.same_origin(wanted):
            return None
        try:
            size = (self._folder / wanted.output).stat().st_size
        except OSError:
            return None
        return known.row if size == known.row.get("bytes") else None

    def ours(self, wanted: Entry) -> bool:
        """Tell whether an output was made, or begun, with these settings, of whatever source."""
        known = self._entries.get(wanted.output)
        return known is not None and known.settings == wanted.settings

    def add(self, entry: Entry) -> None:
        """Record an output: before it is made, and with its row when it is complete.

        Raises
        ------
        OutputError
            The disk is full.
        """
        self._entries[entry.output] = entry
        self._write(json.dumps(asdict(entry)) + "\n")

    def scale(self, settings: str) -> float | None:
        """Return the scale that was found for these settings, if any."""
        return self._scales.get(settings)

    def add_scale(self, settings: str, scale: float) -> None:
        """Record the scale of these settings, so that what is added to the folder gets it, too.

        Raises
        ------
        OutputError
            The disk is full.
        """
        self._scales[settings] = scale
        self._write(json.dumps({"settings": settings, "scale": scale}) + "\n")

    def _write(self, text: str) -> None:
        with output_errors(self._folder / NAME):
            self._file.seek(0, os.SEEK_END)
            self._file.write(text)
            self._file.flush()
