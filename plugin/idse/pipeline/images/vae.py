"""The learned picture codec with the models that are here: loaded on first use, and kept."""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from idse.codecs import vae
from idse.errors import IdseError, ModelError, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from idse.codecs.vae import Encoded, Network

SUFFIX = ".ivae"


class VaeCodec:
    """Codes pictures with some models; may be used by many threads at once.

    It decodes what those and all built-in ones have coded.

    Parameters
    ----------
    models
        Names of built-in models, or paths of ``.safetensors`` files; of the built-in ones the last
        of each kind by default.
    """

    def __init__(self, models: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._models = tuple(models)
        self._networks: list[Network] | None = None
        self._find: Callable[[bytes], Network] | None = None
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the models that it codes with."""
        from idse.learned.vae.model import current

        return tuple(os.fspath(model) for model in self._models) or current()

    def networks(self) -> list[Network]:
        """Return the models that it codes with.

        Raises
        ------
        ModelError
            There is none, or one cannot be loaded.
        MissingExtraError
            The extra ``vae`` is not installed.
        """
        with self._lock:
            if self._networks is None:
                self._networks = self._load()
            return self._networks

    def _load(self) -> list[Network]:
        from idse.learned.vae.model import load

        if not self.names:
            raise ModelError(
                "no VAE model came with this package: name the file of one (--vae-model)"
            )
        return [load(name) for name in self.names]

    def find(self, identity: bytes) -> Network:
        """Return the model that has an identity, as `idse.codecs.vae.decode` asks for it.

        Raises
        ------
        ModelError
            It is not here.
        MissingExtraError
            The extra ``vae`` is not installed.
        """
        from idse.learned.vae.model import built_in, finder

        for network in self.networks():
            if network.identity.startswith(identity):
                return network
        with self._lock:
            if self._find is None:
                self._find = finder(dict.fromkeys((*self.names, *built_in())))
        return self._find(identity)

    def encode(self, pixels: npt.NDArray[np.uint8], limit: int) -> Encoded:
        """Code a picture in at most so many bytes.

        Parameters
        ----------
        pixels
            uint8 ``(height, width, 3)`` R'G'B', or ``(height, width)`` grey.
        limit
            Bytes of the file.

        Raises
        ------
        TargetError
            No model can go that low.
        InputError, ModelError, CodecError, MissingExtraError
            As `idse.codecs.vae.encode` and `networks`; ModelError also where torch fails.
        """
        return self._encoded(
            lambda networks: vae.encode(_colours(pixels), networks, target_bytes=limit)
        )

    def coarsest(self, pixels: npt.NDArray[np.uint8]) -> Encoded:
        """Code a picture in as few bytes as any model can; otherwise as `encode`."""

        def code(networks: list[Network]) -> Encoded:
            colours = _colours(pixels)
            made = [vae.encode(colours, item, step=item.steps[1]) for item in networks]
            return min(made, key=lambda item: len(item.data))

        return self._encoded(code)

    def _encoded(self, code: Callable[[list[Network]], Encoded]) -> Encoded:
        networks = self.networks()
        try:
            return code(networks)
        except IdseError:
            raise
        # Out of memory, say: torch has exceptions of its own.
        except Exception as error:
            raise ModelError(f"the VAE failed: {describe(error)}") from error

    def decode(self, data: bytes, *, max_pixels: int = vae.MAX_PIXELS) -> npt.NDArray[np.uint8]:
        """Return the picture in a file, uint8 ``(height, width, 3)`` R'G'B'.

        Raises
        ------
        InputError
            It is damaged, too large, or no such file.
        ModelError
            Its model is not here, or torch fails.
        MissingExtraError
            The extra ``vae`` is not installed.
        """
        try:
            return vae.decode(data, self.find, max_pixels=max_pixels)
        except IdseError:
            raise
        except Exception as error:
            raise ModelError(f"the VAE failed: {describe(error)}") from error


def _colours(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(pixels if pixels.ndim == 3 else np.stack([pixels] * 3, -1))


@lru_cache(maxsize=8)
def codec_of(models: tuple[str, ...] = ()) -> VaeCodec:
    """Return the codec of some models, the same for all of a process; see `VaeCodec`."""
    return VaeCodec(models)
