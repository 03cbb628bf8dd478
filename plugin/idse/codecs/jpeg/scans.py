"""The choice of a progressive file's scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from idse.codecs.jpeg.script import Scan, simple_script

if TYPE_CHECKING:
    from idse.codecs.jpeg.quantise import Quantised


def best_scans(quantised: Quantised) -> list[Scan]:
    """Return the script that makes the smallest progressive file.

    Parameters
    ----------
    quantised
        Coefficients of the file.
    """
    components = range(quantised.layout.components)
    plain = [
        Scan(tuple(components), 0, 0, 0, 0),
        *(Scan((i,), *band, 0, 0) for i in components for band in ((1, 8), (9, 63))),
    ]
    scripts = [plain, list(simple_script(len(components)))]
    return min(scripts, key=quantised.size)
