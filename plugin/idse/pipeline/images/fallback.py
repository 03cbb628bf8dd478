"""What is done where JPEG gives out: a learned codec, or its reconstruction in a stock one.

At a few hundredths of a bit per pixel a JPEG is blocks of one colour, or cannot be had at all.
Where a fallback is allowed, a picture stays a JPEG as long as that reaches the target and loses
less than the fallback by `idse.pipeline.images.loss`; else it becomes what the fallback makes:

- ``"vae"``: a file of `idse.codecs.vae`, which nothing stock decodes;
- ``"vae-jpeg"``: the VAE's reconstruction, as a JPEG of the same size: simplified in a way that
  costs fewer bits, with the tables and weights of the picture that it stands for;
- ``"vae-h264"``: the same as an H.264 stream of one intra frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from idse.codecs.jpeg import decode as decode_jpeg
from idse.errors import CodecError, IdseError, TargetError, describe
from idse.pipeline.images.intra import SUFFIX as H264_SUFFIX
from idse.pipeline.images.intra import decode_intra, encode_intra
from idse.pipeline.images.loss import Loss
from idse.pipeline.images.steered import SteeredImage
from idse.pipeline.images.stock import encode_stock
from idse.pipeline.images.vae import SUFFIX as VAE_SUFFIX
from idse.pipeline.images.vae import codec_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from idse.codecs.jpeg import Marker
    from idse.pipeline.images.network import Networks
    from idse.pipeline.images.options import ImageSteering, JpegOptions
    from idse.pipeline.images.source import SourceImage
    from idse.pipeline.report import Warnings

    Pixels = npt.NDArray[np.uint8]

JPEG = "jpeg"
# Endings of the files that a picture may become.
SUFFIXES = {"vae": VAE_SUFFIX, "vae-jpeg": ".jpg", "vae-h264": H264_SUFFIX}
# A reconstruction at the target's rate may still be too much for a stock codec: then coarser ones.
_SHARES = (1.0, 0.5, 0.25)

# What shows a picture of each EXIF orientation upright, and what undoes it.
_FLIP, _MIRROR = Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT
_LEFT, _RIGHT = Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270
_HALF = Image.Transpose.ROTATE_180
_ACROSS, _ALONG = Image.Transpose.TRANSVERSE, Image.Transpose.TRANSPOSE
_UPRIGHT = {2: _MIRROR, 3: _HALF, 4: _FLIP, 5: _ALONG, 6: _RIGHT, 7: _ACROSS, 8: _LEFT}
_BACK = {**_UPRIGHT, 6: _LEFT, 8: _RIGHT}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The file that a picture becomes.

    Attributes
    ----------
    data
        The file.
    codec
        ``"jpeg"``, or the fallback's name.
    why
        In words.
    losses
        By codec, of those that reach the target.
    vae_model
        Of the fallback; None for a JPEG.
    """

    data: bytes
    codec: str
    why: str
    losses: dict[str, float] = field(default_factory=dict)
    vae_model: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what the report says of it."""
        return {
            "codec": self.codec,
            "chosen_because": self.why,
            "losses": self.losses,
            "vae_model": self.vae_model,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Attempt:
    """A picture, its JPEG, and what else it may become.

    Attributes
    ----------
    source, options
        The picture, and what is asked for, a fallback among it.
    jpeg
        The file; or why there is none.
    steered
        The picture, analysed; None without steering.
    networks, steering
        Of ``steered``.
    markers
        Segments that JPEGs get.
    warnings
        Where is told what fails and what is left out.
    """

    source: SourceImage
    options: JpegOptions
    jpeg: bytes | TargetError
    steered: SteeredImage | None
    networks: Networks | None
    steering: ImageSteering | None
    markers: Sequence[Marker]
    warnings: Warnings

    @property
    def limit(self) -> int:
        """Bytes that the file may have."""
        limit = self.options.limit(self.source.width, self.source.height)
        assert limit is not None  # `JpegOptions` lets no fallback through without it
        return limit

    def choose(self, *, strict: bool) -> Choice:
        """Return the better of the JPEG and the fallback.

        Parameters
        ----------
        strict
            Raise where the fallback fails; else the JPEG is what it would be without one, with a
            warning.

        Raises
        ------
        TargetError
            Neither reaches the target.
        ModelError, MissingExtraError, CodecError
            The fallback fails, with ``strict``.
        """
        try:
            return self._chosen()
        except TargetError:
            raise
        # Of any kind: the models are files of the user's, and torch has exceptions of its own.
        except Exception as error:
            if strict:
                if isinstance(error, IdseError):
                    raise
                raise CodecError(f"the fallback failed: {describe(error)}") from error
            why = str(error) if isinstance(error, IdseError) else describe(error)
            self.warnings.add("fallback", f"{self.source.name} has no fallback: {why}")
            if isinstance(self.jpeg, TargetError):
                raise self.jpeg from error
            return Choice(data=self.jpeg, codec=JPEG, why="the fallback failed")

    def _chosen(self) -> Choice:
        kind = self.options.fallback
        assert kind is not None
        try:
            made, decoded, model = self.make(kind)
        except TargetError as error:
            if isinstance(self.jpeg, TargetError):
                raise TargetError(f"{self.jpeg}; nor does the fallback: {error}") from error
            why = f"{kind} does not reach the target"
            return Choice(data=self.jpeg, codec=JPEG, why=why)
        loss = Loss(self.source, self.steered, self.networks, self.steering)
        sketched = kind == "vae-jpeg"
        losses = {kind: loss.of(decoded, sketched=sketched)}
        if isinstance(self.jpeg, TargetError):
            why = "JPEG does not reach the target"
        else:
            losses[JPEG] = loss.of(_decoded(self.jpeg, self.source), sketched=True)
            ours, other = losses[JPEG], losses[kind]
            if ours <= other:
                why = f"JPEG loses {ours:.4g}, {kind} {other:.4g}"
                return Choice(data=self.jpeg, codec=JPEG, why=why, losses=losses)
            why = f"JPEG loses {ours:.4g}, {kind} only {other:.4g}"
        self._tell_left_out(kind)
        return Choice(data=made, codec=kind, why=why, losses=losses, vae_model=model)

    def make(self, kind: str) -> tuple[bytes, Pixels, str]:
        """Return what a fallback makes of the picture, whatever the JPEG is like.

        Parameters
        ----------
        kind
            One of `idse.pipeline.images.options.FALLBACKS`.

        Returns
        -------
        The file; what it decodes to, turned as the source is; and the name of the model.

        Raises
        ------
        TargetError
            It does not reach the target.
        ModelError, MissingExtraError, CodecError
            It fails.
        """
        codec = codec_of(self.options.vae_models)
        if kind == "vae":
            coded = codec.encode(_turned(self.source, _UPRIGHT), self.limit)
            return coded.data, self._shown(codec.decode(coded.data)), coded.network.name
        failure = None
        for share in _SHARES:
            try:
                coded = codec.encode(_turned(self.source, _UPRIGHT), int(share * self.limit) or 1)
                simple = self._shown(codec.decode(coded.data))
                return *self._standard(kind, simple), coded.network.name
            except TargetError as error:
                # The first says what the whole target is too little for.
                failure = failure or error
        assert failure is not None
        raise failure

    def _standard(self, kind: str, simple: Pixels) -> tuple[bytes, Pixels]:
        """Code a reconstruction, turned as the source is, with the stock codec."""
        if kind == "vae-h264":
            turned = replace(self.source, pixels=simple)
            shown = _turned(turned, _UPRIGHT)
            data = encode_intra(shown, self.limit)
            return data, self._shown(decode_intra(data, *shown.shape[:2]))
        if self.source.grey:
            simple = np.asarray(Image.fromarray(simple).convert("L"))
        source = replace(self.source, pixels=simple)
        if self.steered is None or self.networks is None:
            data = encode_stock(source, self.options, markers=self.markers).data
        else:
            # The plan is of coefficients in its picture's sampling.
            options = replace(self.options, sampling=self.steered.layout.sampling)
            like = self.steered.plan
            image = SteeredImage(source, self.networks, options, markers=self.markers, like=like)
            data = image.fitting(self.limit).data
        return data, _decoded(data, self.source)

    def _shown(self, upright: Pixels) -> Pixels:
        """Turn a picture as the source is."""
        return _turned(replace(self.source, pixels=upright), _BACK)

    def _tell_left_out(self, kind: str) -> None:
        source = self.source
        if self.options.metadata and kind != "vae-jpeg" and (source.exif or source.icc):
            self.warnings.add(
                "metadata",
                f"{source.name}: EXIF data and ICC profile are left out, which {SUFFIXES[kind]} "
                "files do not hold; the picture is stored upright",
            )


def _decoded(jpeg: bytes, source: SourceImage) -> Pixels:
    return decode_jpeg(jpeg, colour="grey" if source.grey else "rgb")


def _turned(source: SourceImage, how: dict[int, Image.Transpose]) -> Pixels:
    turn = how.get(source.orientation)
    if turn is None:
        return source.pixels
    return np.asarray(Image.fromarray(source.pixels).transpose(turn))
