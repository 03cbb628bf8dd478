"""jpegli, Google's encoder with adaptive quantisation, as the wheel of pyjpegli carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from idse.errors import missing_extra
from idse.evaluation.coders.base import parser
from idse.evaluation.coders.still_jpeg import StillJpeg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from idse.evaluation.pixels import RGB

try:
    import pyjpegli
except ImportError as error:  # pragma: no cover - depends on the installation
    raise missing_extra("pyjpegli", "peers") from error


@dataclass(frozen=True, kw_only=True)
class Jpegli(StillJpeg):
    """No options: pyjpegli writes sequential files in 4:2:0, at every quality."""

    codec: ClassVar = "jpegli"
    rates: ClassVar = (10.0, 20.0, 34.0, 50.0, 65.0, 79.0, 90.0)

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read the options."""
        return cls(**vars(parser(cls.codec).parse_args(words)))

    @classmethod
    def version(cls) -> str:
        """Return the version of pyjpegli, which does not tell jpegli's."""
        return f"jpegli in pyjpegli {pyjpegli.__version__}"

    def encode_one(self, rgb: RGB, number: int, analysis: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """Encode by pyjpegli."""
        del analysis
        rows, columns, _ = rgb.shape
        encoded: bytes = pyjpegli.encode(rgb.tobytes(), columns, rows, number)
        return encoded
