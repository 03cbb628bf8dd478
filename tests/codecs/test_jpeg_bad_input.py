"""What is no JPEG, or no JPEG for us, gives one clear error; threads do not meet."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from jpeg_pictures import SAMPLINGS, coefficients, picture

from idse.codecs import jpeg
from idse.errors import InputError

pytestmark = pytest.mark.fast

_CORPUS = Path(__file__).parents[1] / "corpus" / "jpeg"

_REASONS = {
    "12-bit": "Unsupported JPEG data precision 12",
    "16-bit": r"lossless JPEG \(SOF3\)",
    "65535-wide": "Maximum supported image dimension is 65500 pixels",
    "arithmetic": "arithmetic-coded JPEG",
    "block-bomb": "368 bytes cannot hold the 6750000 blocks of 12000x12000 pixels",
    "cmyk": "CMYK JPEG",
    "entropy": "Corrupt JPEG data: bad Huffman code",
    "header-only": "Premature end of JPEG file",
    "hierarchical": "hierarchical JPEG",
    "lossless": r"lossless JPEG \(SOF3\)",
    "marker-past-end": "Premature end of JPEG file",
    "missing-scans": "no scan holds component 1",
    "no-eoi": "Premature end of JPEG file",
    "no-height": r"Empty JPEG image \(DNL not supported\)",
    "pixel-bomb": "60000x60000 pixels are more than max_pixels, 178956970",
    "scan-bomb": "more than 100 scans",
    "soi-only": "Premature end of JPEG file",
    "truncated": "Premature end of JPEG file",
    "ycck": r"YCCK \(CMYK\) JPEG",
    "zero-step": "the quantisation table of component 0 holds 0",
}


def _corpus(prefix):
    names = sorted(path.stem.removeprefix(f"{prefix}-") for path in _CORPUS.glob(f"{prefix}-*"))
    assert names
    return names


def test_every_bad_file_of_the_corpus_has_its_reason():
    assert _corpus("bad") == sorted(_REASONS)


@pytest.mark.parametrize("name", sorted(_REASONS))
def test_bad_files_are_refused(name):
    data = (_CORPUS / f"bad-{name}.jpg").read_bytes()
    pattern = f"^cannot read this JPEG: {_REASONS[name]}"
    with pytest.raises(InputError, match=pattern):
        jpeg.read(data)
    for colour in ("rgb", "grey", "ycc"):
        with pytest.raises(InputError, match=pattern):
            jpeg.decode(data, colour=colour)


@pytest.mark.parametrize("name", _corpus("good"))
def test_good_files_are_read_and_written_again(name):
    file = jpeg.read((_CORPUS / f"good-{name}.jpg").read_bytes())
    for scans in (None, jpeg.SIMPLE):
        again = jpeg.read(
            jpeg.write(
                file.layout, file.coefficients, file.tables, scans=scans, markers=file.markers
            )
        )
        assert again.layout == file.layout
        assert again.orientation == file.orientation
        assert again.markers == file.markers
        for found, expected in zip(again.coefficients, file.coefficients, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("440", "sampling (factors 1x2, 1x1, 1x1) is none of 4:2:0, 4:2:2, 4:4:4, grey"),
        ("411", "sampling (factors 4x1, 1x1, 1x1) is none of"),
        ("rgb", "it is coded as RGB, not as Y'CbCr; decode() reads its pixels"),
    ],
)
def test_other_layouts_are_decoded_only(name, reason):
    data = (_CORPUS / f"pixels-{name}.jpg").read_bytes()
    with pytest.raises(InputError, match=re.escape(reason)):
        jpeg.read(data)
    pixels = jpeg.decode(data)
    assert pixels.shape == (*jpeg.decode(data, colour="grey").shape, 3)
    assert np.abs(pixels.astype(int) - pixels.mean((0, 1))).max() > 30


def test_rgb_files_are_no_ycc():
    data = (_CORPUS / "pixels-rgb.jpg").read_bytes()
    with pytest.raises(InputError, match="not coded as Y'CbCr"):
        jpeg.decode(data, colour="ycc")


@pytest.mark.parametrize("progressive", [False, True])
def test_every_cut_is_noticed(progressive):
    data = jpeg.encode(picture(40, 30), quality=40, progressive=progressive)
    for size in range(len(data)):
        with pytest.raises(InputError, match="cannot read this JPEG: "):
            jpeg.read(data[:size])
        with pytest.raises(InputError, match="cannot read this JPEG: "):
            jpeg.decode(data[:size])


def test_damage_is_an_error_or_a_picture():
    data = bytearray(jpeg.encode(picture(40, 30), quality=40, progressive=True))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = data.copy()
        damaged[rng.integers(2, len(data))] ^= 1 << rng.integers(8)
        try:
            file, pixels = jpeg.read(damaged, max_pixels=10**6), jpeg.decode(damaged)
        except InputError:
            refused += 1
        else:
            assert pixels.shape[:2] == (file.layout.height, file.layout.width)
    assert 50 < refused < 400


@pytest.mark.parametrize("padding", [b"\0" * 9, b"\xff" * 3])
def test_padding_before_the_end_is_no_damage(padding):
    data = jpeg.encode(picture(40, 30), quality=40)
    padded = data[:-2] + padding + data[-2:]
    np.testing.assert_array_equal(jpeg.decode(padded), jpeg.decode(data))
    assert jpeg.read(padded + b"trailing").layout == jpeg.JpegLayout(40, 30)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_buffers_are_read(kind):
    data = jpeg.encode(picture(40, 30), quality=40)
    np.testing.assert_array_equal(jpeg.decode(kind(data)), jpeg.decode(data))
    for empty in (kind(b""), kind(b"no JPEG")):
        with pytest.raises(InputError, match=r"Empty input file|Not a JPEG file"):
            jpeg.read(empty)


def test_a_limit_of_pixels_is_the_callers():
    data = jpeg.encode(picture(40, 30), quality=40)
    assert jpeg.decode(data, max_pixels=1200).shape == (30, 40, 3)
    for function in (jpeg.read, jpeg.decode):
        with pytest.raises(InputError, match="40x30 pixels are more than max_pixels, 1199"):
            function(data, max_pixels=1199)


@pytest.mark.parametrize(
    "segment", [b"\xff\xfe\0\2", b"\xff\xe0\0\2", b"\xff\xee\0\2", b"\xff\xe5\0\2"]
)
def test_floods_of_segments_are_refused(segment):
    data = jpeg.encode(picture(40, 30), quality=40)
    many = data[:20] + 4095 * segment + data[20:]
    assert len(jpeg.read(many).markers) == 4096
    with pytest.raises(InputError, match="more than 4096 COM and APPn segments"):
        jpeg.read(data[:20] + 10**6 * segment + data[20:])


@pytest.mark.parametrize("shape", [(1, 65500), (65500, 1)])
def test_the_longest_sides_work(shape):
    pixels = np.arange(65500, dtype=np.uint32).astype(np.uint8).reshape(shape)
    data = jpeg.encode(pixels, quality=100)
    assert np.abs(jpeg.decode(data, colour="grey").astype(int) - pixels).max() < 16
    file = jpeg.read(data)
    assert jpeg.write(file.layout, file.coefficients, file.tables) == data


@pytest.mark.parametrize("shape", [(1, 65501), (65535, 1, 3), (0, 4), (4, 0, 3)])
def test_impossible_sides_are_refused(shape):
    told = f"{shape[1]}x{shape[0]} pixels do not fit a JPEG"
    with pytest.raises(InputError, match=told):
        jpeg.encode(np.zeros(shape, np.uint8), quality=50)


@pytest.mark.parametrize(
    ("pixels", "options", "what"),
    [
        (np.zeros((8, 8, 4), np.uint8), {"quality": 50}, r"uint8 \(8, 8, 4\)"),
        (np.zeros((8, 8, 3)), {"quality": 50}, "float64"),
        (np.zeros(8, np.uint8), {"quality": 50}, r"\(8,\)"),
        (np.zeros((8, 8), np.uint8), {}, "either a quality or tables"),
        (np.zeros((8, 8), np.uint8), {"quality": 0}, "quality 0 is not between 1 and 100"),
        (np.zeros((8, 8), np.uint8), {"quality": 101}, "quality 101 "),
        (np.zeros((8, 8, 3), np.uint8), {"quality": 9, "sampling": "4:1:0"}, "'4:1:0'"),
        (np.zeros((8, 8), np.uint8), {"quality": 9, "restart_rows": -1}, "restart_rows is -1"),
    ],
)
def test_wrong_settings_are_refused(pixels, options, what):
    with pytest.raises(InputError, match=what):
        jpeg.encode(pixels, **options)


def test_unknown_colours_are_refused():
    with pytest.raises(InputError, match="'cmyk' is unknown: use one of grey, rgb, ycc"):
        jpeg.decode(b"", colour="cmyk")


def test_views_of_arrays_are_encoded_and_written():
    pixels = picture(40, 30)
    turned = pixels[::-1, ::2]
    assert jpeg.encode(turned, quality=50) == jpeg.encode(turned.copy(), quality=50)
    layout = jpeg.JpegLayout(40, 30)
    arrays = coefficients(layout, 0)
    views = [np.asfortranarray(array) for array in arrays]
    tables = [jpeg.standard_table(50, chroma=i > 0).T for i in range(3)]
    assert jpeg.write(layout, views, tables) == jpeg.write(layout, arrays, tables)


def _everything(seed):
    sampling = SAMPLINGS[seed % 4]
    pixels = picture(60 + seed, 50, grey=sampling == "grey", seed=seed)
    results = []
    for progressive in (False, True):
        data = jpeg.encode(pixels, quality=60, sampling=sampling, progressive=progressive)
        file = jpeg.read(data)
        results += [
            data,
            jpeg.write(file.layout, file.coefficients, file.tables, markers=file.markers),
            jpeg.decode(data).tobytes(),
        ]
        with pytest.raises(InputError) as failure:
            jpeg.read(data[: 400 + seed])
        results.append(str(failure.value))
    return results


def test_threads_do_not_meet():
    seeds = list(range(24)) * 4
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(_everything, seeds))
    expected = [_everything(seed) for seed in range(24)]
    assert found == expected * 4


def test_the_librarys_version_is_known():
    assert re.fullmatch(r"\d+\.\d+\.\d+", jpeg.library_version())
