"""Colour description of a stream as x264 options."""

from __future__ import annotations

from idse.errors import InputError

# Names by code point of ITU-T H.273 (and of FFmpeg's AVCOL_* constants); "" is reserved.
_PRIMARIES = (
    *("", "bt709", "undef", "", "bt470m", "bt470bg", "smpte170m", "smpte240m"),
    *("film", "bt2020", "smpte428", "smpte431", "smpte432"),
)
_TRANSFERS = (
    *("", "bt709", "undef", "", "bt470m", "bt470bg", "smpte170m", "smpte240m"),
    *("linear", "log100", "log316", "iec61966-2-4", "bt1361e", "iec61966-2-1"),
    *("bt2020-10", "bt2020-12", "smpte2084", "smpte428", "arib-std-b67"),
)
_MATRICES = (
    *("GBR", "bt709", "undef", "", "fcc", "bt470bg", "smpte170m", "smpte240m"),
    *("YCgCo", "bt2020nc", "bt2020c", "smpte2085"),
    *("chroma-derived-nc", "chroma-derived-c", "ICtCp"),
)
_UNSPECIFIED = 2


def colour_options(
    *,
    primaries: int = _UNSPECIFIED,
    transfer: int = _UNSPECIFIED,
    matrix: int = _UNSPECIFIED,
    full_range: bool | None = None,
    chroma_location: int = 0,
) -> dict[str, str]:
    """Return the x264 options that carry a colour description, as FFmpeg's wrapper sets them.

    Parameters
    ----------
    primaries, transfer, matrix
        Code points of ITU-T H.273, which are FFmpeg's ``AVCOL_PRI_*``, ``AVCOL_TRC_*`` and
        ``AVCOL_SPC_*``; 2 is unspecified and sets nothing.
    full_range
        None where it is not known.
    chroma_location
        FFmpeg's ``AVCHROMA_LOC_*``: 0 unspecified, 1 left, 2 centre, 3 top left ... 6 bottom.

    Raises
    ------
    InputError
        H.264, as x264 writes it, has no such code point.
    """
    options = {}
    for option, what, code, names in (
        ("colorprim", "colour primaries", primaries, _PRIMARIES),
        ("transfer", "transfer characteristics", transfer, _TRANSFERS),
        ("colormatrix", "colour matrix", matrix, _MATRICES),
    ):
        if not 0 <= code < len(names) or not names[code]:
            raise InputError(f"{what} {code} have no name in x264 (ITU-T H.273 code point)")
        if code != _UNSPECIFIED:
            options[option] = names[code]
    if full_range is not None:
        options["fullrange"] = "on" if full_range else "off"
    if not 0 <= chroma_location <= 6:
        raise InputError(f"chroma location {chroma_location} is not one of 0 to 6")
    if chroma_location:
        options["chromaloc"] = str(chroma_location - 1)
    return options
