"""From decoded pictures to importance maps, by one network or several."""

from __future__ import annotations

import copy
import math
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch

from idse.errors import InputError, ModelError
from idse.importance.bounds import DEFAULT_ROWS, check_sketch
from idse.importance.coefficients import coefficient_weights
from idse.importance.energy import luma_block_energy, macroblock_energy
from idse.importance.frequencies import spectrum
from idse.importance.maps import ImportanceMap, MapMetadata
from idse.importance.naming import checked_weight, split_weight
from idse.importance.sketch import (
    SketchedJacobian,
    SketchSettings,
    batch_gradients,
    sketch_gradients,
)
from idse.importance.spectrum import Spectrum
from idse.vision import load_model
from idse.vision.threads import one_thread
from idse.weight_kernels import frequency_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from idse.picture import Picture
    from idse.vision import FeatureExtractor

_BLOCK = 4
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def load_networks(specs: Sequence[str]) -> list[tuple[FeatureExtractor, float]]:
    """Load networks named as on the command line: ``MODEL`` or ``MODEL=WEIGHT``.

    Raises
    ------
    ModelError
        A model is unknown or cannot be loaded.
    InputError
        A weight that is not a number above 0.
    """
    networks = []
    for spec in specs:
        name, weight = split_weight(spec)
        network = load_model(name)
        network.name = name  # so that reports and errors say what the user can type again
        networks.append((network, weight))
    return networks


