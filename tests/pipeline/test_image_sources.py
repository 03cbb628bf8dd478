"""What pictures are read as, and which are refused."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from still_pictures import exif, file_of, photo

from idse.codecs.jpeg import read
from idse.errors import InputError
from idse.pipeline.images.source import SourceImage, read_image

pytestmark = pytest.mark.fast
PIXELS = photo(40, 30)


def test_files_bytes_images_and_arrays_are_the_same_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(file_of(PIXELS))
    for source in (path, str(path), path.read_bytes(), Image.open(path), PIXELS):
        found = read_image(source)
        assert np.array_equal(found.pixels, PIXELS)
        assert (found.width, found.height) == (40, 30)
        assert not found.grey
    assert read_image(path).file_bytes == path.stat().st_size


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "BMP", "PPM", "GIF", "JPEG"])
def test_other_formats(kind):
    found = read_image(file_of(PIXELS, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert found.pixels.shape == PIXELS.shape
    if kind not in {"GIF", "JPEG"}:
        assert np.array_equal(found.pixels, PIXELS)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "P", "RGB", "YCbCr"])
def test_modes_whose_meaning_is_plain(mode):
    image = Image.fromarray(PIXELS).convert(mode)
    found = read_image(image)
    assert found.grey == (mode in {"L", "1", "LA"})
    expected = np.asarray(image.convert("L" if found.grey else "RGB"))
    assert np.array_equal(found.pixels, expected)


def test_sixteen_bits_of_colour_are_read_as_eight():
    # Pillow has no such mode: it reads the upper bytes.
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in PIXELS)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 40, 30, 16, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    assert np.array_equal(read_image(png).pixels, PIXELS)


@pytest.mark.parametrize("mode", ["CMYK", "I;16", "I", "F", "LAB", "HSV"])
def test_modes_whose_meaning_is_not_are_refused(mode):
    with pytest.raises(InputError, match="first"):
        read_image(Image.new(mode, (8, 8)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_refused(mode):
    image = Image.new("RGBA", (8, 8), (9, 9, 9, 255))
    image.putpixel((3, 3), (9, 9, 9, 254))
    if mode == "P":
        image = Image.new("P", (8, 8))
        image.info["transparency"] = 0
    with pytest.raises(InputError, match="transparent"):
        read_image(image.convert(mode))


def test_a_palette_with_an_unused_transparent_colour_is_opaque():
    image = Image.fromarray(PIXELS).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    image.info["transparency"] = 200
    assert read_image(image).pixels.shape == PIXELS.shape


def test_animations_are_refused():
    frames = [Image.new("L", (8, 8), n) for n in (0, 99)]
    import io

    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="2 pictures"):
        read_image(buffer.getvalue())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("keep", [0, 3, 20, 60])
def test_truncated_files_are_refused(kind, keep):
    data = file_of(PIXELS, kind)
    cut = data[: min(keep, len(data) // 2)]
    with pytest.raises(InputError, match="cannot read"):
        read_image(cut)


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match="known format"):
        read_image(tmp_path / "text.png")
    with pytest.raises(InputError, match=r"empty\.jpg"):
        read_image(tmp_path / "empty.jpg")
    with pytest.raises(InputError, match="folder"):
        read_image(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="NoneType"):
        read_image(None)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 0), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros(5, np.uint8),
    ],
)
def test_wrong_arrays_are_refused(pixels):
    with pytest.raises(InputError, match="pixels"):
        read_image(pixels)


@pytest.mark.parametrize(
    ("orientation", "rotation"),
    [(1, 0), (2, 0), (3, 180), (4, 180), (5, 270), (6, 270), (7, 90), (8, 90), (0, 0), (9, 0)],
)
def test_orientation_is_kept_and_pixels_are_not_turned(orientation, rotation):
    data = file_of(PIXELS, "JPEG", exif=exif(orientation), quality=95)
    found = read_image(data)
    assert found.rotation == rotation
    assert found.pixels.shape == PIXELS.shape
    upright = np.asarray(Image.fromarray(found.pixels).rotate(rotation, expand=True))
    import io

    from PIL import ImageOps

    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    # Up to a mirror, which orientations 2, 4, 5 and 7 ask for, too.
    mirrored = orientation in {2, 4, 5, 7}
    assert np.array_equal(upright[:, ::-1] if mirrored else upright, shown)


def test_metadata_becomes_segments():
    icc = os.urandom(70_000)
    source = read_image(file_of(PIXELS, "JPEG", exif=exif(6), icc_profile=icc, dpi=(300, 200)))
    assert (source.icc, source.dpi) == (icc, (300, 200))
    assert [marker.code for marker in source.markers] == [0xE0, 0xE1, 0xE2, 0xE2]
    from idse.codecs.jpeg import encode

    back = read(encode(PIXELS, quality=50, markers=source.markers))
    assert (back.orientation, back.icc) == (6, icc)


@pytest.mark.parametrize("data", [b"Exif\0\0", b"MM\0*" + b"\xff" * 40, os.urandom(100), b"\0" * 9])
def test_hostile_exif_turns_nothing(data):
    assert SourceImage(pixels=PIXELS, exif=data).rotation == 0


def test_exif_that_is_too_long_is_told():
    source = SourceImage(pixels=PIXELS, exif=bytes(70_000))
    assert source.exif_too_long
    assert source.markers == ()
