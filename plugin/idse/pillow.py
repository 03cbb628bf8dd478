"""JPEGs for networks by Pillow's own ``save``, and files of the learned codec.

After ``idse.pillow.install()``, ``image.save("x.jpg", idse=True, target_bytes=20_000)`` encodes as
`idse.encode_jpeg` does. Saves without ``idse`` are Pillow's own, untouched. ``x.ivae`` is opened
and saved as any other format (`idse.pillow_ivae`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, JpegImagePlugin

from idse import pillow_ivae
from idse.codecs.jpeg.markers import APP1, COM, Marker
from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from idse.pipeline.images.source import SourceImage

    Handler = Callable[[Image.Image, IO[bytes], str | bytes], None]

_FORMAT = "JPEG"
_LOCK = threading.Lock()
# Options of `idse.encode_jpeg` that are not `JpegOptions`.
_ENCODER = ("model", "n_s", "seed", "strict")

# Options of Pillow's JPEG writer that make no sense beside ours, and why.
_REFUSED = {
    "qtables": "tables follow from what the network looks at",
    "smooth": "it would blur the picture before the network sees it",
    "streamtype": "the file is always whole",
    "keep_rgb": "the file is Y'CbCr",
    "restart_marker_blocks": "restart markers stand after rows: give restart_marker_rows",
}
# Those that are options of `idse.encode_jpeg` under another name, or the same.
_OPTIONS = {
    "quality": "quality",
    "progressive": "progressive",
    "progression": "progressive",
    "restart_marker_rows": "restart_rows",
    "target_bytes": "target_bytes",
    "bpp": "bpp",
    "accuracy": "accuracy",
}
_SAMPLINGS: dict[int | str, str] = {
    0: "4:4:4",
    1: "4:2:2",
    2: "4:2:0",
    "4:4:4": "4:4:4",
    "4:2:2": "4:2:2",
    "4:2:0": "4:2:0",
    "grey": "grey",
}
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_NOT_TOLD = (-1, None)  # what Pillow takes for an option that is left at its default


def install(*, vae_models: Sequence[str] = ()) -> None:
    """Teach ``Image.save`` the option ``idse`` for JPEG files, and Pillow the format ``.ivae``.

    Calling it again changes nothing but the models.

    ``idse`` is True, a network as for `idse.encode_jpeg`, or a mapping of that function's options;
    ``target_bytes``, ``bpp`` and ``accuracy`` may also be given to ``save`` itself. Of Pillow's own
    options ``quality`` (1 to 100), ``subsampling``, ``progressive``, ``optimize``, ``exif``,
    ``icc_profile``, ``dpi``, ``comment``, ``xmp``, ``extra`` and ``restart_marker_rows`` mean what
    they always do; those that make no sense raise InputError. Metadata is written where Pillow
    would write it: handed to ``save``.

    Parameters
    ----------
    vae_models
        Models that ``.ivae`` files are coded by, names or files; empty for the built-in ones.

    Examples
    --------
    >>> import idse.pillow
    >>> idse.pillow.install()
    >>> image.save("street.jpg", idse="yolov4-tiny", target_bytes=20_000)
    """
    with _LOCK:
        if _Handlers.original is None:
            _Handlers.original = Image.SAVE[_FORMAT]
            Image.SAVE[_FORMAT] = _save
        _Handlers.active = True
        pillow_ivae.register(vae_models)


def uninstall() -> None:
    """Give Pillow its own handler back, and take ours away. Calling it again changes nothing."""
    with _LOCK:
        _Handlers.active = False
        pillow_ivae.unregister()
        # Who has put a handler of their own before ours goes on calling it, and it Pillow's.
        if Image.SAVE[_FORMAT] is _save and _Handlers.original is not None:
            Image.SAVE[_FORMAT], _Handlers.original = _Handlers.original, None


class _Handlers:
    """Pillow's handler, where ours stands before it, and whether ours does anything."""

    original: Handler | None = None
    active = False


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Save as Pillow's handlers do; without ``idse`` it is Pillow's own that does it."""
    given = dict(image.encoderinfo)
    asked = given.pop("idse", None)
    if asked is None or asked is False or not _Handlers.active:
        (_Handlers.original or JpegImagePlugin._save)(image, file, filename)  # noqa: SLF001
        return
    from idse.pipeline.images.encoder import JpegEncoder
    from idse.pipeline.images.options import JpegOptions

    options = _options(image, given)
    for name, value in _asked(asked).items():
        if name in options and options[name] != value:
            raise InputError(
                f"{name} is given twice, {options[name]!r} and {value!r}: give it once"
            )
        options[name] = value
    encoder = {name: options.pop(name) for name in _ENCODER if name in options}
    unknown = set(options) - {field.name for field in fields(JpegOptions)}
    if unknown:
        raise InputError(f"idse has no option {', '.join(sorted(unknown))}: see idse.encode_jpeg")
    if options.get("fallback") not in {None, "vae-jpeg"}:
        raise InputError(
            f"fallback {options['fallback']!r} makes no JPEG: give 'vae-jpeg', or save as .ivae"
        )
    source = _source(image, given)
    file.write(JpegEncoder(**encoder).encode_image(source, JpegOptions(**options)).data)


def _asked(value: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the options that ``idse=`` stands for."""
    if value is True:
        return {}
    return dict(value) if isinstance(value, Mapping) else {"model": value}


