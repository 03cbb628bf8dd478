"""Pixels and coefficients to JPEG files."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from idse.codecs.jpeg import _raw
from idse.codecs.jpeg.layout import JpegLayout
from idse.codecs.jpeg.markers import density, written_as_they_are
from idse.codecs.jpeg.script import check_complete, simple_script
from idse.codecs.jpeg.tables import checked_tables, standard_table
from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from idse.codecs.jpeg.markers import Marker
    from idse.codecs.jpeg.script import Scan

SIMPLE: Final = "simple"


def encode(
    pixels: npt.NDArray[np.uint8],
    *,
    quality: int | None = None,
    tables: Sequence[npt.ArrayLike] | None = None,
    sampling: str = "4:2:0",
    progressive: bool = False,
    optimise: bool = True,
    restart_rows: int = 0,
    markers: Sequence[Marker] = (),
) -> bytes:
    """Encode pixels as libjpeg-turbo does: the same bytes as its own ``cjpeg``'s.

    Releases the GIL while libjpeg-turbo works, and may be called by many threads at once.

    Parameters
    ----------
    pixels
        uint8, ``(height, width, 3)`` RGB or ``(height, width)`` grey, sides of 1 to 65500.
    quality
        1 to 100, for the standard's tables; or
    tables
        Integer ``(8, 8)`` for each component, natural order, 1 to 65535 (baseline decoders take up
        to 255). One of the two must be given.
    sampling
        Of RGB pixels: ``"4:2:0"``, ``"4:2:2"``, ``"4:4:4"``, or ``"grey"``, which keeps their luma
        only. Grey pixels always make a grey file.
    progressive
        Write libjpeg's progressive script instead of one sequential scan.
    optimise
        Make Huffman tables for the picture instead of using the standard's. Progressive implies it.
    restart_rows
        MCU rows between restart markers; 0 writes none.
    markers
        COM and APPn segments to write; of a JFIF segment the density is taken, Adobe and MPF
        segments are left out.

    Raises
    ------
    InputError
        One of the above is out of range, quoted.
    CodecError
        Out of memory.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in {2, 3} or pixels.shape[2:] not in {(), (3,)}:
        raise InputError(
            f"pixels are {pixels.dtype} {pixels.shape}: JPEG takes uint8 (height, width, 3) or "
            "(height, width)"
        )
    height, width = pixels.shape[:2]
    layout = JpegLayout(width, height, "grey" if pixels.ndim == 2 else sampling)
    if (quality is None) == (tables is None):
        raise InputError("hand in either a quality or tables")
    if quality is not None:
        tables = [standard_table(quality, chroma=i > 0) for i in range(layout.components)]
    script = simple_script(layout.components) if progressive else ()
    settings = _settings(layout, tables or (), script, restart_rows, markers)
    settings.optimise = optimise
    samples = np.ascontiguousarray(pixels)
    colour = _raw.GREY if pixels.ndim == 2 else _raw.RGB
    with _output() as output:
        status = _raw.library().idse_jpeg_encode(
            ctypes.byref(settings), samples.ctypes.data, colour, ctypes.byref(output)
        )
        return _finished(status, output)


