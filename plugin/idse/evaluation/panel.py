"""The networks that judge, and what they said before: kept by content of streams and sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from idse.evaluation.fingerprint import code_digest, digest, model_digest
from idse.evaluation.judge import Judge
from idse.evaluation.measure import Measurement, Reference, Verdicts, measure
from idse.vision import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from idse.evaluation.sources import Source
    from idse.picture import Picture

# What decides what a judge says.
_CODE = (
    *(f"evaluation/{name}.py" for name in ("judge", "measure", "metrics", "filtering")),
    "vision",
)


@lru_cache(maxsize=8)
def _judge(model: str) -> Judge:
    """Load a network once per process."""
    return Judge(load_model(model))


@lru_cache(maxsize=32)
def _reference(stem: Path) -> Reference:
    return Reference(stem)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Networks that judge.

    Attributes
    ----------
    models
        As ``idse.vision.load_model`` takes them.
    cache
        Folder that measurements are kept in.
    ms_ssim_every
        Measure MS-SSIM of every n-th picture of a clip.
    eye
        Whether PSNR and MS-SSIM are measured at all.
    code
        Hash of the code that judges.
    """

    models: tuple[str, ...]
    cache: Path
    ms_ssim_every: int = 10
    eye: bool = True
    code: str = field(default_factory=lambda: code_digest(_CODE))

    def _stem(self, model: str, source: Source) -> Path:
        key = digest(source.key, model_digest(model), self.code)
        return self.cache / "references" / key

    def judge_source(self, model: str, source: Source) -> None:
        """Judge the sources, unless that was done before."""
        stem = self._stem(model, source)
        if not stem.with_suffix(".npz").exists():
            Reference.write(stem, _judge(model), source.pictures())

    def verdicts(self, source: Source) -> dict[str, Verdicts]:
        """Return what all models saw in the sources; ``judge_source`` comes first."""
        return {model: Reference(self._stem(model, source)).verdicts for model in self.models}

    def measure(
        self, source: Source, bitstream: str, decode: Callable[[], Iterable[Picture]]
    ) -> Measurement:
        """Measure an encode; only what was not measured before is decoded and judged.

        Parameters
        ----------
        source
            What it is compared with.
        bitstream
            Hash of the encode.
        decode
            Gives out its pictures.
        """
        every = 1 if source.still else self.ms_ssim_every
        folder = self.cache / "measurements"
        eye = folder / f"{digest(bitstream, source.key, self.code, f'eye {every}')}.npz"
        judged = {
            model: folder / f"{digest(bitstream, source.key, self.code, model_digest(model))}.npz"
            for model in self.models
        }
        missing = [model for model, path in judged.items() if not path.exists()]
        unseen = self.eye and not eye.exists()
        if missing or unseen:
            judges = {m: (_judge(m), _reference(self._stem(m, source))) for m in missing}
            pairs = zip(source.pictures(), decode(), strict=True)
            seen = measure(pairs, judges, eye=unseen, ms_ssim_every=every)
            for part, path in seen.parts(judged, eye):
                part.write(path)
        paths = [*judged.values(), *([eye] if self.eye else [])]
        return Measurement.merged([Measurement.read(path) for path in paths])
