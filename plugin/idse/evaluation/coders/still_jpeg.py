"""What all JPEG encoders have in common: images in, files out, judged as Pillow decodes them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from idse.errors import InputError
from idse.evaluation.coders.base import Coder
from idse.evaluation.fingerprint import code_digest
from idse.evaluation.pixels import RGB24, decode_jpegs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from idse.evaluation.pixels import RGB
    from idse.evaluation.sources import Images, Source
    from idse.picture import Picture

SAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")


class StillJpeg(Coder):
    """An encoder of JPEG files.

    Attributes
    ----------
    code
        Parts of the package, beside the encoder's own module, that have a say in an encode.
    """

    language: ClassVar = "an encoder of JPEG"
    rate_name: ClassVar = "quality"
    pix_fmts: ClassVar = (RGB24,)
    suffix: ClassVar = ".jpg"
    decoder: ClassVar = "Pillow (libjpeg-turbo)"
    code: ClassVar[tuple[str, ...]] = ()

    def key(self, source: Source) -> tuple[str, ...]:
        """Return hashes of library and code."""
        del source
        own = type(self).__module__.rpartition(".")[2]
        files = (f"evaluation/coders/{name}.py" for name in (own, "still_jpeg"))
        return self.codec, self.version(), code_digest((*files, *self.code))

    def size(self, data: bytes) -> int:
        """Return the bytes of the file."""
        return len(data)

    def decode(self, files: Sequence[bytes], source: Images) -> Iterator[Picture]:
        """Decode by Pillow."""
        return decode_jpegs(files, source)


class SingleJpeg(StillJpeg):
    """An encoder that makes each file by itself, from a quality."""

    def encode(
        self, source: Images, rate: float, analysis: Mapping[str, npt.NDArray[Any]]
    ) -> list[bytes]:
        """Encode every image by itself."""
        return [self.encode_one(rgb, quality(rate), analysis) for rgb in source.pixels()]

    @abstractmethod
    def encode_one(self, rgb: RGB, number: int, analysis: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """Encode one image at a quality from 1 to 100."""


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how chroma is sampled."""
    parser.add_argument("--sampling", choices=SAMPLINGS, default=SAMPLINGS[0])


def quality(rate: float) -> int:
    """Return a rate as the whole number that JPEG encoders take for a quality.

    Raises
    ------
    InputError
        It is none from 1 to 100.
    """
    if not float(rate).is_integer() or not 1 <= rate <= 100:
        raise InputError(f"quality {rate:g} must be a whole number from 1 to 100")
    return int(rate)