def write(
    layout: JpegLayout,
    coefficients: Sequence[npt.NDArray[np.int16]],
    tables: Sequence[npt.ArrayLike],
    *,
    scans: Sequence[Scan] | Literal["simple"] | None = None,
    restart_rows: int = 0,
    markers: Sequence[Marker] = (),
) -> bytes:
    """Write quantised coefficients as a JPEG, with Huffman tables made for them.

    Blocks that only fill the last MCU of a row or a column are made up as libjpeg's encoder does,
    so that coefficients of its own files give its own bytes.

    Releases the GIL while libjpeg-turbo works, and may be called by many threads at once.

    Parameters
    ----------
    layout
        Size and sampling.
    coefficients
        int16 ``(rows, columns, 8, 8)`` for each component, natural order, in the shapes of
        ``layout.block_shape``. DC is -1024 to 1023, AC -1023 to 1023.
    tables
        Integer ``(8, 8)`` for each component, natural order, 1 to 65535 (baseline decoders take up
        to 255). They may be three different ones.
    scans
        None for one sequential scan, ``SIMPLE`` for libjpeg's progressive script, or a script.
    restart_rows
        MCU rows between restart markers; 0 writes none.
    markers
        COM and APPn segments to write; of a JFIF segment the density is taken, Adobe and MPF
        segments are left out.

    Raises
    ------
    InputError
        One of the above is out of range, or the script is not legal or not complete.
    CodecError
        Out of memory.
    """
    arrays = [np.ascontiguousarray(array) for array in coefficients]
    expected = [(*layout.block_shape(i), 8, 8) for i in range(layout.components)]
    if [a.shape for a in arrays] != expected or any(a.dtype != np.int16 for a in arrays):
        told = ", ".join(f"{a.dtype} {a.shape}" for a in arrays)
        raise InputError(f"coefficients are {told}: {layout} takes int16 of {expected}")
    if scans is None:
        script: Sequence[Scan] = ()
    else:
        script = simple_script(layout.components) if scans == SIMPLE else list(scans)
        check_complete(script, layout.components)
    settings = _settings(layout, tables, script, restart_rows, markers)
    settings.optimise = True
    pointers = _raw.Pointers(*(array.ctypes.data for array in arrays))
    with _output() as output:
        status = _raw.library().idse_jpeg_write(
            ctypes.byref(settings), pointers, ctypes.byref(output)
        )
        return _finished(status, output)


def _settings(
    layout: JpegLayout,
    tables: Sequence[npt.ArrayLike],
    script: Sequence[Scan],
    restart_rows: int,
    markers: Sequence[Marker],
) -> _raw.Settings:
    """Return the settings; the markers' data stays the caller's."""
    if not 0 <= restart_rows <= 0xFFFF:
        raise InputError(f"restart_rows is {restart_rows}: it must be 0 to 65535")
    kept, said = written_as_they_are(markers), density(markers)
    settings = _raw.Settings(
        width=layout.width,
        height=layout.height,
        components=layout.components,
        restart_rows=restart_rows,
        scan_count=len(script),
        jfif_minor=said.minor,
        density_unit=said.unit,
        density_x=said.x,
        density_y=said.y,
        marker_count=len(kept),
    )
    for i, (horizontal, vertical) in enumerate(layout.factors):
        settings.horizontal[i], settings.vertical[i] = horizontal, vertical
    for i, table in enumerate(checked_tables(tables, layout.components)):
        settings.tables[i] = _raw.Table(*table.ravel().tolist())
    settings.scans = (_raw.Scan * len(script))(*map(_raw_scan, script))
    settings.markers = (_raw.Marker * len(kept))(*map(_raw_marker, kept))
    return settings


def _raw_scan(scan: Scan) -> _raw.Scan:
    raw = _raw.Scan(len(scan.components), ss=scan.ss, se=scan.se, ah=scan.ah, al=scan.al)
    for i, component in enumerate(scan.components[: _raw.COMPONENTS]):
        raw.component[i] = component
    return raw


def _raw_marker(marker: Marker) -> _raw.Marker:
    data = ctypes.cast(ctypes.c_char_p(marker.data), ctypes.c_void_p)
    return _raw.Marker(marker.code, len(marker.data), data)


@contextmanager
def _output() -> Iterator[_raw.Output]:
    """Yield a structure for a file in C's memory, which ends with the context."""
    output = _raw.Output()
    try:
        yield output
    finally:
        _raw.library().idse_jpeg_free(ctypes.byref(output))


def _finished(status: int, output: _raw.Output) -> bytes:
    if status != _raw.OK:
        raise _raw.error(status, "cannot write this JPEG", output.message)
    return ctypes.string_at(output.data, output.size)
