"""Teachers: what sketches of a network say about pictures, kept on disk by content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from safetensors.numpy import load_file, save

from idse.errors import ModelError
from idse.files import write_atomically
from idse.importance.analyser import DTYPES, cast_network
from idse.importance.energy import macroblock_energy
from idse.importance.sketch import SketchSettings, sketch_gradients
from idse.learned.student.pictures import content_key
from idse.vision import load_model
from idse.vision.threads import one_thread

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from idse.picture import Picture

# Luma samples of a target's block.
BLOCK = 4
# Lags of the autocorrelation to each side, in samples of the network's input. Blocks of 8x8 reach
# over 8 samples and the resize's support where the picture is not shrunk, and fewer where it is.
LAGS = 12
# Rows of the sketch: what one row costs beside the forward pass buys a less noisy target.
ROWS = 8
# Energies are kept as natural logarithms in float16; a block that has none is this.
_NOTHING = -200.0
# What is kept has another meaning whenever this changes.
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a teacher says about one picture.

    Attributes
    ----------
    log_energy
        float32 ``(ceil(height / 4), ceil(width / 4))``: natural logarithm of the importance of all
        planes per luma sample, block by block; -200 where there is none.
    autocorrelation
        float32 ``(3, 2 * LAGS + 1, 2 * LAGS + 1)``: of the gradients with respect to the planes at
        the resolution of the network's input, summed over rows of the sketch, mean over samples.
    """

    log_energy: npt.NDArray[np.float32]
    autocorrelation: npt.NDArray[np.float32]


class Teacher:
    """A network whose importance a student learns.

    Parameters
    ----------
    name
        As for `idse.vision.load_model`.
    n_s
        Rows of the sketch.
    seed
        Of the sketch; every picture has signs of its own.
    dtype
        What the network runs in, as for `idse.importance.Analyser`.

    Raises
    ------
    ModelError
        The network is unknown or cannot be loaded.
    """

    def __init__(
        self, name: str, *, n_s: int = ROWS, seed: int = 0, dtype: str = "float32"
    ) -> None:
        self.name = name
        self._settings = SketchSettings(n_s=n_s, seed=seed, dtype=DTYPES[dtype])
        network = load_model(name)
        self.description = {
            "size": list(network.size),
            "fit": network.fit,
            "stride": network.stride,
        }
        settings = hashlib.sha256(
            f"{_VERSION} {name} {n_s} {seed} {dtype} {self.description}".encode()
        )
        for value in network.module.state_dict().values():
            settings.update(value.detach().cpu().flatten().numpy().tobytes())
        self._key = settings.hexdigest()[:16]
        self._network = cast_network(network, DTYPES[dtype])

    def lesson(self, picture: Picture, cache: Path) -> Lesson:
        """Return what the network says about a picture, from the cache where it is known.

        Parameters
        ----------
        picture
            Its index does not matter: the sketch's signs depend on the content.
        cache
            A folder, made where it is missing.

        Raises
        ------
        ModelError
            The network fails on this picture.
        OutputError
            The cache cannot be written.
        """
        key = content_key(picture)
        path = cache / self._key / f"{key}.safetensors"
        try:
            kept = load_file(path)
            return Lesson(kept["log_energy"].astype(np.float32), kept["autocorrelation"])
        except (FileNotFoundError, KeyError, safetensors.SafetensorError):
            found = self._look(picture, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, npt.NDArray[Any]] = {
            "log_energy": found.log_energy.astype(np.float16),
            "autocorrelation": found.autocorrelation,
        }
        write_atomically(path, save(tensors))
        return found

    def _look(self, picture: Picture, key: str) -> Lesson:
        numbered = type(picture)(
            planes=picture.planes, format=picture.format, index=int(key[:12], 16)
        )
        form = picture.format
        with one_thread():
            gradients = sketch_gradients(self._network, numbered, self._settings)
            geometry = self._network.geometry(form)
            energy = macroblock_energy(gradients, form, geometry, size=BLOCK).sum(0).double()
            correlation = autocorrelation(gradients)
        if not float(energy.sum()) < float("inf"):
            raise ModelError(f"{self.name} has gradients too large to square")
        log_energy = torch.log(energy / _samples(form.height, form.width)).clamp_min(_NOTHING)
        # Rounded as it is kept: what is new and what comes from the cache are the same.
        rounded = log_energy.half().float().cpu().numpy()
        return Lesson(rounded, correlation.float().cpu().numpy())


def _samples(height: int, width: int) -> Tensor:
    """Return how many luma samples each block has inside the picture."""

    def lengths(size: int) -> Tensor:
        return (size - torch.arange(0, size, BLOCK, dtype=torch.float64)).clamp_max(BLOCK)

    return torch.outer(lengths(height), lengths(width))


def autocorrelation(gradients: Tensor) -> Tensor:
    """Return the autocorrelation of gradients ``(n, 3, rows, columns)``, summed over n.

    Returns
    -------
    Tensor
        float64 ``(3, 2 * LAGS + 1, 2 * LAGS + 1)``, mean over the plane's samples; what lies
        outside counts as 0.
    """
    rows, columns = gradients.shape[-2:]
    # Room for the lags is enough: what wraps around lands beyond them.
    spectrum = torch.fft.rfft2(gradients.float(), s=(rows + LAGS, columns + LAGS))
    power = (spectrum.real.square() + spectrum.imag.square()).sum(0)
    plane = torch.fft.irfft2(power, s=(rows + LAGS, columns + LAGS)).double()
    lags = torch.arange(-LAGS, LAGS + 1)
    found: Tensor = plane[:, lags][:, :, lags] / (rows * columns)
    return found
