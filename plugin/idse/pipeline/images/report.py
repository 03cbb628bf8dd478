"""What an encode of a still picture did."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """Facts about one JPEG, or what it became by a fallback.

    Attributes
    ----------
    width, height
        In pixels, as stored.
    bytes
        Size of the file.
    bpp
        Its bits per pixel.
    asked
        What said how large it gets, such as ``"target-bytes 20000"``.
    model
        The networks that steered it; None for stock libjpeg-turbo, also where a network failed.
    steered
        Whether it was steered.
    scale
        Quantisation error per step in units of the networks' features; equal where pictures share
        bits fairly. None for stock.
    quality
        libjpeg's quality where it is stock; None otherwise.
    agreement
        How far the network's result on the file agrees with that on the source, 0 to 1; None
        where it was not measured.
    sampling
        Of the JPEG, such as ``"4:2:0"``; None for what is none.
    seconds, analysis_seconds
        Wall time of everything, and of the networks.
    source_bytes
        Size of the file that the picture came from; None for pixels.
    warnings
        In the order in which they were given.
    codec
        ``"jpeg"``, or the fallback that was taken: ``"vae"``, ``"vae-jpeg"`` or ``"vae-h264"``.
    chosen_because
        Why, where a fallback was allowed; None otherwise.
    losses
        What is lost by each codec that reaches the target (:mod:`idse.pipeline.images.loss`);
        empty where none was to be chosen.
    vae_model
        Of the fallback that was taken; None otherwise.
    """

    width: int
    height: int
    bytes: int
    bpp: float
    asked: str
    model: str | None
    steered: bool
    scale: float | None
    quality: int | None
    agreement: float | None
    sampling: str | None
    seconds: float
    analysis_seconds: float
    source_bytes: int | None
    warnings: tuple[str, ...] = ()
    codec: str = "jpeg"
    chosen_because: str | None = None
    losses: dict[str, float] = field(default_factory=dict)
    vae_model: str | None = None

    def to_json(self) -> str:
        """Return the report as one JSON object over several lines."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """A file and what is to be said about it."""

    data: bytes
    report: ImageReport


class ImageBytes(bytes):
    """A file, as plain bytes that also know what they are.

    Attributes
    ----------
    report
        What was done.
    """

    report: ImageReport

    @classmethod
    def of(cls, made: EncodedImage) -> ImageBytes:
        """Return the file of an encode."""
        found = cls(made.data)
        found.report = made.report
        return found

    @property
    def codec(self) -> str:
        """``"jpeg"``, or the fallback that was taken."""
        return self.report.codec
