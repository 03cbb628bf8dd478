"""jpegli, Google's encoder with adaptive quantisation, as the wheel of pyjpegli carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from idse.codecs import jpeg
from idse.errors import missing_extra
from idse.evaluation.coders.base import parser
from idse.evaluation.coders.still_jpeg import SingleJpeg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from idse.evaluation.pixels import RGB

try:
    import pyjpegli
except ImportError as error:  # pragma: no cover - depends on the installation
    raise missing_extra("pyjpegli", "peers") from error


@dataclass(frozen=True, kw_only=True)
class Jpegli(SingleJpeg):
    """Option: ``--progressive``.

    pyjpegli writes sequential files in 4:2:0, at every quality. The same coefficients in libjpeg's
    progressive scans are what makes it comparable with encoders that choose those.
    """

    codec: ClassVar = "jpegli"
    code: ClassVar = ("codecs/jpeg",)
    rates: ClassVar = (4.0, 12.0, 24.0, 40.0, 57.0, 74.0, 88.0)

    progressive: bool

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read the options."""
        known = parser(cls.codec)
        known.add_argument("--progressive", action="store_true")
        return cls(**vars(known.parse_args(words)))

    @classmethod
    def version(cls) -> str:
        """Return the version of pyjpegli, which does not tell jpegli's."""
        return f"jpegli in pyjpegli {pyjpegli.__version__}"

    def encode_one(self, rgb: RGB, number: int, analysis: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """Encode by pyjpegli."""
        del analysis
        rows, columns, _ = rgb.shape
        encoded: bytes = pyjpegli.encode(rgb.tobytes(), columns, rows, number)
        if not self.progressive:
            return encoded
        file = jpeg.read(encoded)
        return jpeg.write(file.layout, file.coefficients, file.tables, scans=jpeg.SIMPLE)
