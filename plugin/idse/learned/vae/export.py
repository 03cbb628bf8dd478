"""A trained network to a model file: floats for the transforms, integers for the rest."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from torch import nn

from idse.codecs.vae.integers import FRACTION, MAX_ACTIVATION, MAX_INPUT, IntegerLayer
from idse.codecs.vae.prior import OCTAVE
from idse.codecs.vae.tables import PRECISION
from idse.errors import InputError, ModelError
from idse.files import write_atomically
from idse.learned.vae.model import FORMAT, VERSION, ModelFile, Tensors, identity_of
from idse.learned.vae.networks import MIN_SCALE, HyperpriorVae

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from idse.learned.vae.networks import FactorisedVae
    from idse.learned.vae.prior import FactorisedPrior

# Of a Gaussian's scale in steps, in the last table: beyond it, what lies outside is escaped.
_MAX_SCALE: Final = 256.0

_PER_OCTAVE: Final = 8

# Half-width of a table of hyper latents or factorised latents, at most.
_WIDEST: Final = 1 << 11

# How much finer and coarser than what a model was made for. A factorised model needs tables for
# every step, which grow with its fineness.
DEFAULT_STEPS: Final = {
    "hyperprior": (-6 * OCTAVE, 6 * OCTAVE),
    "factorised": (-3 * OCTAVE, 3 * OCTAVE),
}

_EXACT: Final = 1 << 53

# Of a model that was never measured.
_NO_CURVE: Final = ((1.0, 1.0),)

# Frequencies, and the number that the first belongs to.
_Tables = list[tuple[npt.NDArray[np.uint16], int]]


def make(
    vae: FactorisedVae | HyperpriorVae,
    *,
    steps: tuple[int, int] | None = None,
    card: dict[str, Any] | None = None,
) -> ModelFile:
    """Return a model file with the network's own probabilities.

    `idse.learned.vae.calibrate.calibrated` makes one that knows photographs.

    Parameters
    ----------
    vae
        Trained.
    steps
        Finest and coarsest step that the model is good for: 1024 times their binary logarithm;
        `DEFAULT_STEPS` of its architecture by default.
    card
        How the model was made.

    Raises
    ------
    InputError
        The steps are the wrong way round.
    ModelError
        The network's weights do not fit into integers, or into 16 bits.
    """
    steps = steps or DEFAULT_STEPS[vae.config.architecture]
    if not steps[0] <= steps[1]:
        raise InputError(f"steps from {steps[0]} to {steps[1]}: give the finer one first")
    base = np.rint(vae.log2_base.detach().double().cpu().numpy() * OCTAVE).astype(np.int16)
    tensors = _transform_tensors(vae) | {"base": base}
    layers: list[dict[str, Any]] = []
    if isinstance(vae, HyperpriorVae):
        first = round(math.log2(MIN_SCALE) * OCTAVE)
        tensors |= _named("tables", _gaussian_tables(first))
        tensors |= _named("side", _factorised_row(vae.prior, np.ones(vae.prior.channels)))
        hyper, layers = _hyper_tensors(vae.hyper_synthesis)
        tensors |= hyper
    else:
        first = -steps[1]
        tensors |= _named("tables", _factorised_tables(vae, base, steps))
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "kind": vae.config.architecture,
        "config": json.dumps(dataclasses.asdict(vae.config), sort_keys=True),
        "first": json.dumps(first),
        "hyper": json.dumps(layers, sort_keys=True),
        "steps": json.dumps(steps),
        "curve": json.dumps(_NO_CURVE),
        "card": json.dumps(card or {}, sort_keys=True),
    }
    return sealed(ModelFile(name="new", metadata=metadata, tensors=tensors))


def sealed(
    file: ModelFile,
    *,
    tensors: Mapping[str, npt.NDArray[Any]] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ModelFile:
    """Return a model file with other tensors, or metadata (of which JSON is made)."""
    strings = file.metadata | {key: json.dumps(value) for key, value in (metadata or {}).items()}
    content = file.tensors | dict(tensors or {})
    strings["identity"] = identity_of(strings, content).hex()
    return ModelFile(name=file.name, metadata=strings, tensors=content)


def write(file: ModelFile, path: str | os.PathLike[str]) -> None:
    """Write a model file; its name ends in ``.safetensors``.

    Raises
    ------
    OutputError
        It cannot be written; what was there still is.
    """
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in file.tensors.items()}
    write_atomically(path, safetensors.numpy.save(tensors, file.metadata))


def _transform_tensors(vae: FactorisedVae | HyperpriorVae) -> Tensors:
    """Halve the convolutions' weights: what is lost is a thousandth of quantisation's error."""
    prefixes = ("analysis.", "hyper_analysis.", "synthesis.")
    tensors: Tensors = {}
    for name, tensor in vae.state_dict().items():
        if name.startswith(prefixes):
            values = tensor.detach().cpu().numpy()
            with np.errstate(over="ignore"):
                kept = values.astype(np.float16 if values.ndim == 4 else np.float32)
            if not np.isfinite(kept).all():
                raise ModelError(
                    f"{name} holds {values.flat[np.abs(values).argmax()]:g}, which float16 does "
                    "not: training diverged"
                )
            tensors[name] = kept
    return tensors


def _named(prefix: str, tables: _Tables) -> Tensors:
    frequencies = [table for table, _ in tables]
    return {
        f"{prefix}.frequencies": np.concatenate(frequencies),
        f"{prefix}.sizes": np.array([len(table) for table in frequencies], np.int32),
        f"{prefix}.lows": np.array([low for _, low in tables], np.int32),
    }


def integer_frequencies(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Return frequencies of at least 1 that sum to 2^16, as near to probabilities as that allows.

    Parameters
    ----------
    probabilities : float64 array ``(n,)``
        At least 0, with a sum above 0; n is 2 to 16384.
    """
    wanted = probabilities / probabilities.sum() * (1 << PRECISION)
    frequencies = np.maximum(np.floor(wanted), 1).astype(np.int64)
    missing = (1 << PRECISION) - int(frequencies.sum())
    # The likeliest first: there a unit more or less costs least.
    order = np.argsort(-(wanted - frequencies) if missing > 0 else -wanted, kind="stable")
    while missing:
        step = 1 if missing > 0 else -1
        able = order if missing > 0 else order[frequencies[order] > 1]
        chosen = able[: abs(missing)]
        frequencies[chosen] += step
        missing -= step * len(chosen)
    done: npt.NDArray[np.uint16] = frequencies.astype(np.uint16)
    return done


