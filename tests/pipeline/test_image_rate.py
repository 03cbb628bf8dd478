"""Sizes: never above what was asked for, and close to it wherever it can be reached."""

import math

import numpy as np
import pytest
import still_pictures
from still_pictures import exif, file_of, photo

import idse
from idse.errors import InputError, TargetError
from idse.pipeline.images.descent import Descent
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.options import JpegOptions
from idse.pipeline.images.source import SourceImage, read_image

FAST, FULL = pytest.mark.fast, pytest.mark.full


@pytest.fixture(scope="module")
def encoder():
    return JpegEncoder(model=still_pictures.left())


def shortfalls(encoder, source, targets, **options):
    """How far below the target each file is, as a share of it; where it can be reached."""
    found = []
    finest = len(encoder.encode_image(source, JpegOptions(target_bytes=10**9, **options)).data)
    for target in targets:
        try:
            size = len(
                encoder.encode_image(source, JpegOptions(target_bytes=target, **options)).data
            )
        except TargetError:
            continue
        assert size <= target
        if target <= finest:
            found.append(1 - size / target)
    return found


@FAST
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(96, 64), (131, 77), (320, 200)])
def test_targets_are_met_from_below(encoder, seed, size):
    source = SourceImage(pixels=photo(*size, seed=seed))
    pixels = size[0] * size[1]
    targets = [round(pixels * bpp / 8) for bpp in (0.8, 1.3, 2.1, 3.4)]
    found = shortfalls(encoder, source, targets)
    assert len(found) >= 2
    # Small files move in steps of whole blocks: a few bytes each.
    assert max(below * target for below, target in zip(found, targets, strict=False)) < 60
    assert np.median(found) < 0.01


@FAST
@pytest.mark.parametrize(
    "options",
    [
        {"progressive": False},
        {"sampling": "4:4:4"},
        {"sampling": "4:2:2", "restart_rows": 1},
        {"sampling": "grey"},
        {"restart_rows": 2, "progressive": False},
    ],
)
def test_every_form_meets_its_target(encoder, options):
    source = SourceImage(pixels=photo(200, 150, seed=5))
    found = shortfalls(encoder, source, [4000, 7000, 9000], **options)
    assert len(found) == 3
    assert max(found) < 0.01


@FAST
def test_metadata_counts(encoder):
    pixels = photo(160, 120)
    source = SourceImage(pixels=pixels, exif=exif(1), icc=bytes(3000), dpi=(72, 72))
    size = len(encoder.encode_image(source, JpegOptions(target_bytes=8000)).data)
    assert 7900 < size <= 8000
    with pytest.raises(TargetError, match=r"out of reach.* 30\d\d of them metadata"):
        encoder.encode_image(source, JpegOptions(target_bytes=3100))
    stripped = JpegOptions(target_bytes=3100, metadata=False)
    assert len(encoder.encode_image(source, stripped).data) <= 3100


@FAST
@pytest.mark.parametrize("model", [None, "left"])
def test_what_is_out_of_reach_names_the_smallest(model):
    encoder = JpegEncoder(model=None if model is None else still_pictures.left())
    source = read_image(photo(120, 80))
    with pytest.raises(
        TargetError, match=r"^100 bytes are out of reach .* has (\d+); ask"
    ) as error:
        encoder.encode_image(source, JpegOptions(target_bytes=100))
    smallest = int(str(error.value).split(" has ")[1].split(";")[0])
    data = encoder.encode_image(source, JpegOptions(target_bytes=smallest)).data
    assert len(data) <= smallest


@FAST
@pytest.mark.parametrize("model", [None, "left"])
def test_more_than_the_finest_gives_the_finest(model):
    made = JpegEncoder(model=None if model is None else still_pictures.left())
    pixels = photo(64, 48)
    data = made.encode(pixels, target_bytes=10**8, sampling="4:4:4")
    from idse.codecs.jpeg import decode, read

    assert all((table == 1).all() for table in read(data).tables)
    assert np.abs(decode(data).astype(int) - pixels).max() <= 6


@FAST
def test_bits_per_pixel_are_a_size(encoder):
    pixels = photo(200, 100)
    limit = math.floor(1.7 * 200 * 100 / 8)
    assert 0.99 * limit < len(encoder.encode(pixels, bpp=1.7)) <= limit


