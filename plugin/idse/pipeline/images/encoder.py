"""One picture to one JPEG whose bits go where networks look.

Pixels are transformed as libjpeg-turbo does. Networks weigh the error of every coefficient
(`idse.importance.coefficients`), tables follow from the weights (`idse.allocation.tables`), and a
trellis chooses the coefficients. Any decoder reads the file.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from idse.allocation.tables import STRENGTH
from idse.errors import ModelError, TargetError
from idse.importance.bounds import DEFAULT_ROWS
from idse.pipeline.images.network import Networks
from idse.pipeline.images.options import ImageSteering, JpegOptions
from idse.pipeline.images.report import EncodedImage, ImageBytes, ImageReport
from idse.pipeline.images.source import read_image
from idse.pipeline.images.steered import Coded, SteeredImage
from idse.pipeline.images.stock import Stock, encode_stock
from idse.pipeline.makers import check_exact
from idse.pipeline.report import Warnings
from idse.vision import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.codecs.jpeg import Marker
    from idse.pipeline.images.fallback import Choice
    from idse.pipeline.images.source import ImageLike, SourceImage
    from idse.vision import FeatureExtractor

    Model = str | FeatureExtractor
    Models = Model | Sequence[Model] | None


class JpegEncoder:
    """Encodes pictures to JPEGs for networks; may be used by many threads at once.

    Parameters
    ----------
    model
        ``"student"``, which predicts what networks look at; or a network or several: ``NAME`` or
        ``NAME=WEIGHT`` as `idse.load_model` takes names, or loaded ones. None is stock
        libjpeg-turbo.
    n_s, seed
        Rows and seed of the sketch.
    strict
        Raise where a network, or a fallback, fails on a picture. Else that picture gets stock
        libjpeg-turbo's tables, or no fallback, at the same target, with a warning.

    Raises
    ------
    ModelError
        A network is unknown or cannot be loaded.
    MissingExtraError
        A network is named, and torch is not installed.

    Examples
    --------
    >>> encoder = JpegEncoder(model="yolov4-tiny")
    >>> data = encoder.encode("street.png", target_bytes=20_000)
    """

    def __init__(
        self,
        *,
        model: Models = DEFAULT_MODEL,
        n_s: int = DEFAULT_ROWS,
        seed: int = 0,
        strict: bool = False,
    ) -> None:
        self._strict = strict
        self._steering: ImageSteering | None = None
        self._networks: Networks | None = None
        if model is not None:
            models = tuple(model) if isinstance(model, list | tuple) else (model,)
            self._steering = ImageSteering(models=models, n_s=n_s, seed=seed, strict=strict)
            self._networks = Networks(self._steering)

    def encode(self, image: ImageLike, **options: Any) -> ImageBytes:  # noqa: ANN401
        """Return a picture as a JPEG file, or what a fallback makes of it.

        Parameters
        ----------
        image, options
            As for `encode_jpeg`.

        Raises
        ------
        InputError, TargetError, ModelError
            As for `encode_jpeg`.
        """
        return ImageBytes.of(self.encode_image(read_image(image), JpegOptions(**options)))

    def encode_image(
        self, source: SourceImage, options: JpegOptions, *, scale: float | None = None
    ) -> EncodedImage:
        """Return a picture as a JPEG file, and what was done.

        Parameters
        ----------
        source
            The picture.
        options
            What is asked for.
        scale
            Of the plan, where a set of pictures shares one: it then stands for the quality.

        Raises
        ------
        InputError, TargetError, ModelError
            As for `encode_jpeg`.
        """
        begin = time.monotonic()
        if options.accuracy is not None and self._steering is not None:
            check_exact(self._steering.models, "an accuracy")
        warnings = Warnings()
        markers = source.markers if options.metadata else ()
        if options.metadata and source.exif_too_long:
            warnings.add("exif", f"{source.name}: its EXIF data is too long for a JPEG: left out")
        steered = self._analysed(source, options, markers, warnings)
        analysed = time.monotonic() - begin
        made, data, choice = self._made(
            source, options, markers=markers, steered=steered, warnings=warnings, scale=scale
        )
        return EncodedImage(
            data=data,
            report=ImageReport(
                width=source.width,
                height=source.height,
                bytes=len(data),
                bpp=8 * len(data) / (source.width * source.height),
                asked=options.target,
                model=None if self._steering is None else self._steering.name,
                steered=steered is not None,
                scale=made.scale if isinstance(made, Coded) else None,
                quality=made.quality if isinstance(made, Stock) else None,
                agreement=made.agreement if isinstance(made, Coded) else None,
                sampling=_sampling(source, options, steered, choice),
                seconds=time.monotonic() - begin,
                analysis_seconds=analysed if self._networks is not None else 0.0,
                source_bytes=source.file_bytes,
                warnings=warnings.messages,
                **({} if choice is None else choice.facts()),
            ),
        )

    def _made(
        self,
        source: SourceImage,
        options: JpegOptions,
        *,
        markers: Sequence[Marker],
        steered: SteeredImage | None,
        warnings: Warnings,
        scale: float | None,
    ) -> tuple[Coded | Stock | None, bytes, Choice | None]:
        """Return the JPEG, the file that is kept, and where a fallback is allowed how it came."""
        made: Coded | Stock | TargetError
        try:
            if steered is None:
                made = encode_stock(source, options, markers=markers)
            else:
                made = steered.encode(scale)
        except TargetError as error:
            if options.fallback is None:
                if options.accuracy is not None:
                    raise
                raise TargetError(f"{error}; or allow a fallback (--fallback vae)") from error
            made = error
        if options.fallback is None:
            assert not isinstance(made, TargetError)
            return made, made.data, None
        from idse.pipeline.images.fallback import Attempt

        attempt = Attempt(
            source=source,
            options=options,
            jpeg=made if isinstance(made, TargetError) else made.data,
            steered=steered,
            networks=self._networks,
            steering=self._steering,
            markers=markers,
            warnings=warnings,
        )
        choice = attempt.choose(strict=self._strict)
        kept = None if isinstance(made, TargetError) or choice.codec != "jpeg" else made
        return kept, choice.data, choice

    def analyse(self, source: SourceImage, options: JpegOptions) -> SteeredImage:
        """Return a picture, analysed.

        Raises
        ------
        ModelError
            A network fails on it, or there is none.
        """
        if self._networks is None:
            raise ModelError("there is no network to analyse a picture with: name one")
        return SteeredImage(source, self._networks, options)

    def _analysed(
        self,
        source: SourceImage,
        options: JpegOptions,
        markers: Sequence[Marker],
        warnings: Warnings,
    ) -> SteeredImage | None:
        if self._networks is None or self._steering is None:
            return None
        try:
            return SteeredImage(source, self._networks, options, markers=markers)
        except ModelError as error:
            # An accuracy is a promise that nobody could check then.
            if self._steering.strict or options.accuracy is not None:
                raise
            warnings.add("network", f"{source.name} gets libjpeg-turbo's own tables: {error}")
            return None


def _sampling(
    source: SourceImage, options: JpegOptions, steered: SteeredImage | None, choice: Choice | None
) -> str | None:
    """Return the sampling of the JPEG that was made; None for what is no JPEG."""
    if choice is not None and choice.codec not in {"jpeg", "vae-jpeg"}:
        return None
    if steered is not None:
        return steered.layout.sampling
    return "grey" if source.grey else options.sampling_or_default


def encode_jpeg(
    image: ImageLike,
    *,
    model: Models = DEFAULT_MODEL,
    target_bytes: int | None = None,
    bpp: float | None = None,
    quality: int | None = None,
    accuracy: float | None = None,
    sampling: str | None = None,
    progressive: bool = True,
    restart_rows: int = 0,
    metadata: bool = True,
    strength: float = STRENGTH,
    control: bool = False,
    fallback: str | None = None,
    vae_models: Sequence[str] = (),
    n_s: int = DEFAULT_ROWS,
    seed: int = 0,
    strict: bool = False,
) -> ImageBytes:
    """Return a picture as a JPEG file that spends its bits on what a network looks at.

    Networks are loaded on first use and kept. May be called by many threads at once.

    Parameters
    ----------
    image
        A path, the bytes of a file of any format that Pillow opens, a Pillow image, or uint8 pixels
        ``(height, width, 3)`` (R'G'B') or ``(height, width)`` (grey).
    model
        The network that the picture is for, or several; see `JpegEncoder`. None is stock
        libjpeg-turbo.
    target_bytes, bpp
        Size that the file does not exceed, metadata and all, in bytes or in bits per pixel.
    quality
        1 to 100: as little of what the network looks at is lost as with libjpeg at this quality.
        The default, where none of the four is given, is 75.
    accuracy
        Above 0, up to 1: the smallest file found on which the network's result agrees with that on
        the source to this degree (:mod:`idse.pipeline.images.accuracy`).
    sampling
        ``"4:2:0"``, ``"4:2:2"``, ``"4:4:4"`` or ``"grey"``. None is 4:2:0; with ``target_bytes`` or
        ``bpp`` it is 4:4:4 from the rate on where that is better for networks.
    progressive
        Progressive, else baseline.
    restart_rows
        A restart marker every so many rows of MCUs; 0 for none.
    metadata
        Whether EXIF data, ICC profile and density are kept. Pixels are never turned: the
        orientation stays a tag, and networks see the picture as it is shown.
    strength
        0 to 1: how far the file is made for the model and for no other network.
    control
        With ``target_bytes`` or ``bpp``: tables by one forward pass of a network that was trained
        to choose them (:mod:`idse.learned.jpeg.control`).
    fallback
        With ``target_bytes`` or ``bpp``: what else the file may be where a JPEG of this size loses
        more, or cannot be had; ``"vae"`` (for `idse decode`), ``"vae-jpeg"`` (a JPEG still) or
        ``"vae-h264"``. See :mod:`idse.pipeline.images.fallback`.
    vae_models
        Models of the fallback, names or files; empty for the built-in ones.
    n_s, seed, strict
        As for `JpegEncoder`.

    Returns
    -------
    ImageBytes
        The file: bytes, whose ``codec`` says which of them it is, and whose ``report`` why.

    Raises
    ------
    InputError
        The picture cannot be read or a JPEG cannot hold it, or a value is out of range.
    TargetError
        The size or the accuracy cannot be reached.
    ModelError
        A network is unknown, or (with ``strict`` or ``accuracy``) fails on the picture.
    """
    encoder = JpegEncoder(model=model, n_s=n_s, seed=seed, strict=strict)
    return encoder.encode(
        image,
        target_bytes=target_bytes,
        bpp=bpp,
        quality=quality,
        accuracy=accuracy,
        sampling=sampling,
        progressive=progressive,
        restart_rows=restart_rows,
        metadata=metadata,
        strength=strength,
        control=control,
        fallback=fallback,
        vae_models=tuple(vae_models),
    )