def _cut_table(
    probabilities: npt.NDArray[np.float64], low: int
) -> tuple[npt.NDArray[np.uint16], int]:
    """Return a table of the numbers that are likely enough, the others' share as its escape."""
    likely = np.flatnonzero(probabilities * (1 << PRECISION) >= 0.5)
    # Never without -1, 0 and 1: escapes cost two bits more than the rarest number.
    start = min(int(likely[0]), -low - 1) if len(likely) else -low - 1
    end = max(int(likely[-1]) + 1, -low + 2) if len(likely) else -low + 2
    kept = probabilities[start:end]
    escape = max(1.0 - float(kept.sum()), 0.0)
    return integer_frequencies(np.append(kept, escape)), low + start


def _gaussian_tables(first: int) -> _Tables:
    tables = []
    count = round((math.log2(_MAX_SCALE) - first / OCTAVE) * _PER_OCTAVE) + 1
    for place in range(count):
        scale = 2.0 ** (first / OCTAVE + place / _PER_OCTAVE)
        half = math.ceil(6 * scale) + 1
        edges = (torch.arange(-half, half + 2, dtype=torch.float64) - 0.5) / scale
        # Differences of the lower tail lose no digits; the upper half mirrors the lower.
        cells = torch.special.ndtr(edges).diff()[: half + 1].numpy()
        tables.append(_cut_table(np.concatenate([cells, cells[-2::-1]]), -half))
    return tables


def _factorised_row(prior: FactorisedPrior, widths: npt.NDArray[np.float64]) -> _Tables:
    """Return a table per feature map, of cells around whole multiples of its width."""
    half = 1
    while half < _WIDEST:
        outer = torch.from_numpy(widths)[:, None] * torch.tensor([-half, half])
        low, high = prior.cumulative(outer.double()).numpy().T
        if max(low.max(), (1 - high).max()) < 2.0 ** -(PRECISION + 1):
            break
        half *= 2
    edges = torch.arange(-half, half + 2, dtype=torch.float64) - 0.5
    cells = prior.cumulative(torch.from_numpy(widths)[:, None] * edges).diff().numpy()
    return [_cut_table(row, -half) for row in cells]


def _factorised_tables(
    vae: FactorisedVae | HyperpriorVae, base: npt.NDArray[np.int16], steps: tuple[int, int]
) -> _Tables:
    """Return tables map after map, each map's from the coarsest step to the finest."""
    spacing = OCTAVE // _PER_OCTAVE
    places = math.ceil((steps[1] - steps[0]) / spacing) + 1
    by_place = []
    for place in range(places):
        widths = 2.0 ** ((base.astype(np.float64) + steps[1] - place * spacing) / OCTAVE)
        by_place.append(_factorised_row(vae.prior, widths))
    return [by_place[place][channel] for channel in range(len(base)) for place in range(places)]


