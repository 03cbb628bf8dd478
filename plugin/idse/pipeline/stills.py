"""A set of still pictures as intra frames, each a stream of its own, steered as one segment.

Bits are balanced over the whole set, as over a segment of video: easy pictures give theirs to hard
ones. A new way of allocating belongs in here: what is slow and the same at every rate into
:func:`analyse`, the rest into :func:`encode_set`.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.allocation import Allocator, estimate_bits
from idse.allocation.matrices import matrix_options
from idse.allocation.weights import block_weights
from idse.codecs.x264 import Encoder, load_library
from idse.errors import InputError
from idse.importance.spectrum import Spectrum
from idse.pipeline.makers import open_maker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idse.codecs.x264 import X264Library
    from idse.importance.maker import MapMaker
    from idse.picture import Picture
    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.options import EncodeOptions

FloatMap = npt.NDArray[np.float32]

_SPECTRUM_PICTURES = 8
# Fields of EncodeOptions and SteeringOptions that stills heed, or that change nothing for them.
_HEEDED = {
    *("preset", "tune", "profile", "options", "matrices"),
    *("policy", "models", "n_s", "seed", "analyse_every", "weighted"),
}
# One picture, one thread: nothing to run side by side, and the same stream on every machine.
_STILL = {"keyint": "1", "threads": "1"}


def check(encode: EncodeOptions, steering: SteeringOptions | None) -> None:
    """Check that nothing is asked for that has no effect on stills, or not yet.

    Raises
    ------
    InputError
        An option that only videos heed is not at its default.
    """
    for options in (encode, steering):
        if options is None:
            continue
        for field in fields(options):
            value = getattr(options, field.name)
            required = field.default is MISSING and field.default_factory is MISSING
            if not required and field.name not in _HEEDED and value != field.default:
                raise InputError(
                    f"{field.name.replace('_', '-')} {value} has no effect on still pictures: "
                    "leave it out, or give a video"
                )


def analysis_key(steering: SteeringOptions) -> str:
    """Return what :func:`analyse` depends on beside pictures, networks and code."""
    return f"{steering.n_s} {steering.seed}" + (" blocks" if steering.weighted else "")


def analyse(pictures: Sequence[Picture], steering: SteeringOptions) -> dict[str, npt.NDArray[Any]]:
    """Find out what steering a set needs to know and what is the same at every rate.

    Returns
    -------
    Arrays by name, so that they can be kept: ``weight/N`` is the importance of picture N, float32
    ``(mb_rows, mb_cols)`` per luma sample, ``blocks/N`` where ``steering.weighted`` that of its 4x4
    blocks, and the others are a `Spectrum`'s.

    Raises
    ------
    InputError
        There is no network.
    ModelError
        A network cannot be loaded, or fails on a picture.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    analyser = _analyser(steering)
    for index, item in enumerate(pictures):
        if steering.weighted:
            found[f"blocks/{index}"] = analyser.blocks(item)
        found[f"weight/{index}"] = analyser.weight(item)
    return found | spectrum(pictures, steering).tensors()


def encode_set(
    pictures: Sequence[Picture],
    encode: EncodeOptions,
    *,
    crf: float,
    steering: SteeringOptions | None = None,
    analysis: Mapping[str, npt.NDArray[Any]] | None = None,
) -> list[bytes]:
    """Encode a set at one rate, steered or stock.

    Parameters
    ----------
    pictures
        Of any sizes and of the formats that x264 takes.
    encode, crf
        What x264 is asked for.
    steering
        How; None is stock x264.
    analysis
        What :func:`analyse` found for this steering; None is found out now.

    Returns
    -------
    One Annex B stream a picture, with its own parameter sets.

    Raises
    ------
    InputError, ModelError, CodecError
        As :func:`check`, :func:`analyse` and :func:`encode_stills`.
    LibraryLoadError
        Weights are asked for, and no libx264 takes any.
    """
    check(encode, steering)
    if steering is None:
        return encode_stills(pictures, encode, crf=crf, matrices=set_matrices(encode))
    # First, since what comes next may take long.
    library = load_library(weighted=True) if steering.weighted else None
    known = analyse(pictures, steering) if analysis is None else analysis
    importance = [known[f"weight/{index}"] for index in range(len(pictures))]
    offsets = set_offsets(pictures, importance, steering, crf=crf)
    matrices = set_matrices(encode, Spectrum.from_tensors(known), steering)
    inner = None
    if steering.weighted:
        blocks = [known[f"blocks/{index}"] for index in range(len(pictures))]
        inner = set_weights(pictures, blocks, steering)
    return encode_stills(
        pictures,
        encode,
        crf=crf,
        offsets=offsets,
        matrices=matrices,
        weights=inner,
        library=library,
    )


def _analyser(steering: SteeringOptions) -> MapMaker:
    return open_maker(steering.models, stills=True, n_s=steering.n_s, seed=steering.seed)