def _options(image: Image.Image, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Pillow's own options ask for.

    Raises
    ------
    InputError
        One makes no sense here.
    """
    for name, reason in _REFUSED.items():
        if given.get(name):
            raise InputError(f"{name} cannot be given together with idse: {reason}")
    found = {ours: given[name] for name, ours in _OPTIONS.items() if given.get(name) is not None}
    if found.get("quality") in _NOT_TOLD:
        found.pop("quality", None)
    if isinstance(found.get("quality"), str):
        raise InputError(f"quality {found['quality']!r} cannot be given with idse: give 1 to 100")
    if "progressive" in found:
        found["progressive"] = bool(found["progressive"])
    sampling = given.get("subsampling", -1)
    if sampling == "keep":
        sampling = JpegImagePlugin.get_sampling(image)
    if sampling not in _NOT_TOLD:
        if sampling not in _SAMPLINGS:
            raise InputError(f"subsampling {sampling!r} is none of 4:4:4, 4:2:2, 4:2:0 and grey")
        found["sampling"] = _SAMPLINGS[sampling]
    return found


def _source(image: Image.Image, given: Mapping[str, Any]) -> SourceImage:
    """Return the picture with the metadata that Pillow would write."""
    from idse.pipeline.images.source import exif_bytes, of_pillow, whole_dpi

    source = of_pillow(image, name="image")
    return replace(
        source,
        exif=exif_bytes(given.get("exif")),
        icc=given.get("icc_profile") or b"",
        dpi=whole_dpi(given.get("dpi")),
        others=tuple(_segments(image, given)),
    )


def _segments(image: Image.Image, given: Mapping[str, Any]) -> Iterator[Marker]:
    """Yield what Pillow writes beside EXIF data and ICC profile."""
    comment = given.get("comment", image.info.get("comment"))
    if comment:
        yield Marker(COM, comment.encode() if isinstance(comment, str) else bytes(comment))
    if given.get("xmp"):
        yield Marker(APP1, _XMP + given["xmp"])
    extra = given.get("extra") or b""
    while extra:
        size = int.from_bytes(extra[2:4], "big")
        if extra[0] != 0xFF or len(extra) < 4 or not 2 <= size <= len(extra) - 2:
            raise InputError(f"extra {extra[:8]!r}... is no sequence of whole marker segments")
        yield Marker(extra[1], extra[4 : 2 + size])
        extra = extra[2 + size :]
