"""libx264, steered or stock, in the language of `idse transcode`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from idse.codecs.x264 import load_library
from idse.errors import InputError
from idse.evaluation.coders.base import Analysis, Coder
from idse.evaluation.decoding import decode_stills
from idse.evaluation.fingerprint import code_digest, file_digest, machine_digest, model_digest
from idse.picture import PIX_FMTS
from idse.pipeline import arguments, stills

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from idse.evaluation.sources import Images, Source
    from idse.picture import Picture
    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.options import EncodeOptions

# What has a say in an encode that no network steers, and what more in one that a network does.
_STOCK = ("codecs/x264", "allocation", "pipeline", "picture.py")
_STEERED = (*_STOCK, "vision", "importance", "kernels.py", "background_kernels.py", "_native")
_ANALYSIS = ("vision", "importance", "_native", "pipeline/stills.py")
# With nothing but these a transcode is libx264's own, bit for bit, whatever else the package does.
_X264S_OWN = {"--no-steer", "--preset", "--tune", "--profile", "--x264-params", "--threads"}
_START_CODE = b"\0\0\1"
_SLICES = {1, 5}


@dataclass(frozen=True, kw_only=True)
class X264(Coder):
    """Options of `idse transcode`: clips in its own process, stills as intra frames.

    Attributes
    ----------
    words
        The options, one by one.
    encode_options, steering
        What they mean; no steering is stock x264.
    """

    codec: ClassVar = "x264"
    language: ClassVar = "idse transcode"
    rate_name: ClassVar = "CRF"
    rates: ClassVar = (23.0, 27.0, 31.0, 35.0, 39.0, 43.0, 47.0)
    pix_fmts: ClassVar = PIX_FMTS
    suffix: ClassVar = ".h264"
    decoder: ClassVar = "ffmpeg"

    words: tuple[str, ...]
    encode_options: EncodeOptions = field(repr=False, compare=False)
    steering: SteeringOptions | None = field(repr=False, compare=False)

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read options of `idse transcode`."""
        args = arguments.parse(list(words))
        encode = arguments.encode_options(args)
        steering = arguments.steering_options(args)
        taken = sorted({"crf", "bitrate", "qp"} & set(encode.options))
        if taken:
            raise InputError(f"{taken[0]} is what --rates is for: leave it out")
        return cls(words=tuple(words), encode_options=encode, steering=steering)

    @classmethod
    def version(cls) -> str:
        """Return libx264's version."""
        return f"libx264 {load_library().version}"

    def check(self, source: Source) -> None:
        """Check options that stills do not heed."""
        if source.still:
            super().check(source)
            stills.check(self.encode_options, self.steering)

    def key(self, source: Source) -> tuple[str, ...]:
        """Return hashes of code, libx264, networks and maps."""
        steering = self.steering
        models = () if steering is None else steering.models
        networks = [model_digest(spec, stills=source.still) for spec in models]
        if steering is not None and steering.maps is not None:
            networks.append(file_digest(steering.maps))
        return (
            code_digest(self._code(source)),
            machine_digest(weighted=steering is not None and steering.weighted),
            *networks,
        )

    def _code(self, source: Source) -> tuple[str, ...]:
        """Return the parts of the package that have a say in an encode."""
        if self.steering is not None:
            return _STEERED
        options = {word.partition("=")[0] for word in self.words if word.startswith("--")}
        own = options <= _X264S_OWN and not any(word.endswith("machine") for word in self.words)
        return () if own and not source.still else _STOCK

    def analysis_key(self, source: Images) -> tuple[str, ...] | None:
        """Return hashes of the sketch's options, code and networks."""
        del source
        if self.steering is None:
            return None
        networks = [model_digest(spec, stills=True) for spec in self.steering.models]
        return stills.analysis_key(self.steering), code_digest(_ANALYSIS), *networks

    def analyse(self, source: Images) -> Analysis:
        """Run the networks over a set."""
        assert self.steering is not None
        return stills.analyse(source.pictures(), self.steering)

    def encode(
        self, source: Images, rate: float, analysis: Mapping[str, npt.NDArray[Any]]
    ) -> list[bytes]:
        """Encode a set, each picture as a stream of one IDR frame."""
        return stills.encode_set(
            source.pictures(),
            self.encode_options,
            crf=rate,
            steering=self.steering,
            analysis=analysis or None,
        )

    def size(self, data: bytes) -> int:
        """Return the bytes of the slices, which are what a video would have more of."""
        return slice_bytes(data)

    def decode(self, files: Sequence[bytes], source: Images) -> Iterator[Picture]:
        """Decode by ffmpeg."""
        return decode_stills(files, [item.format for item in source.pictures()])


def slice_bytes(stream: bytes) -> int:
    """Return the bytes of the slices of an Annex B stream, each with a length of four bytes."""
    starts = []
    position = stream.find(_START_CODE)
    while position >= 0:
        starts.append(position)
        position = stream.find(_START_CODE, position + 3)
    ends = [*starts[1:], len(stream)]
    total = 0
    for start, end in zip(starts, ends, strict=True):
        # The zero before the next start code is its own; a NAL unit never ends in one.
        body = stream[start + 3 : end].rstrip(b"\0")
        if body and body[0] & 31 in _SLICES:
            total += 4 + len(body)
    return total
