"""How many bytes a JPEG takes, without writing it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from idse.codecs.jpeg import _trellis_raw
from idse.codecs.jpeg.script import Scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.codecs.jpeg.layout import JpegLayout

# SOI, JFIF and EOI; SOF before its components; DRI.
_FRAME_BYTES: Final = 2 + 18 + 2
_SOF_BYTES: Final = 10
_DRI_BYTES: Final = 6
_MAX_INTERVAL: Final = 0xFFFF

Levels = npt.NDArray[np.int16]
Tables = npt.NDArray[np.uint16]


def sequential_script(components: int) -> tuple[Scan, ...]:
    """Return the one scan of a sequential file."""
    return (Scan(tuple(range(components)), 0, 63, 0, 0),)


def restart_interval(layout: JpegLayout, scan: Scan, restart_rows: int) -> int:
    """Return the MCUs between a scan's restart markers, as libjpeg counts them; 0 is none."""
    columns = layout.block_shape(scan.components[0])[1]
    if len(scan.components) > 1:
        horizontal = layout.factors[scan.components[0]][0]
        columns = -(-columns // horizontal)
    return min(restart_rows * columns, _MAX_INTERVAL)


class ScanSize(NamedTuple):
    """Bytes of one scan: its headers (SOS and DHT), and the coded data."""

    header: int
    data: int


def scan_size(
    layout: JpegLayout,
    levels: Levels,
    scan: Scan,
    *,
    progressive: bool,
    interval: int = 0,
    exact: bool = True,
) -> ScanSize:
    """Return the bytes of one scan with the Huffman tables that libjpeg makes for it.

    Parameters
    ----------
    layout
        Of the file.
    levels
        int16 ``(blocks, 64)``: quantised coefficients in natural order, component by component.
    scan
        The scan.
    progressive
        Whether the file is progressive.
    interval
        MCUs between restart markers, or 0.
    exact
        Count restart markers and the bytes that are stuffed behind 0xFF, about 0.3 %, too: more
        than twice the work.
    """
    raw = _trellis_raw.RawScan(len(scan.components), ss=scan.ss, se=scan.se, ah=scan.ah, al=scan.al)
    for i, component in enumerate(scan.components):
        raw.component[i] = component
    header = ctypes.c_int64()
    size = _trellis_raw.library().idse_trellis_scan_bytes(
        ctypes.byref(_trellis_raw.grid(layout)),
        levels.ctypes.data,
        ctypes.byref(raw),
        progressive,
        interval,
        exact,
        ctypes.byref(header),
    )
    return ScanSize(header.value, size - header.value)


def frame_size(layout: JpegLayout, tables: Tables) -> int:
    """Return the bytes of a file without its scans: SOI, JFIF, DQT, SOF and EOI."""
    size = _FRAME_BYTES + _SOF_BYTES + 3 * layout.components
    for i, table in enumerate(tables):
        if i < 2 or not np.array_equal(table, tables[1]):
            size += 5 + (128 if table.max() > 0xFF else 64)
    return size


def file_size(
    layout: JpegLayout,
    levels: Levels,
    tables: Tables,
    scans: Sequence[Scan] | None,
    *,
    restart_rows: int = 0,
    exact: bool = True,
) -> int:
    """Return the bytes of the file that :func:`idse.codecs.jpeg.write` makes, to the byte.

    Parameters
    ----------
    layout
        Of the file.
    levels
        int16 ``(blocks, 64)``: quantised coefficients in natural order, component by component.
    tables
        uint16 ``(components, 8, 8)``.
    scans
        None for one sequential scan, or a script.
    restart_rows
        MCU rows between restart markers; 0 is none.
    exact
        As for :func:`scan_size`; without it the result is a little too low.
    """
    size = frame_size(layout, tables)
    script = sequential_script(layout.components) if scans is None else scans
    progressive = any((scan.ss, scan.se) != (0, 63) for scan in script)
    written = 0
    for scan in script:
        interval = restart_interval(layout, scan, restart_rows)
        # libjpeg tells the interval again where it changes.
        size += _DRI_BYTES * (interval != written)
        written = interval
        size += sum(
            scan_size(layout, levels, scan, progressive=progressive, interval=interval, exact=exact)
        )
    return size