class Analyser:
    """Computes importance maps, on one CPU thread (or where the networks' parameters are).

    One thread, because sums depend in their last digits on how many there are, and a map must not
    depend on the machine's cores; and because the encoder has use for the other ones.

    Parameters
    ----------
    networks
        Networks and their weights, finite and above 0. With several, a network's energy is
        divided by its mean over the frames analysed so far (this one and those with a lower
        index), and the quotients are averaged with these weights: features of different networks
        have different units, and a weight says how much a network's *typical* importance counts
        beside the others'. Frames should then come in order. The energy of a single network is
        left as it is, whatever its weight.
    n_s
        Rows of the sketch per network, >= 1.
    seed
        From 0 on. The signs of a frame depend on ``(seed, frame index, position of the network)``
        only.
    dtype
        What the networks run in: ``"float32"``, ``"float64"``, or ``"bfloat16"``, which is 1.7
        times as fast as float32 on CPUs with AVX512-BF16 and changes a macroblock's energy by
        about 9 % (median, yolov4-tiny at 416); other CPUs may gain nothing.

    Raises
    ------
    InputError
        No network, or a value outside its range.
    """

    def __init__(
        self,
        networks: Sequence[tuple[FeatureExtractor, float]],
        *,
        n_s: int = DEFAULT_ROWS,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        if not networks:
            raise InputError("importance needs at least one network, got none")
        check_sketch(n_s, seed)
        if dtype not in DTYPES:
            raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        self.n_s = n_s
        self.seed = seed
        self.dtype = dtype
        self._settings = SketchSettings(n_s=n_s, seed=seed, dtype=DTYPES[dtype])
        self._weights = [checked_weight(network.name, w) for network, w in networks]
        self._networks = [cast_network(network, DTYPES[dtype]) for network, _ in networks]
        # The last picture of which more than a map was asked for, and its gradients, for its
        # analysis.
        self._kept: tuple[Picture | None, list[Tensor]] = (None, [])
        # Frame index -> each network's ||J_s||_F^2, for the running mean.
        self._totals: dict[int, list[float]] = {}

    @property
    def likeness(self) -> tuple[object, ...]:
        """What analysers have in common whose pictures `prepare_together` takes at once."""
        return (*(id(network.module) for network in self._networks), self._settings)

    @property
    def metadata(self) -> MapMetadata:
        """What a map file says about how its maps were made."""
        names = [network.name for network in self._networks]
        if len(names) > 1:
            names = [f"{n}={w:g}" for n, w in zip(names, self._weights, strict=True)]
        return MapMetadata(model=" ".join(names), n_s=self.n_s, seed=self.seed, dtype=self.dtype)

    def analyse(self, picture: Picture) -> ImportanceMap:
        """Compute the importance of every macroblock of a picture.

        The same energies as ``sketch(picture).block_energy()`` without ever holding the Jacobian
        at the picture's resolution.

        Raises
        ------
        ModelError
            A network fails on this picture, or is not finite there.
        """
        _, energies, scales = self._seen(picture)
        energy = sum(e * s for e, s in zip(energies, scales, strict=True))
        return ImportanceMap.of(picture, np.asarray(energy, np.float32))

    def weight(self, picture: Picture) -> npt.NDArray[np.float32]:
        """Compute the importance of every macroblock per luma sample, as `ImportanceMap.weight`.

        Raises
        ------
        ModelError
            As `analyse`.
        """
        return self.analyse(picture).weight()

    def spectrum(self, picture: Picture) -> Spectrum:
        """Compute the mean importance per frequency; `analyse` of the same picture is then quick.

        Raises
        ------
        ModelError
            As `analyse`.
        """
        with one_thread():
            gradients, _, scales = self._seen(picture)
            parts = [
                spectrum(g * math.sqrt(scale), picture.format, network.geometry(picture.format))
                for network, g, scale in zip(self._networks, gradients, scales, strict=True)
            ]
        self._kept = (picture, gradients)
        return Spectrum.total(parts)

    def coefficients(self, picture: Picture) -> list[npt.NDArray[np.float32]]:
        """Compute the weights of a JPEG's coefficients; `analyse` of the same is then quick.

        Parameters
        ----------
        picture
            Sampled as the JPEG: its planes are what the blocks cover. In JFIF's colours it has
            ``matrix="bt601"``, ``full_range=True`` and ``siting="center"``.

        Returns
        -------
        list of ndarray
            For Y, Cb and Cr, float32 ``(block rows, block columns, 8, 8)``:
            `idse.importance.coefficients.coefficient_weights`, with several networks their
            weighted sum as in `analyse`.

        Raises
        ------
        ModelError
            As `analyse`.
        """
        if len(self._networks) == 1:
            return self._coefficients_of_one(picture)
        with one_thread():
            gradients, _, scales = self._seen(picture)
            parts = [
                coefficient_weights(
                    g * math.sqrt(scale), picture.format, network.geometry(picture.format)
                )
                for network, g, scale in zip(self._networks, gradients, scales, strict=True)
            ]
        self._kept = (picture, gradients)
        return [np.sum(planes, axis=0) for planes in zip(*parts, strict=True)]

    def _coefficients_of_one(self, picture: Picture) -> list[npt.NDArray[np.float32]]:
        """Return a single network's weights: no other's energy is there to compare its own with."""
        (network,) = self._networks
        with one_thread():
            (gradients,) = self._gradients(picture)
            geometry = network.geometry(picture.format)
            found = coefficient_weights(gradients, picture.format, geometry)
        try:
            for weights in found:
                frequency_sums(weights)
        except InputError as error:
            raise self._too_large(picture, network) from error
        self._kept = (picture, [gradients])
        return list(found)

    def blocks(self, picture: Picture) -> npt.NDArray[np.float32]:
        """Compute the importance of 4x4 luma blocks; `analyse` of the same picture is then quick.

        The same energies as ``sketch(picture).block_energy(4)[0]``, without full-resolution
        gradients.

        Returns
        -------
        ndarray
            float32 ``(ceil(height / 4), ceil(width / 4))``, as
            `idse.allocation.weights.block_weights` takes them.

        Raises
        ------
        ModelError
            As `analyse`.
        """
        with one_thread():
            gradients, _, scales = self._seen(picture)
            energy = sum(
                luma_block_energy(g, picture.format, network.geometry(picture.format), _BLOCK)
                .cpu()
                .double()
                * scale
                for network, g, scale in zip(self._networks, gradients, scales, strict=True)
            )
        self._kept = (picture, gradients)
        return np.asarray(energy, np.float32)

    def sketch(self, picture: Picture) -> SketchedJacobian:
        """Compute J_s with respect to every sample: ``n_s`` rows per network.

        Memory: ``4 * n_s`` bytes per sample and network (8 in float64).

        Raises
        ------
        ModelError
            As `analyse`.
        """
        with one_thread():
            gradients, _, scales = self._seen(picture)
            parts = [
                network.shrink_transposed(g * math.sqrt(scale), picture.format)
                for network, g, scale in zip(self._networks, gradients, scales, strict=True)
            ]
        y, cb, cr = (torch.cat(planes)[:, 0].cpu().numpy() for planes in zip(*parts, strict=True))
        return SketchedJacobian(y=y, cb=cb, cr=cr, format=picture.format)

    def gradients(self, pictures: Sequence[Picture]) -> list[list[Tensor]]:
        """Compute every picture's sketch at the resolution of each network, all at once.

        Parameters
        ----------
        pictures
            Of one format.

        Returns
        -------
        list
            For each picture and network what `idse.importance.sketch.sketch_gradients` returns.

        Raises
        ------
        ModelError
            As `analyse`, on any of the pictures.
        """
        with one_thread():
            found = [
                batch_gradients(network, pictures, self._settings, stream=k)
                for k, network in enumerate(self._networks)
            ]
        return [list(parts) for parts in zip(*found, strict=True)]

    def keep(self, picture: Picture, gradients: list[Tensor]) -> None:
        """Take the `gradients` of the picture that is asked about next, which is then quick."""
        self._kept = (picture, gradients)

    def forget(self) -> None:
        """Let go of the last picture and its gradients."""
        self._kept = (None, [])

    def _seen(self, picture: Picture) -> tuple[list[Tensor], list[Tensor], list[float]]:
        """Return every network's gradients, energies, and the factor of its energies."""
        with one_thread():
            gradients = self._gradients(picture)
            energies = [self._energy(picture, g, k) for k, g in enumerate(gradients)]
        return gradients, energies, self._scales(picture, energies)

    def _gradients(self, picture: Picture) -> list[Tensor]:
        (seen, gradients), self._kept = self._kept, (None, [])
        if seen is picture:
            return gradients
        return [
            sketch_gradients(network, picture, self._settings, stream=k)
            for k, network in enumerate(self._networks)
        ]

    def _energy(self, picture: Picture, gradients: Tensor, k: int) -> Tensor:
        geometry = self._networks[k].geometry(picture.format)
        energy = macroblock_energy(gradients, picture.format, geometry).cpu().double()
        # Squares of finite float32 gradients may overflow, and must in the map's float32, too.
        if not bool((energy < torch.finfo(torch.float32).max).all()):
            raise self._too_large(picture, self._networks[k])
        return energy

    @staticmethod
    def _too_large(picture: Picture, network: FeatureExtractor) -> ModelError:
        return ModelError(
            f"{network.name} on frame {picture.index} has gradients too large to square"
        )

    def _scales(self, picture: Picture, energies: list[Tensor]) -> list[float]:
        """Return the factor of each network's energy."""
        if len(energies) == 1:
            return [1.0]
        self._totals[picture.index] = [float(energy.sum()) for energy in energies]
        seen = [totals for index, totals in self._totals.items() if index <= picture.index]
        samples = picture.format.width * picture.format.height
        means = [sum(column) / len(seen) / samples for column in zip(*seen, strict=True)]
        shares = [weight / sum(self._weights) for weight in self._weights]
        # A network that has been blind so far has nothing to say.
        return [s / mean if mean > 0 else 0.0 for s, mean in zip(shares, means, strict=True)]


def prepare_together(pairs: Sequence[tuple[Analyser, Picture]]) -> None:
    """Run the networks once over several pictures; each analyser's next analysis is then quick.

    Parameters
    ----------
    pairs
        Different analysers of one `Analyser.likeness`, each with the picture that it is asked
        about next. Pictures share a format.

    Raises
    ------
    ModelError
        As `Analyser.analyse`, on any of the pictures. Nothing is prepared then.
    """
    found = pairs[0][0].gradients([picture for _, picture in pairs])
    for (analyser, picture), gradients in zip(pairs, found, strict=True):
        analyser.keep(picture, gradients)


def cast_network(network: FeatureExtractor, dtype: torch.dtype) -> FeatureExtractor:
    """Return the network in another type; the caller's own is left alone."""
    tensors = chain(network.module.parameters(), network.module.buffers())
    if all(tensor.dtype == dtype for tensor in tensors if tensor.is_floating_point()):
        return network
    other = copy.copy(network)
    other.module = copy.deepcopy(network.module).to(dtype)
    return other
