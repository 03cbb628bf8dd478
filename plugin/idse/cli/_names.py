"""What the names of results promise."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path

from idse.errors import InputError

# What each kind of result is called where its name says anything.
_OWN = {
    "JPEG": ".jpg",
    "JSON": ".json",
    "NPY": ".npy",
    "PNG": ".png",
    "safetensors": ".safetensors",
}
_SAME = {"MPO": "JPEG"}  # one with others behind it
# Beside the pictures that Pillow knows and the videos that idse writes.
_OTHERS = {
    ".avi": "AVI",
    ".csv": "CSV",
    ".npz": "NPZ",
    ".onnx": "ONNX",
    ".parquet": "Parquet",
    ".pt": "PyTorch",
    ".pth": "PyTorch",
    ".webm": "WebM",
}


def named(text: str) -> str:
    """Take the name of a file or folder from the command line.

    Raises
    ------
    ArgumentTypeError
        It is empty, as that of a variable that is not set: to Python the current folder.
    """
    if not text:
        raise ArgumentTypeError("the name is empty")
    return text


def check_name(path: str | None, kind: str) -> None:
    """Refuse a name by which programs would take a result for a file of another kind.

    Parameters
    ----------
    path
        What is to be written; None where nobody asked for it.
    kind
        What it is going to be: ``"JPEG"``, ``"JSON"``, ``"NPY"``, ``"PNG"`` or ``"safetensors"``.

    Raises
    ------
    InputError
        The name ends as those of another kind do. One that says nothing may be anything's.
    """
    suffix = "" if path is None else Path(path).suffix.lower()
    if path is None or suffix in {"", _OWN[kind]}:
        return
    found = _kinds().get(suffix, kind)
    if _SAME.get(found, found) != kind:
        name = Path(path).with_suffix(_OWN[kind])
        raise InputError(f"{path} is named as {found}, and this is {kind}: call it {name}")


def _kinds() -> dict[str, str]:
    """Return what names end in, by ending."""
    from PIL import Image

    from idse.pipeline.containers import FORMATS
    from idse.pipeline.images.fallback import SUFFIXES

    coded = {SUFFIXES["vae"]: "IVAE", SUFFIXES["vae-h264"]: "H.264"}
    videos = {suffix: form.name for form in FORMATS for suffix in form.suffixes}
    own = {suffix: kind for kind, suffix in _OWN.items()}
    return Image.registered_extensions() | _OTHERS | coded | videos | own
