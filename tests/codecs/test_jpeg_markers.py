"""What stands beside the picture: kept, found, and never dangerous."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_pictures import picture
from PIL import Image, ImageCms

from idse.codecs import jpeg
from idse.codecs.jpeg.markers import MAX_SEGMENT, icc_profile, orientation
from idse.errors import InputError

pytestmark = pytest.mark.fast


def _written(*markers):
    return jpeg.encode(picture(20, 20), quality=50, markers=markers)


def _saved(**options):
    buffer = io.BytesIO()
    Image.fromarray(picture(20, 20)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _exif(value, *, order=">", kind=3, count=1):
    mark = {">": b"MM\0*", "<": b"II*\0"}[order]
    entries = struct.pack(order + "HHIHH", 0x0100, 3, 1, 20, 0)
    entries += struct.pack(order + "HHIHH", 0x0112, kind, count, value, 0)
    return mark + struct.pack(order + "IH", 8, 2) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_read_and_kept(order, value):
    file = jpeg.read(_written(jpeg.exif_marker(_exif(value, order=order))))
    assert file.orientation == value
    again = jpeg.write(file.layout, file.coefficients, file.tables, markers=file.markers)
    with Image.open(io.BytesIO(again)) as image:
        assert image.getexif()[0x0112] == value


def test_orientation_of_pillows_exif_is_found():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    assert jpeg.read(_saved(exif=exif)).orientation == 6
    assert jpeg.read(_saved()).orientation == 1


@pytest.mark.parametrize(
    "exif",
    [
        _exif(0),
        _exif(9),
        _exif(6, kind=4),
        _exif(6, count=2),
        _exif(6)[:-8],
        b"",
        b"MM\0*",
        b"MM\0*\xff\xff\xff\xff" + bytes(20),
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\0\0\0\0" * 50,
        b"XX*\0" + bytes(50),
    ],
)
def test_damaged_exif_means_upright(exif):
    assert jpeg.read(_written(jpeg.exif_marker(exif))).orientation == 1


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"II*\0", b"MM\0*", b""]), st.binary(max_size=80))
def test_any_exif_has_an_orientation(head, body):
    assert orientation([jpeg.exif_marker(head + body)]) in range(1, 9)


@pytest.mark.parametrize("size", [1, 65519, 65520, 200_000])
def test_icc_profiles_are_kept(size):
    profile = np.random.default_rng(0).bytes(size)
    file = jpeg.read(_written(*jpeg.icc_markers(profile)))
    assert file.icc == profile
    again = jpeg.write(file.layout, file.coefficients, file.tables, markers=file.markers)
    with Image.open(io.BytesIO(again)) as image:
        assert image.info["icc_profile"] == profile


def test_icc_profile_of_pillow_is_read():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert jpeg.read(_saved(icc_profile=profile)).icc == profile
    assert jpeg.read(_saved()).icc is None


def test_broken_icc_profiles_are_none():
    first, second = jpeg.icc_markers(bytes(70_000))
    assert icc_profile([second, first]) == bytes(70_000)
    for markers in ([first], [first, first, second], [first, jpeg.Marker(0xE2, second.data[:12])]):
        assert icc_profile(markers) is None
    for head in (b"\0\0", b"\1", b"\2\1", b"\1\0"):
        assert icc_profile([jpeg.Marker(0xE2, b"ICC_PROFILE\0" + head)]) is None


def test_icc_profiles_that_do_not_fit_are_refused():
    for size in (0, 255 * 65519 + 1):
        with pytest.raises(InputError, match=f"{size} bytes"):
            jpeg.icc_markers(bytes(size))


def test_segments_are_kept_in_their_order():
    markers = [
        jpeg.Marker(0xFE, b"a comment"),
        jpeg.Marker(0xED, b"Photoshop 3.0\0"),
        jpeg.Marker(0xE0, b"JFXX\0\x10"),
        jpeg.Marker(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
        jpeg.Marker(0xEF, bytes(MAX_SEGMENT)),
        jpeg.Marker(0xFE, b""),
    ]
    assert list(jpeg.read(_written(*markers)).markers[1:]) == markers


def test_density_is_kept():
    file = jpeg.read(_saved(dpi=(300, 200)))
    again = jpeg.write(file.layout, file.coefficients, file.tables, markers=file.markers)
    assert jpeg.read(again).markers == file.markers
    with Image.open(io.BytesIO(again)) as image:
        assert image.info["dpi"] == (300, 200)


def test_segments_that_would_mislead_are_left_out():
    adobe = jpeg.Marker(0xEE, b"Adobe\0\x64\0\0\0\0\0")  # says RGB
    pictures = jpeg.Marker(0xE2, b"MPF\0" + bytes(20))
    data = _written(adobe, pictures, jpeg.Marker(0xEE, b"other"))
    assert [m.code for m in jpeg.read(data).markers] == [0xE0, 0xEE]
    np.testing.assert_array_equal(jpeg.decode(data), jpeg.decode(_written()))


@pytest.mark.parametrize(("code", "size"), [(0xDB, 0), (0xF0, 0), (0xDF, 0), (0xE1, 65534)])
def test_wrong_segments_are_refused(code, size):
    with pytest.raises(InputError, match=r"0xDF|0xDB|0xF0|65534"):
        jpeg.Marker(code, bytes(size))
