"""Stock encodes are libjpeg-turbo's own bytes, also when they come from coefficients."""

import io
import subprocess

import cv2
import numpy as np
import pytest
from jpeg_pictures import SAMPLINGS, SIZES, coefficients, picture
from PIL import Image

from idse.codecs import jpeg

_PILLOW = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2, "grey": -1}
_CJPEG = {"4:4:4": "1x1", "4:2:2": "2x1", "4:2:0": "2x2", "grey": "1x1"}


def _pillow(pixels, sampling, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", subsampling=_PILLOW[sampling], **options)
    return buffer.getvalue()


def _cjpeg(pixels, *options):
    height, width = pixels.shape[:2]
    kind = b"P5" if pixels.ndim == 2 else b"P6"
    pnm = b"%s\n%d %d\n255\n" % (kind, width, height) + pixels.tobytes()
    return subprocess.run(["cjpeg", *options], input=pnm, capture_output=True, check=True).stdout


def _write_again(data, restart_rows):
    file = jpeg.read(data)
    return jpeg.write(
        file.layout,
        file.coefficients,
        file.tables,
        scans=jpeg.SIMPLE if file.progressive else None,
        restart_rows=restart_rows,
        markers=file.markers,
    )


@pytest.mark.fast
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_encodes_are_pillows_bytes_and_survive_as_coefficients(sampling, progressive):
    for width, height in SIZES:
        pixels = picture(width, height, grey=sampling == "grey")
        for restart_rows in (0, 1, 2):
            for quality in (10, 60, 100):
                data = jpeg.encode(
                    pixels,
                    quality=quality,
                    sampling=sampling,
                    progressive=progressive,
                    restart_rows=restart_rows,
                )
                expected = _pillow(
                    pixels,
                    sampling,
                    quality=quality,
                    progressive=progressive,
                    optimize=True,
                    restart_marker_rows=restart_rows,
                )
                assert data == expected, (width, height, restart_rows, quality)
                assert _write_again(data, restart_rows) == data, (width, height, restart_rows)


@pytest.mark.fast
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_encodes_are_cjpegs_bytes(sampling):
    pixels = picture(45, 37, grey=sampling == "grey")
    for quality in ("1", "49", "50", "92"):
        for name, settings in {
            "-baseline": {"optimise": False},
            "-optimize": {},
            "-progressive": {"progressive": True},
        }.items():
            data = jpeg.encode(pixels, quality=int(quality), sampling=sampling, **settings)
            options = ("-baseline", "-sample", _CJPEG[sampling], "-quality", quality, name)
            assert data == _cjpeg(pixels, *options), (quality, name)


@pytest.mark.fast
def test_grey_of_colour_is_cjpegs(tmp_path):
    pixels = picture(45, 37)
    expected = _cjpeg(pixels, "-grayscale", "-quality", "70", "-optimize")
    assert jpeg.encode(pixels, quality=70, sampling="grey") == expected


@pytest.mark.fast
def test_own_tables_are_pillows_bytes():
    pixels = picture(45, 37)
    rng = np.random.default_rng(1)
    luma, chroma = rng.integers(1, 256, (2, 8, 8))
    data = jpeg.encode(pixels, tables=[luma, chroma, chroma])
    qtables = [luma.ravel().tolist(), chroma.ravel().tolist()]
    assert data == _pillow(pixels, "4:2:0", qtables=qtables, optimize=True)
    for table, expected in zip(jpeg.read(data).tables, (luma, chroma, chroma), strict=True):
        assert table.dtype == np.uint16
        np.testing.assert_array_equal(table, expected)


@pytest.mark.fast
@pytest.mark.parametrize("chroma", [False, True])
def test_standard_tables_are_libjpegs(chroma):
    pixels = picture(8, 8)
    for quality in range(1, 101):
        with Image.open(io.BytesIO(_pillow(pixels, "4:2:0", quality=quality))) as image:
            expected = np.reshape(image.quantization[int(chroma)], (8, 8))
        np.testing.assert_array_equal(jpeg.standard_table(quality, chroma=chroma), expected)


@pytest.mark.fast
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_decodes_are_pillows_pixels(sampling):
    for width, height in SIZES:
        pixels = picture(width, height, grey=sampling == "grey")
        for progressive in (False, True):
            data = jpeg.encode(pixels, quality=80, sampling=sampling, progressive=progressive)
            with Image.open(io.BytesIO(data)) as image:
                np.testing.assert_array_equal(jpeg.decode(data), np.asarray(image.convert("RGB")))
            for colour, mode in {"grey": "L", "ycc": "YCbCr"}.items():
                with Image.open(io.BytesIO(data)) as image:
                    image.draft(mode, None)
                    expected = np.asarray(image.convert(mode))
                np.testing.assert_array_equal(jpeg.decode(data, colour=colour), expected)


def _luma_of_ffmpeg(data):
    import av

    with av.open(io.BytesIO(data), format="jpeg_pipe") as container:
        frame = next(container.decode(video=0))
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : frame.width]


@pytest.mark.fast
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("scans", [None, jpeg.SIMPLE])
def test_other_decoders_read_coefficients_under_three_tables(sampling, scans):
    layout = jpeg.JpegLayout(83, 51, sampling)
    stock = jpeg.read(jpeg.encode(picture(83, 51), quality=75, sampling=sampling))
    rng = np.random.default_rng(2)
    tables = [
        np.clip(t + rng.integers(-4, 5, (8, 8)), 1, 255) if i else t
        for i, t in enumerate(stock.tables)
    ]
    data = jpeg.write(layout, stock.coefficients, tables, scans=scans, restart_rows=1)
    luma = jpeg.decode(data, colour="grey").astype(int)
    assert np.abs(luma - _luma_of_ffmpeg(data)).max() <= 2
    if sampling in {"4:4:4", "grey"}:
        flag = cv2.IMREAD_COLOR_BGR
        opened = cv2.imdecode(np.frombuffer(data, np.uint8), flag)[..., ::-1]
        assert np.abs(jpeg.decode(data).astype(int) - opened).max() <= 2


@pytest.mark.fast
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_jpegtran_finds_the_same_coefficients_in_every_script(sampling):
    layout = jpeg.JpegLayout(45, 37, sampling)
    arrays = coefficients(layout, 0)
    tables = np.random.default_rng(3).integers(1, 256, (layout.components, 8, 8))
    sequential, progressive = (
        jpeg.write(layout, arrays, list(tables), scans=scans) for scans in (None, jpeg.SIMPLE)
    )
    for source, option, expected in (
        (progressive, "-optimize", sequential),
        (sequential, "-progressive", progressive),
    ):
        run = subprocess.run(["jpegtran", option], input=source, capture_output=True, check=True)
        assert run.stdout == expected


@pytest.mark.full
def test_real_pictures_survive_as_coefficients(shared):
    paths = sorted((shared / "coco_val128" / "images").glob("*.jpg"))[::8]
    assert paths
    for path in paths:
        pixels = jpeg.decode(path.read_bytes())
        for sampling in ("4:2:0", "4:4:4"):
            for progressive in (False, True):
                data = jpeg.encode(pixels, quality=70, sampling=sampling, progressive=progressive)
                expected = _pillow(
                    pixels, sampling, quality=70, optimize=True, progressive=progressive
                )
                assert data == expected, path.name
                assert _write_again(data, 0) == data, path.name
                luma = jpeg.decode(data, colour="grey").astype(int)
                assert np.abs(luma - _luma_of_ffmpeg(data)).max() <= 2, path.name
