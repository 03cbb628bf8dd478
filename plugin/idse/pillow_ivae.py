"""The learned codec's files as a format of Pillow: ``Image.open`` and ``save(..., target_bytes=)``.

`idse.pillow.install` registers it. A file's header is read when it is opened, its picture decoded
when it is first looked at; only that needs the extra ``vae``.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from idse.codecs.vae.container import HEADER_BYTES, MAGIC, MAX_BYTES, MAX_PIXELS, read_header
from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMAT = "IVAE"
EXTENSION, MIME = ".ivae", "image/x-ivae"


class _Models:
    """Those that pictures are coded by; the built-in ones where there are none."""

    names: tuple[str, ...] = ()


class DamagedImageError(InputError, UnidentifiedImageError):
    """A file of this format that cannot be read: an OSError, as Pillow's callers expect."""


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise DamagedImageError(str(error)) from error


class IvaeImageFile(ImageFile.ImageFile):
    """A picture of the learned codec.

    Opening one that is damaged, or of another version, raises DamagedImageError; so does loading
    one whose content is impossible. Loading raises ModelError where its model is not here.
    ``info["bpp"]`` are the file's bits per pixel, ``info["vae_model"]`` is the identity of its
    model in hexadecimal digits.
    """

    format = FORMAT
    format_description = "learned picture codec of idse"

    def _open(self) -> None:
        assert self.fp is not None  # Pillow has just opened it
        self._data: bytes | None = self.fp.read(MAX_BYTES + 1)
        # Pillow has a limit of its own, which warns or raises as it is set.
        with _damage():
            header = read_header(self._data, max_pixels=MAX_PIXELS)
        self._size = header.width, header.height
        self._mode = "RGB"
        self.info["bpp"] = header.bpp
        self.info["vae_model"] = header.identity.hex()
        # What `load` is to be asked for.
        self.tile = [ImageFile._Tile("raw", (0, 0, *self._size), 0, "RGB")]  # noqa: SLF001

    def load(self) -> Any:  # noqa: ANN401 - a class of Pillow's core, which has no public name
        """Decode the picture, the first time."""
        if self._data is not None and self.tile:
            from idse.pipeline.images.vae import codec_of

            with _damage():
                pixels = codec_of(_Models.names).decode(self._data)
            self._data = None
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.fp = io.BytesIO(pixels.tobytes())
        return super().load()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Code an image in ``target_bytes`` or ``bpp``.

    Metadata has no place in the file, EXIF's orientation neither: as Pillow's other formats that
    are not handed any, it holds the pixels as they lie (`PIL.ImageOps.exif_transpose` turns them).
    """
    del filename
    from idse.pipeline.images.options import JpegOptions
    from idse.pipeline.images.source import of_pillow
    from idse.pipeline.images.vae import codec_of

    given: dict[str, Any] = image.encoderinfo
    size = {name: given[name] for name in ("target_bytes", "bpp") if given.get(name) is not None}
    if len(size) != 1:
        raise InputError(
            f"{EXTENSION} files have the size that they are asked to have: give target_bytes "
            f"(at least some {HEADER_BYTES} bytes) or bpp"
        )
    limit = JpegOptions(**size).limit(*image.size)
    assert limit is not None
    pixels = of_pillow(image, name="image").pixels
    file.write(codec_of(_Models.names).encode(pixels, limit).data)


def register(vae_models: Sequence[str] = ()) -> None:
    """Make the format known to Pillow; again, to change its models."""
    _Models.names = tuple(vae_models)
    if FORMAT in Image.OPEN:
        return
    Image.register_open(FORMAT, IvaeImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME)


def unregister() -> None:
    """Take the format away again."""
    if FORMAT not in Image.OPEN:
        return
    Image.ID.remove(FORMAT)
    del Image.OPEN[FORMAT], Image.SAVE[FORMAT], Image.EXTENSION[EXTENSION], Image.MIME[FORMAT]
