"""What a JPEG is asked to be, and how its bits are steered."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING

from idse.allocation.tables import STRENGTH
from idse.errors import InputError
from idse.importance.bounds import DEFAULT_ROWS, check_sketch
from idse.vision import DEFAULT_MODEL

if TYPE_CHECKING:
    from idse.vision import FeatureExtractor

DEFAULT_QUALITY = 75
# Type, least and largest value of what may say how large a file gets, and the same in words.
_LEAST = math.nextafter(0, 1)
_RANGES: dict[str, tuple[type, float, float, str]] = {
    "target_bytes": (Integral, 1, math.inf, "a whole number from 1 on"),
    "bpp": (Real, _LEAST, sys.float_info.max, "a number above 0"),
    "quality": (Integral, 1, 100, "a whole number from 1 to 100"),
    "accuracy": (Real, _LEAST, 1, "a number above 0 and up to 1"),
}
SAMPLINGS = ("4:2:0", "4:2:2", "4:4:4", "grey")
DEFAULT_SAMPLING = SAMPLINGS[0]
FALLBACKS = ("vae", "vae-jpeg", "vae-h264")


@dataclass(frozen=True, kw_only=True)
class JpegOptions:
    """One JPEG's rate and form.

    At most one of the first four says how large the file gets; without any it is quality 75.

    Attributes
    ----------
    target_bytes
        Size that the file does not exceed, metadata and all, >= 1. It gets as close as it can.
    bpp
        The same in bits per pixel, above 0.
    quality
        1 to 100, libjpeg's scale: as little of what the network looks at is lost as libjpeg loses
        at this quality, for fewer bytes. Without a network it is libjpeg's own.
    accuracy
        Above 0, up to 1: the smallest file on which the network's result agrees with that on the
        source to this degree (:mod:`idse.pipeline.images.accuracy`).
    sampling
        ``"4:2:0"``, ``"4:2:2"``, ``"4:4:4"`` or ``"grey"``; grey pictures are always grey. None is
        4:2:0, or for steered files of ``target_bytes`` or ``bpp`` what was learned to be better
        for networks at that rate (`idse.learned.jpeg.control.Control.sampling`).
    progressive
        Progressive, else baseline (sequential); Huffman codes are optimised in both.
    restart_rows
        A restart marker every so many rows of MCUs; 0 for none.
    metadata
        Whether EXIF data and the ICC profile are kept.
    strength
        0 to 1: how far the file is made for the networks that steer it, and for no others. At 1
        they lose least; lower values leave more of what other networks look at.
    control
        With ``target_bytes`` or ``bpp``: tables by one forward pass of a network that was trained
        to choose them, in place of what importance says; pictures without colours keep the latter.
    fallback
        What a picture may become where a JPEG of ``target_bytes`` or ``bpp`` loses more, or cannot
        be had: ``"vae"``, ``"vae-jpeg"`` or ``"vae-h264"`` (:mod:`idse.pipeline.images.fallback`);
        None leaves it a JPEG.
    vae_models
        Models of the fallback: names, or paths of ``.safetensors`` files; empty for the built-in
        ones. Of several, each file takes the one that promises most at its rate.

    Raises
    ------
    InputError
        A value is out of range, more than one says how large the file gets, or a fallback has no
        size to aim for.
    """

    target_bytes: int | None = None
    bpp: float | None = None
    quality: int | None = None
    accuracy: float | None = None
    sampling: str | None = None
    progressive: bool = True
    restart_rows: int = 0
    metadata: bool = True
    strength: float = STRENGTH
    control: bool = False
    fallback: str | None = None
    vae_models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_target()
        self._check_fallback()
        if self.control and self.target_bytes is None and self.bpp is None:
            raise InputError("control chooses tables for a size: give target-bytes or bpp")
        if self.sampling is not None and self.sampling not in SAMPLINGS:
            raise InputError(f"sampling {self.sampling!r} is not one of {', '.join(SAMPLINGS)}")
        if not 0 <= self.restart_rows <= 0xFFFF:
            raise InputError(f"restart rows {self.restart_rows} are not within 0 to 65535")
        if not 0 <= self.strength <= 1:
            raise InputError(f"strength {self.strength} is not within 0 to 1")

    def _check_target(self) -> None:
        given = {name: value for name, value in self._targets().items() if value is not None}
        if len(given) > 1:
            told = " and ".join(f"{name} {value}" for name, value in given.items())
            raise InputError(f"{told} exclude each other: give one")
        for name, value in given.items():
            kind, least, most, told = _RANGES[name]
            known = isinstance(value, kind) and not isinstance(value, bool)
            if not (known and least <= value <= most):
                raise InputError(f"{name} {value!r} is not {told}")

    def _check_fallback(self) -> None:
        if self.fallback is None:
            if self.vae_models:
                raise InputError(f"VAE model {self.vae_models[0]} is for a fallback: ask for one")
            return
        if self.fallback not in FALLBACKS:
            raise InputError(f"fallback {self.fallback!r} is not one of {', '.join(FALLBACKS)}")
        if self.target_bytes is None and self.bpp is None:
            raise InputError(
                f"fallback {self.fallback} is for sizes that JPEG does not reach: give "
                "target-bytes or bpp"
            )

    def _targets(self) -> dict[str, int | float | None]:
        names = ("target_bytes", "bpp", "quality", "accuracy")
        return {name: getattr(self, name) for name in names}

    @property
    def target(self) -> str:
        """What says how large the file gets, such as ``"quality 75"``."""
        for name, value in self._targets().items():
            if value is not None:
                return f"{name.replace('_', '-')} {value:.12g}"
        return f"quality {DEFAULT_QUALITY}"

    @property
    def quality_or_default(self) -> int:
        """The quality that is asked for, where nothing else is."""
        return DEFAULT_QUALITY if self.quality is None else self.quality

    @property
    def sampling_or_default(self) -> str:
        """The sampling that is asked for, where the rate says none."""
        return DEFAULT_SAMPLING if self.sampling is None else self.sampling

    def limit(self, width: int, height: int) -> int | None:
        """Return the bytes that the file of a picture may have; None where that is not bounded."""
        if self.bpp is not None:
            # At least a byte, so that a picture that is too small gets the message of a target.
            return max(1, math.floor(self.bpp * width * height / 8))
        return self.target_bytes


@dataclass(frozen=True, kw_only=True)
class ImageSteering:
    """How the bits of JPEGs are steered.

    Attributes
    ----------
    models
        Networks: ``NAME`` or ``NAME=WEIGHT`` as `idse.vision.load_model` takes them, or loaded
        ones.
    n_s, seed
        Rows and seed of the sketch.
    strict
        Raise where a network fails on a picture; else that picture becomes stock libjpeg-turbo's.

    Raises
    ------
    InputError
        ``n_s`` or ``seed`` is out of range.
    """

    models: tuple[str | FeatureExtractor, ...] = (DEFAULT_MODEL,)
    n_s: int = DEFAULT_ROWS
    seed: int = 0
    strict: bool = False

    def __post_init__(self) -> None:
        check_sketch(self.n_s, self.seed)

    @property
    def name(self) -> str:
        """What reports call the networks."""
        return " ".join(m if isinstance(m, str) else m.name for m in self.models)
