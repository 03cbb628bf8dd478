"""mozjpeg with everything that makes its files smaller, as the wheel of libvips carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from idse.errors import missing_extra
from idse.evaluation.coders.base import parser
from idse.evaluation.coders.still_jpeg import SingleJpeg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from idse.evaluation.pixels import RGB

try:
    import pyvips
except ImportError as error:  # pragma: no cover - depends on the installation
    raise missing_extra("pyvips-binary", "peers") from error

# mozjpeg's own choice (after ImageMagick); 0 are the standard's tables.
_DEFAULT_TABLE, _TABLES = 3, range(9)
# libvips knows no 4:2:2.
_SUBSAMPLING = {"4:2:0": "on", "4:4:4": "off"}


@dataclass(frozen=True, kw_only=True)
class Mozjpeg(SingleJpeg):
    """Options: ``--sampling 4:2:0``, ``--quant-table 3``, ``--baseline``.

    Trellis quantisation, overshooting of edges at black and white, and progressive scans chosen for
    the image, unless ``baseline`` asks for a sequential file.
    """

    codec: ClassVar = "mozjpeg"
    rates: ClassVar = (12.0, 22.0, 35.0, 50.0, 65.0, 79.0, 90.0)

    sampling: str
    quant_table: int
    baseline: bool

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read the options."""
        known = parser(cls.codec)
        known.add_argument("--sampling", choices=_SUBSAMPLING, default="4:2:0")
        known.add_argument("--quant-table", type=int, choices=_TABLES, default=_DEFAULT_TABLE)
        known.add_argument("--baseline", action="store_true")
        return cls(**vars(known.parse_args(words)))

    @classmethod
    def version(cls) -> str:
        """Return the version of libvips, which does not tell mozjpeg's."""
        return f"mozjpeg in libvips {'.'.join(str(pyvips.version(part)) for part in range(3))}"

    def encode_one(self, rgb: RGB, number: int, analysis: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """Encode by libvips."""
        del analysis
        rows, columns, bands = rgb.shape
        image = pyvips.Image.new_from_memory(rgb.tobytes(), columns, rows, bands, "uchar")
        encoded: bytes = image.copy(interpretation="srgb").jpegsave_buffer(
            Q=number,
            optimize_coding=True,
            interlace=not self.baseline,
            optimize_scans=not self.baseline,
            trellis_quant=True,
            overshoot_deringing=True,
            quant_table=self.quant_table,
            subsample_mode=_SUBSAMPLING[self.sampling],
            keep="none",
        )
        return encoded