def spectrum(pictures: Sequence[Picture], steering: SteeringOptions) -> Spectrum:
    """Return the importance per frequency of a set: of a few of its pictures, for it hardly varies.

    Raises
    ------
    ModelError
        A network cannot be loaded, or fails on a picture.
    """
    analyser = _analyser(steering)
    chosen = pictures[:: -(-len(pictures) // _SPECTRUM_PICTURES)]
    return Spectrum.total([analyser.spectrum(item) for item in chosen])


def set_matrices(
    encode: EncodeOptions, found: Spectrum | None = None, steering: SteeringOptions | None = None
) -> dict[str, str]:
    """Return the quantisation matrices of a set, one for all, as x264 options.

    Parameters
    ----------
    encode
        What is asked for.
    found, steering
        What :func:`spectrum` returned, and how the set is steered; None for stock x264.
    """
    return matrix_options(encode.matrices, found, steering.policy if steering else None, intra=True)


def set_offsets(
    pictures: Sequence[Picture],
    importance: Sequence[FloatMap],
    steering: SteeringOptions,
    *,
    crf: float,
) -> list[FloatMap]:
    """Return QP offsets of every picture, normalised over all of them together.

    Parameters
    ----------
    pictures, importance
        The set, and ``weight/N`` of :func:`analyse`.
    steering
        How.
    crf
        Of the encode.
    """
    whole = Allocator(steering.policy, pictures[0].format.mb_shape, crf=crf)
    parts = [whole.for_shape(item.format.mb_shape) for item in pictures]
    for part, weight in zip(parts, importance, strict=True):
        part.observe(weight)
    logs = [part.normalise(weight) for part, weight in zip(parts, importance, strict=True)]
    for part, log_weight, item in zip(parts, logs, pictures, strict=True):
        part.account(log_weight, estimate_bits(item, None, qp=crf))
    return [part.offsets(log_weight) for part, log_weight in zip(parts, logs, strict=True)]


def set_weights(
    pictures: Sequence[Picture], blocks: Sequence[FloatMap], steering: SteeringOptions
) -> list[FloatMap]:
    """Return what errors inside macroblocks cost in every picture, for :func:`encode_stills`.

    Parameters
    ----------
    pictures, blocks
        The set, and ``blocks/N`` of :func:`analyse`.
    steering
        How.
    """
    return [
        block_weights(energy, item.format.mb_shape, strength=steering.policy.strength)
        for item, energy in zip(pictures, blocks, strict=True)
    ]


def encode_stills(
    pictures: Sequence[Picture],
    encode: EncodeOptions,
    *,
    crf: float,
    offsets: Sequence[FloatMap] | None = None,
    matrices: Mapping[str, str] | None = None,
    weights: Sequence[FloatMap] | None = None,
    library: X264Library | None = None,
) -> list[bytes]:
    """Encode every picture as one IDR frame.

    Parameters
    ----------
    pictures
        Of any sizes and of the formats that x264 takes.
    encode
        What x264 is asked for beside ``crf``.
    crf
        Constant quality.
    offsets
        QP offsets of every picture, or None for stock x264.
    matrices
        What :func:`set_matrices` returned, or None for flat ones.
    weights
        Of 4x4 blocks of every picture, as ``Encoder.encode`` takes them, or None.
    library
        None takes ``load_library()``; ``weights`` need one that takes them.

    Returns
    -------
    One Annex B stream a picture, with its own parameter sets.

    Raises
    ------
    InputError
        The options ask for another rate control than constant quality.
    CodecError
        x264 failed.
    """
    if encode.two_pass or not {"crf", "bitrate", "qp"}.isdisjoint(encode.options):
        raise InputError("still pictures are encoded by CRF alone: leave out crf, bitrate and qp")
    given = [
        [None] * len(pictures) if found is None else list(found) for found in (offsets, weights)
    ]
    return [
        _encode(item, encode, crf, field, inner, matrices=matrices, library=library)
        for item, field, inner in zip(pictures, *given, strict=True)
    ]


def _encode(
    item: Picture,
    encode: EncodeOptions,
    crf: float,
    field: FloatMap | None,
    inner: FloatMap | None,
    *,
    matrices: Mapping[str, str] | None,
    library: X264Library | None,
) -> bytes:
    with Encoder(
        width=item.format.width,
        height=item.format.height,
        pix_fmt=item.format.pix_fmt,
        fps=Fraction(25),
        preset=encode.preset,
        tune=encode.tune,
        profile=encode.profile,
        options={**encode.options, **_STILL, "crf": f"{crf:g}"},
        matrices=matrices,
        steer=field is not None,
        global_headers=False,
        library=library,
    ) as encoder:
        first = encoder.encode(item.planes, pts=0, offsets=field, weights=inner)
        packets = [*first, *encoder.flush()]
    return b"".join(packet.data for packet in packets)
