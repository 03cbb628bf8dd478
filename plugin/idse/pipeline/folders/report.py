"""What an encode of a folder did: totals as JSON, and a row per picture as CSV or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from idse.errors import InputError, missing_extra

KINDS = (".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One picture of a folder.

    Attributes
    ----------
    source, output
        Relative to the folder that is read, and to the one that is written; no output where the
        picture failed.
    status
        ``"encoded"``, ``"kept"`` from an earlier run, or ``"failed"``.
    error
        Why it failed; empty otherwise.
    width, height, source_bytes, bytes, bpp, steered, scale, quality, agreement, sampling, codec,
    seconds, warning
        As in `idse.pipeline.images.report.ImageReport`; None where it failed.
    """

    source: str
    output: str | None
    status: str
    width: int | None = None
    height: int | None = None
    source_bytes: int | None = None
    bytes: int | None = None
    bpp: float | None = None
    steered: bool | None = None
    scale: float | None = None
    quality: int | None = None
    agreement: float | None = None
    sampling: str | None = None
    codec: str | None = None
    seconds: float | None = None
    warning: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class FolderReport:
    """What happened to a folder.

    Attributes
    ----------
    rows
        A picture each, by path.
    seconds
        Wall time.
    asked, model
        What said how large files get, and the networks that steered them.
    others
        Files that were no pictures, and were left alone.
    """

    rows: tuple[Row, ...]
    seconds: float
    asked: str
    model: str | None
    others: int

    @property
    def failed(self) -> tuple[Row, ...]:
        """Those that could not be encoded."""
        return tuple(row for row in self.rows if row.status == "failed")

    @property
    def unsteered(self) -> int:
        """How many became stock libjpeg-turbo's because a network failed on them."""
        if self.model is None:
            return 0
        return sum(row.steered is False for row in self.rows)

    def summary(self) -> dict[str, int | float | str | None]:
        """Return the totals."""
        counts = Counter(row.status for row in self.rows)
        good = [row for row in self.rows if row.bytes is not None]
        return {
            "pictures": len(self.rows),
            "encoded": counts["encoded"],
            "kept": counts["kept"],
            "failed": counts["failed"],
            "unsteered": self.unsteered,
            "other_files": self.others,
            "source_bytes": sum(row.source_bytes or 0 for row in good),
            "bytes": sum(row.bytes or 0 for row in good),
            "seconds": self.seconds,
            "asked": self.asked,
            "model": self.model,
        }

    def to_json(self) -> str:
        """Return totals and rows as one JSON object over several lines."""
        rows = [asdict(row) for row in self.rows]
        return json.dumps(self.summary() | {"rows": rows}, indent=2) + "\n"

    def table(self, path: str) -> bytes:
        """Return the rows as a file whose kind its name says: ``.csv`` or ``.parquet``.

        Raises
        ------
        InputError
            The name ends otherwise.
        MissingExtraError
            Parquet, and the package ``pyarrow`` is not installed.
        """
        check_table(path)
        names = [field.name for field in fields(Row)]
        if Path(path).suffix.lower() == ".csv":
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, names)
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)
            # Names of files are bytes, and may be none of UTF-8.
            return text.getvalue().encode(errors="surrogateescape")
        return _parquet(names, self.rows)


def check_table(path: str) -> None:
    """Check that a table of this name can be written, before any work is put into it.

    Raises
    ------
    InputError, MissingExtraError
        As `FolderReport.table`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in KINDS:
        raise InputError(f"report {path} is none of {', '.join(KINDS)}: the name's ending decides")
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise missing_extra("pyarrow", "report") from error


def _parquet(names: list[str], rows: tuple[Row, ...]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    # The types are told: a column in which nothing is known yet would else have none.
    kinds = {
        "int | None": pa.int64(),
        "float | None": pa.float64(),
        "bool | None": pa.bool_(),
    }
    schema = pa.schema(
        [(field.name, kinds.get(str(field.type), pa.string())) for field in fields(Row)]
    )
    columns = {name: [_storable(getattr(row, name)) for row in rows] for name in names}
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns, schema=schema), buffer)
    return buffer.getvalue()


def _storable(value: object) -> object:
    """Return text that is Unicode: a name of a file that is not gets backslashes."""
    if not isinstance(value, str):
        return value
    return value.encode(errors="surrogateescape").decode(errors="backslashreplace")
