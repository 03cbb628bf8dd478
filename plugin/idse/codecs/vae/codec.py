"""Pictures to files of a wanted size, and back."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from idse.codecs.vae.container import (
    HEADER_BYTES,
    IDENTITY_BYTES,
    MAX_BYTES,
    MAX_PIXELS,
    MAX_SIDE,
    Header,
    pack,
    read_header,
)
from idse.codecs.vae.latents import TILE, Latents, grid, read
from idse.codecs.vae.network import Network
from idse.codecs.vae.rate import CLOSE, fill, search
from idse.codecs.vae.tiling import round_up, tiled
from idse.errors import InputError, ModelError, TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from idse.codecs.vae.container import Buffer


# A file this near below its target is not made again.
_CLOSE: Final = 0.995

_ATTEMPTS: Final = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """A coded picture.

    Attributes
    ----------
    data
        The file.
    step
        1024 times the binary logarithm of the quantisation step.
    network
        That coded it.
    side_bytes
        What the hyper latents take of it.
    """

    data: bytes
    step: int
    network: Network
    side_bytes: float


def encode(
    pixels: npt.NDArray[np.uint8],
    network: Network | Sequence[Network],
    *,
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    step: int | None = None,
) -> Encoded:
    """Code a picture; exactly one of the three keywords says how large.

    With a target, networks run once (more often only where the model that promises most cannot go
    that low). The file is never larger than the target. Where the model's finest step allows, it
    falls short of it by less than 1 % (or, where that is less, by a few bytes).

    Parameters
    ----------
    pixels : uint8 array ``(height, width, 3)``
        R'G'B', sides 1 to 65535, at most 100 megapixels.
    network
        The model, or models of which the one that promises the least error at the target is taken.
    target_bytes
        Size of the file.
    target_bpp
        The same in bits per pixel.
    step
        1024 times the binary logarithm of the quantisation step; needs a single model.

    Raises
    ------
    InputError
        No such picture, or options that contradict each other.
    TargetError
        No model can go that low with this picture; the message names the smallest size.
    CodecError
        A network returned what is not finite.
    """
    _check_picture(pixels)
    networks = [network] if isinstance(network, Network) else list(network)
    if (target_bytes, target_bpp, step).count(None) != 2:
        raise InputError("give one of target_bytes, target_bpp and step")
    if not networks:
        raise InputError("no model was given")
    if step is not None:
        if len(networks) > 1:
            raise InputError(f"a step needs a single model, not {len(networks)}")
        if not -(1 << 15) <= step < 1 << 15:
            raise InputError(f"step {step} is not within -32768 to 32767")
        encoded = _file(Latents(pixels, networks[0]), step)
        if len(encoded.data) > MAX_BYTES:
            raise InputError(
                f"step {step} takes {len(encoded.data)} bytes of the {MAX_BYTES} that a file may "
                "have: give a coarser one"
            )
        return encoded
    area = pixels.shape[0] * pixels.shape[1]
    if target_bpp is not None:
        if not (np.isfinite(target_bpp) and target_bpp > 0):
            raise InputError(f"target {target_bpp} bits per pixel must be above 0")
        target_bytes = int(target_bpp * area / 8)
    assert target_bytes is not None
    if target_bytes < 1:
        raise InputError(f"target of {target_bytes} bytes: it must be above 0")
    return _fit(pixels, networks, min(target_bytes, MAX_BYTES))


def _check_picture(pixels: npt.NDArray[np.uint8]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(
            f"a picture is uint8 of (height, width, 3), not {pixels.dtype} of {pixels.shape}"
        )
    height, width = pixels.shape[:2]
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise InputError(
            f"this picture has {width}x{height} pixels; the limits are {MAX_SIDE} a side and "
            f"{MAX_PIXELS} in all"
        )


def _fit(pixels: npt.NDArray[np.uint8], networks: list[Network], target: int) -> Encoded:
    """Code at most ``target`` bytes with the most promising network that can."""
    height, width = pixels.shape[:2]
    bpp = 8 * target / (height * width)
    smallest = MAX_BYTES
    for network in sorted(networks, key=lambda n: n.predicted_error(bpp)):
        encoded = _fit_step(Latents(pixels, network), target)
        if len(encoded.data) <= target:
            return encoded
        smallest = min(smallest, len(encoded.data))
    raise TargetError(
        f"this picture of {width}x{height} pixels does not fit into {target} bytes: the smallest "
        f"file of this codec has {smallest}"
    )


def _fit_step(latents: Latents, target: int) -> Encoded:
    """Return the largest file within ``target`` bytes that is found, or the smallest of all."""
    finest, coarsest = latents.network.steps
    allowed = 8.0 * (target - HEADER_BYTES)
    wanted = allowed
    best: Encoded | None = None
    for _ in range(_ATTEMPTS):
        step, bits = search(latents.bits, (finest, coarsest), wanted)
        encoded = _file(latents, *_filled(latents, step, bits, wanted))
        size = len(encoded.data)
        if size <= target and (best is None or size > len(best.data)):
            best = encoded
        if step in (finest, coarsest) or _CLOSE * target <= size <= target:
            break
        # The coder took more or less than the tables say (runs of zeros at the end cost nothing).
        wanted += allowed - 8.0 * (size - HEADER_BYTES)
    while best is None and step < coarsest:
        step += 1
        encoded = _file(latents, step)
        best = encoded if len(encoded.data) <= target else None
    return best or encoded


def _filled(latents: Latents, step: int, bits: float, wanted: float) -> tuple[int, float]:
    """Return a step and a deadzone: the step before with one, where a step alone leaves a gap."""
    finest = latents.network.steps[0]
    if step > finest and bits < CLOSE * wanted and bits < wanted - 8:
        deadzone = fill(lambda width: latents.bits(step - 1, width), wanted)
        if deadzone is not None:
            return step - 1, deadzone
    return step, 0.0


def _file(latents: Latents, step: int, deadzone: float = 0.0) -> Encoded:
    payload = latents.write(step, deadzone)
    header = Header(
        identity=latents.network.identity[:IDENTITY_BYTES],
        width=latents.width,
        height=latents.height,
        step=step,
        payload_bytes=len(payload),
    )
    return Encoded(
        data=pack(header, payload),
        step=step,
        network=latents.network,
        side_bytes=latents.side_bits / 8,
    )


def decode(
    data: Buffer,
    find_network: Callable[[bytes], Network],
    *,
    max_pixels: int = MAX_PIXELS,
) -> npt.NDArray[np.uint8]:
    """Decode a file.

    Memory grows by 3 bytes per pixel and 4 per latent, on top of what a tile takes.

    Parameters
    ----------
    data
        From `encode`, at most 256 MiB.
    find_network
        Is given the first 8 bytes of a model's identity and returns the model; raises ModelError
        where there is none.
    max_pixels
        Larger pictures are refused before memory is spent on them.

    Returns
    -------
    uint8 array ``(height, width, 3)``
        R'G'B'.

    Raises
    ------
    InputError
        Not a VAE stream, damaged, or too large.
    ModelError
        From ``find_network``, or it found another model.
    """
    header = read_header(data, max_pixels=max_pixels)
    network = find_network(header.identity)
    if network.identity[:IDENTITY_BYTES] != header.identity:
        raise ModelError(
            f"this stream was made by model {header.identity.hex()}; {network.name} is "
            f"{network.identity[:IDENTITY_BYTES].hex()}"
        )
    rows, columns = grid(network, header.height, header.width)
    payload = memoryview(data)[HEADER_BYTES:]
    latents = read(payload, network.prior, rows, columns, header.step)
    transforms = network.transforms
    pixels = np.empty((header.height, header.width, 3), np.uint8)
    tiled(
        transforms.synthesise,
        latents,
        pixels.transpose(2, 0, 1),
        ratio=Fraction(transforms.stride),
        unit=1,
        core=round_up(TILE, network.unit) // transforms.stride,
        halo=transforms.synthesis_halo,
    )
    return pixels