@FAST
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (7, 9), (8, 8), (17, 16)])
def test_odd_sizes(encoder, size):
    pixels = photo(*size)
    data = encoder.encode(pixels)
    assert read_image(data).pixels.shape == pixels.shape
    assert len(encoder.encode(pixels, target_bytes=len(data))) <= len(data)


@FAST
def test_a_flat_picture(encoder):
    pixels = np.full((64, 64, 3), 90, np.uint8)
    data = encoder.encode(pixels)
    assert len(data) < 700
    assert len(encoder.encode(pixels, target_bytes=5000)) <= 5000
    assert np.abs(read_image(data).pixels.astype(int) - 90).max() <= 2


@FAST
def test_the_same_picture_gives_the_same_file(encoder):
    pixels = photo(160, 100)
    first = encoder.encode(pixels, target_bytes=5000)
    encoder.encode(photo(64, 64, seed=3))
    assert encoder.encode(pixels, target_bytes=5000) == first
    assert idse.encode_jpeg(pixels, model=still_pictures.left(), target_bytes=5000) == first


@FAST
@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"target_bytes": 0}, "target_bytes 0"),
        ({"target_bytes": 1.5}, "whole number"),
        ({"target_bytes": True}, "whole number"),
        ({"bpp": 0}, "bpp 0"),
        ({"bpp": math.nan}, "nan"),
        ({"quality": 0}, "quality 0"),
        ({"quality": 101}, "quality 101"),
        ({"quality": "best"}, "'best'"),
        ({"accuracy": 1.01}, "1.01"),
        ({"accuracy": 0}, "accuracy 0"),
        ({"bpp": 1, "quality": 3}, "exclude"),
        ({"sampling": "4:1:1"}, "4:1:1"),
        ({"restart_rows": -1}, "-1"),
    ],
)
def test_bad_options_are_refused(options, word):
    with pytest.raises(InputError, match=word):
        JpegOptions(**options)


@FAST
@pytest.mark.parametrize("start", [-30.0, -2.0, 0.3, 5.0, 90.0])
@pytest.mark.parametrize("level", [-3.0, 0.0, 2.5])
def test_descent_finds_where_a_function_falls_below_a_level(start, level):
    def function(x):
        return 3 * math.tanh(-x / 4) - 0.01 * x

    descent = Descent(level, start=start, slope=-0.5, bounds=(-20.0, 40.0))
    tried = []
    while descent.next is not None and len(tried) < 60:
        tried.append(descent.next)
        assert -20 <= tried[-1] <= 40
        descent.add(tried[-1], function(tried[-1]))
        if abs(function(tried[-1]) - level) < 0.01:
            break
    assert min(abs(function(x) - level) for x in tried) < 0.01 or level == -3.0
    assert len(tried) < 30


@FAST
def test_descent_ends_where_nothing_is_on_one_side():
    descent = Descent(0.0, start=1.0, slope=-1.0, bounds=(-5.0, 5.0))
    tried = []
    while descent.next is not None:
        tried.append(descent.next)
        descent.add(tried[-1], 7.0)
    assert tried[-1] == 5.0
    assert descent.below is None


@FULL
@pytest.mark.parametrize("kind", ["coco_val128/images", "kodak"])
def test_targets_on_photographs(shared, yolo, kind):
    encoder = JpegEncoder(model=yolo)
    below = []
    for path in sorted((shared / kind).iterdir())[:12]:
        source = read_image(path)
        pixels = source.width * source.height
        targets = [round(pixels * bpp / 8) for bpp in np.geomspace(0.08, 2.0, 10)]
        below += shortfalls(encoder, source, targets, metadata=False)
    assert len(below) > 100
    assert np.median(below) <= 0.003
    assert np.percentile(below, 95) <= 0.01


@FULL
def test_a_large_picture_meets_its_target(encoder):
    source = read_image(file_of(photo(3000, 2000), "JPEG", quality=90))
    size = len(encoder.encode_image(source, JpegOptions(target_bytes=300_000)).data)
    assert 0.997 * 300_000 < size <= 300_000
