"""Model files of the learned picture codec, and the networks in them.

File format ``idse-vae``, version 1: a safetensors file with the string metadata ``format``,
``version``, ``kind`` (``factorised`` or ``hyperprior``), ``config`` (JSON, see
`idse.learned.vae.networks.VaeConfig`), ``first`` and ``hyper`` (see `idse.codecs.vae.Prior`; JSON,
the second a list of ``{"shuffle": 1 or 2, "relu": true or false}``), ``steps`` and ``curve`` (JSON,
see `idse.codecs.vae.Network`), ``card`` (JSON: how it was made) and ``identity``. Tensors:

- ``analysis.*``, ``hyper_analysis.*``: the encoder's networks, float16 or float32;
- ``synthesis.*``: the decoder's;
- ``tables.frequencies`` (uint16), ``tables.sizes`` and ``tables.lows`` (int32); ``side.*`` alike;
- ``base`` (int16);
- ``hyper.N.weight`` (int16), ``hyper.N.bias`` (int64), ``hyper.N.shift`` (uint8).

``identity`` is the SHA-256 of all that decoding depends on (`identity_of`): another encoder for the
same decoder leaves it as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from idse.codecs.vae import EntropyTables, IntegerLayer, IntegerNetwork, Network, Prior
from idse.errors import ModelError, missing_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from idse.learned.vae.networks import FactorisedVae, HyperpriorVae, VaeConfig

FORMAT: Final = "idse-vae"
VERSION: Final = "1"

# What encoding alone needs.
_ENCODER: Final = ("analysis.", "hyper_analysis.")

# Beside those of other networks: models that ship are called vae-KIND-NUMBER.
_WEIGHTS: Final = Path(__file__).parents[2] / "weights"
_PREFIX: Final = "vae-"
_MAX_FILE_BYTES: Final = 1 << 30

# Of a network: no file may ask for more memory than its own weights could fill.
_MOST_CHANNELS: Final = 1024

T = TypeVar("T")

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFile:
    """A model file's content, without a network built from it.

    Attributes
    ----------
    name
        For messages.
    metadata
        Strings.
    tensors
        Arrays by name.
    """

    name: str
    metadata: dict[str, str]
    tensors: Tensors

    @property
    def identity(self) -> bytes:
        """SHA-256 over everything that decoding depends on."""
        return identity_of(self.metadata, self.tensors)

    def value(self, key: str, read: Callable[[Any], T]) -> T:
        """Return what ``read`` makes of a metadata string's JSON.

        Raises
        ------
        ModelError
            There is none, it is not JSON, or ``read`` cannot make anything of it.
        """
        try:
            return read(json.loads(self.metadata[key]))
        except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ModelError(f"model {self.name}: its {key!r} is damaged: {error}") from error


def identity_of(metadata: Mapping[str, str], tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return SHA-256 over everything that decoding depends on, 32 bytes.

    That is ``kind``, ``config``, ``first`` and ``hyper`` of the metadata, and all tensors but the
    encoder's, in alphabetical order, each behind its name, type and shape.
    """
    digest = hashlib.sha256(f"{FORMAT} {VERSION}\n".encode())
    for key in ("config", "first", "hyper", "kind"):
        digest.update(f"{key} {metadata[key]}\n".encode())
    for name in sorted(tensors):
        if not name.startswith(_ENCODER):
            tensor = tensors[name]
            digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
            digest.update(np.ascontiguousarray(tensor).data)
    return digest.digest()


def built_in() -> tuple[str, ...]:
    """Return the names of the models that came with the package, ``vae-KIND-NUMBER``.

    A better model of a kind gets the next number and stays beside those before it: their streams
    stay readable.
    """
    return tuple(sorted(path.stem for path in _WEIGHTS.glob(f"{_PREFIX}*-[0-9]*.safetensors")))


def current() -> tuple[str, ...]:
    """Return those of `built_in` that pictures are coded by: the last of each kind."""
    last: dict[str, int] = {}
    for name in built_in():
        kind, _, number = name.rpartition("-")
        last[kind] = max(last.get(kind, 0), int(number))
    return tuple(f"{kind}-{number}" for kind, number in sorted(last.items()))


def _path(path_or_name: str | os.PathLike[str]) -> Path:
    if isinstance(path_or_name, str) and path_or_name in built_in():
        return _WEIGHTS / f"{path_or_name}.safetensors"
    path = Path(path_or_name)
    if path.suffix != ".safetensors":
        known = ", ".join(built_in()) or "none"
        raise ModelError(
            f"unknown VAE model {os.fspath(path_or_name)!r}: built in are {known}; anything else "
            "is the path of a .safetensors file"
        )
    return path