def _hyper_tensors(synthesis: nn.Sequential) -> tuple[Tensors, list[dict[str, Any]]]:
    """Return h_s in whole numbers."""
    tensors: Tensors = {}
    metadata: list[dict[str, Any]] = []
    modules = list(synthesis)
    convolutions = [i for i, m in enumerate(modules) if not isinstance(m, nn.ReLU)]
    for number, place in enumerate(convolutions):
        module = modules[place]
        relu = place + 1 < len(modules) and isinstance(modules[place + 1], nn.ReLU)
        limit, fraction = (MAX_ACTIVATION, FRACTION) if number else (MAX_INPUT, 0)
        layer = integer_layer(module, relu=relu, limit=limit, fraction=fraction)
        tensors |= {
            f"hyper.{number}.weight": layer.weight,
            f"hyper.{number}.bias": layer.bias,
            f"hyper.{number}.shift": layer.shift,
        }
        metadata.append({"shuffle": layer.shuffle, "relu": layer.relu})
    return tensors, metadata


def integer_layer(module: nn.Module, *, relu: bool, limit: int, fraction: int) -> IntegerLayer:
    """Round a convolution, or a transposed one of stride 2, to whole numbers.

    Parameters
    ----------
    module
        Of stride 1, or transposed of 5x5 and stride 2; zeros around the plane.
    relu
        Whether a ReLU follows.
    limit
        Magnitude that inputs are clipped to.
    fraction
        Binary places after the point in the inputs.

    Raises
    ------
    ModelError
        It is another module, or its weights are too large.
    """
    if isinstance(module, nn.ConvTranspose2d):
        weight, shuffle = _as_shuffled(module), 2
    elif isinstance(module, nn.Conv2d) and module.stride == (1, 1):
        weight, shuffle = module.weight.detach().double().cpu().numpy(), 1
    else:
        raise ModelError(f"{module} has no integer form: use stride 1, or transposed stride 2")
    assert module.bias is not None
    bias = np.repeat(module.bias.detach().double().cpu().numpy(), shuffle**2)
    largest = np.abs(weight).max(axis=(1, 2, 3))
    sums = np.abs(weight).sum(axis=(1, 2, 3)) * limit + np.abs(bias) * 2**fraction
    # Of each row the most places that 16 bits, and sums below 2^52, leave room for.
    places = np.minimum(
        np.floor(np.log2(((1 << 15) - 1) / np.maximum(largest, 2.0**-20))),
        np.floor(np.log2((_EXACT >> 1) / np.maximum(sums, 2.0**-20))),
    ).astype(np.int64)
    shift = places + fraction - FRACTION
    if shift.min() < 0:
        raise ModelError("the hyper-synthesis' weights are too large for integers")
    rows = np.exp2(places.astype(np.float64))
    return IntegerLayer(
        weight=np.rint(weight * rows[:, None, None, None]).astype(np.int16),
        bias=np.rint(bias * rows * 2.0**fraction).astype(np.int64),
        shift=shift.astype(np.uint8),
        shuffle=shuffle,
        relu=relu,
    )


def _as_shuffled(module: nn.ConvTranspose2d) -> npt.NDArray[np.float64]:
    """Return the 3x3 convolution ``(4 outputs, inputs, 3, 3)`` whose shuffled output is the same.

    Sample 2 m + p of the result sums weight[k] x[i] over k = 2 + 2 m + p - 2 i: rows 0, 2, 4 of
    the kernel make even samples (from i = m + 1, m, m - 1), rows 1, 3 odd ones (from m + 1, m).
    """
    shape = module.kernel_size, module.stride, module.padding, module.output_padding
    if shape != ((5, 5), (2, 2), (2, 2), (1, 1)):
        raise ModelError(f"{module} has no integer form: use 5x5, stride 2")
    kernel = module.weight.detach().double().cpu().numpy().transpose(1, 0, 2, 3)
    taps = {0: [(0, 4), (1, 2), (2, 0)], 1: [(1, 3), (2, 1)]}
    out = np.zeros((kernel.shape[0], 2, 2, kernel.shape[1], 3, 3))
    for i in (0, 1):
        for j in (0, 1):
            for row, k in taps[i]:
                for column, m in taps[j]:
                    out[:, i, j, :, row, column] = kernel[:, :, k, m]
    return out.reshape(-1, kernel.shape[1], 3, 3)
