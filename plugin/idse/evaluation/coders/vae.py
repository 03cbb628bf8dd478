"""The learned picture codec, by its models' real files.

A rate is bits per pixel of the file, header and all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from idse import __version__
from idse.codecs import vae
from idse.errors import InputError
from idse.evaluation.coders.base import Coder, parser
from idse.evaluation.fingerprint import code_digest
from idse.evaluation.pixels import RGB24, jfif_picture
from idse.pipeline.images.vae import SUFFIX, codec_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from idse.evaluation.sources import Images, Source
    from idse.picture import Picture

_CODE = ("codecs/vae", "learned/vae", "pipeline/images/vae.py", "evaluation/coders/vae.py")


@dataclass(frozen=True, kw_only=True)
class Vae(Coder):
    """Options: ``--vae-model NAME``, may be repeated; by default those that came with idse.

    Attributes
    ----------
    models
        Names, or paths of files; each picture takes the one that promises most at the rate.
    """

    codec: ClassVar = "vae"
    language: ClassVar = "the learned picture codec"
    rate_name: ClassVar = "bits per pixel"
    rates: ClassVar = (0.06, 0.12, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    pix_fmts: ClassVar = (RGB24,)
    suffix: ClassVar = SUFFIX
    decoder: ClassVar = "idse decode"

    models: tuple[str, ...]

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read the options."""
        known = parser(cls.codec)
        known.add_argument("--vae-model", action="append", default=[])
        return cls(models=tuple(known.parse_args(words).vae_model))

    @classmethod
    def version(cls) -> str:
        """Return the version of the codec."""
        return f"idse {__version__}"

    def key(self, source: Source) -> tuple[str, ...]:
        """Return hashes of code and models."""
        del source
        models = [network.identity.hex() for network in codec_of(self.models).networks()]
        return self.codec, self.version(), code_digest(_CODE), *models

    def encode(
        self, source: Images, rate: float, analysis: Mapping[str, npt.NDArray[Any]]
    ) -> list[bytes]:
        """Encode every image by itself, at most as large as asked for.

        Raises
        ------
        InputError
            The rate is not above 0, or too low for an image.
        ModelError, MissingExtraError
            A model is missing or fails.
        """
        del analysis
        if not rate > 0:
            raise InputError(f"a rate of {rate:g} bits per pixel must be above 0")
        codec = codec_of(self.models)
        return [
            codec.encode(rgb, max(1, int(rate * rgb.shape[0] * rgb.shape[1] / 8))).data
            for rgb in source.pixels()
        ]

    def size(self, data: bytes) -> int:
        """Return the bytes of the file."""
        return vae.read_header(data).bytes

    def decode(self, files: Sequence[bytes], source: Images) -> Iterator[Picture]:
        """Decode."""
        codec = codec_of(self.models)
        for index, data in enumerate(files):
            pixels = codec.decode(data)
            expected = source.pixels()[index].shape
            if pixels.shape != expected:
                raise InputError(
                    f"{Path(source.paths[index])}: its file is {pixels.shape}, expected {expected}"
                )
            yield jfif_picture(pixels, index)