def read_file(path_or_name: str | os.PathLike[str]) -> ModelFile:
    """Read a model file and check that it is what it says it is. Needs no torch.

    Parameters
    ----------
    path_or_name
        A name from `built_in`, or a path that ends in ``.safetensors``.

    Raises
    ------
    ModelError
        No such model, or it is damaged or of another format.
    """
    path = _path(path_or_name)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ModelError(f"{path} is too large for a VAE model")
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"cannot read the VAE model {path}: {reason}") from error
    except (safetensors.SafetensorError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is no safetensors file: {error}") from error
    found = metadata.get("format"), metadata.get("version")
    if found != (FORMAT, VERSION):
        raise ModelError(
            f"{path} is of format {found[0]}, version {found[1]}; expected {FORMAT}, {VERSION}"
        )
    if not {"config", "first", "hyper", "identity", "kind"} <= metadata.keys():
        raise ModelError(f"{path} lacks metadata of a VAE model")
    file_ = ModelFile(name=path.stem, metadata=metadata, tensors=tensors)
    if file_.identity.hex() != metadata["identity"]:
        raise ModelError(f"{path} is damaged: its content is not what its identity says")
    return file_


def _tensor(file: ModelFile, name: str) -> npt.NDArray[Any]:
    try:
        return file.tensors[name]
    except KeyError:
        raise ModelError(f"model {file.name} lacks {name}") from None


def _tables(file: ModelFile, prefix: str) -> EntropyTables:
    parts = ("frequencies", "sizes", "lows")
    return EntropyTables(*(_tensor(file, f"{prefix}.{part}") for part in parts))


def prior_of(file: ModelFile) -> Prior:
    """Return the integer half of a model.

    Raises
    ------
    ModelError
        It is damaged, or its sums could be inexact.
    """
    hyper = side = None
    if file.metadata["kind"] == "hyperprior":
        forms = file.value("hyper", lambda v: [(int(x["shuffle"]), bool(x["relu"])) for x in v])
        layers = [
            IntegerLayer(
                weight=_tensor(file, f"hyper.{index}.weight"),
                bias=_tensor(file, f"hyper.{index}.bias"),
                shift=_tensor(file, f"hyper.{index}.shift"),
                shuffle=shuffle,
                relu=relu,
            )
            for index, (shuffle, relu) in enumerate(forms)
        ]
        hyper, side = IntegerNetwork(layers), _tables(file, "side")
    return Prior(
        tables=_tables(file, "tables"),
        first=file.value("first", int),
        base=_tensor(file, "base"),
        hyper=hyper,
        side=side,
    )


def load(path_or_name: str | os.PathLike[str], *, device: str = "cpu") -> Network:
    """Load a model for `idse.codecs.vae`.

    Parameters
    ----------
    path_or_name
        A name from `built_in`, or a path that ends in ``.safetensors``.
    device
        Where torch runs the transforms; streams do not depend on it.

    Raises
    ------
    ModelError
        No such model, or it is damaged.
    MissingExtraError
        torch is not installed.
    """
    return network_of(read_file(path_or_name), device=device)


def network_of(file: ModelFile, *, device: str = "cpu") -> Network:
    """Build the network of a model file; as `load`."""
    try:
        import torch
    except ImportError:
        raise missing_extra("torch", "vae") from None
    from idse.learned.vae.networks import VaeConfig, build
    from idse.learned.vae.transforms import TorchTransforms

    prior = prior_of(file)
    config = file.value("config", lambda v: VaeConfig(**v))
    _check_channels(file, config)
    with torch.random.fork_rng(devices=[]):  # a new network draws weights that are not kept
        vae = build(config)
    _check_prior(file, vae, prior)
    _load_state(file, vae)
    return Network(
        name=file.name,
        identity=file.identity,
        prior=prior,
        transforms=TorchTransforms(vae, torch.device(device)),
        steps=file.value("steps", lambda v: (int(v[0]), int(v[1]))),
        curve=file.value("curve", lambda v: tuple((float(r), float(d)) for r, d in v)),
    )


def _check_channels(file: ModelFile, config: VaeConfig) -> None:
    """Refuse what would take more memory than the file before any is taken."""
    for name in ("width", "latents"):
        count = getattr(config, name)
        if type(count) is not int or not 0 < count <= _MOST_CHANNELS:
            raise ModelError(
                f"model {file.name}: its {name} is {count!r}, expected 1 to {_MOST_CHANNELS}"
            )


def _check_prior(file: ModelFile, vae: FactorisedVae | HyperpriorVae, prior: Prior) -> None:
    """Refuse integers of another network: they would fail, or fill memory, in the middle."""
    config = vae.config
    hyper = config.width if config.architecture == "hyperprior" else 0
    found = file.metadata["kind"], prior.latents, len(prior.side or ()), prior.scale * vae.stride
    if found != (config.architecture, config.latents, hyper, vae.unit):
        raise ModelError(f"model {file.name}: its tables are of another network than its config's")


def _load_state(file: ModelFile, vae: FactorisedVae | HyperpriorVae) -> None:
    """Fill the transforms; what the integers stand for (h_s, densities, steps) is not there."""
    import torch

    prefixes = (*_ENCODER, "synthesis.")
    state = {
        name: torch.from_numpy(tensor.astype(np.float32))
        for name, tensor in file.tensors.items()
        if name.startswith(prefixes)
    }
    wanted = {name for name in vae.state_dict() if name.startswith(prefixes)}
    if wanted != state.keys():
        odd = sorted(wanted ^ state.keys())
        raise ModelError(f"model {file.name}: {odd[0]} is missing or not expected")
    try:
        vae.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(f"model {file.name} does not fit its config: {error}") from error


def finder(
    models: Iterable[str | os.PathLike[str]] | None = None, *, device: str = "cpu"
) -> Callable[[bytes], Network]:
    """Return what `idse.codecs.vae.decode` finds its network with.

    Each model is loaded when it is first wanted, and kept. May be used by many threads.

    Parameters
    ----------
    models
        As for `load`; the built-in ones by default.
    device
        As for `load`.
    """
    names = built_in() if models is None else tuple(models)
    files: dict[bytes, ModelFile] = {}
    networks: dict[bytes, Network] = {}
    lock = threading.Lock()

    def find(identity: bytes) -> Network:
        with lock:
            if not files:
                files.update((file.identity[:8], file) for file in map(read_file, names))
            if identity not in files:
                known = ", ".join(f"{f.name} ({i.hex()})" for i, f in files.items()) or "none"
                raise ModelError(
                    f"this stream was made by VAE model {identity.hex()}, which is not here "
                    f"(known are {known}): name its file (--vae-model)"
                )
            if identity not in networks:
                networks[identity] = network_of(files[identity], device=device)
            return networks[identity]

    return find
