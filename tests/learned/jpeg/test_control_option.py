"""``idse image --control``: files that any decoder reads, never above the size asked for."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from jpeg_photos import photo
from PIL import Image

from idse import pillow
from idse.cli.__main__ import main
from idse.codecs import jpeg
from idse.errors import InputError, TargetError
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.network import Networks
from idse.pipeline.images.options import ImageSteering, JpegOptions
from idse.pipeline.images.source import SourceImage
from idse.pipeline.images.steered import SteeredImage

pytestmark = pytest.mark.fast
TINY = str(Path(__file__).parents[2] / "golden" / "vae" / "tiny-hyperprior.safetensors")


@pytest.fixture(scope="module")
def encoder():
    return JpegEncoder(model="student")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "in.png"
    Image.fromarray(photo(200, 150)).save(path)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": False},
        {"sampling": "4:4:4"},
        {"sampling": "4:2:2", "restart_rows": 1},
        {"sampling": "grey"},
    ],
)
def test_sizes_are_never_above(encoder, options):
    source = SourceImage(pixels=photo(224, 160, seed=2))
    for size in (2500, 5000, 9000):
        made = encoder.encode_image(source, JpegOptions(target_bytes=size, control=True, **options))
        assert 0.97 * size < len(made.data) <= size
        assert Image.open(io.BytesIO(made.data)).size == (224, 160)


def test_tables_are_the_networks(encoder):
    source = SourceImage(pixels=photo(224, 224))
    files = [
        encoder.encode_image(source, JpegOptions(bpp=0.8, control=control)).data
        for control in (False, True)
    ]
    own, controlled = (jpeg.read(data).tables for data in files)
    assert not np.array_equal(own[0], controlled[0])
    # Both chroma components have one table.
    np.testing.assert_array_equal(controlled[1], controlled[2])
    again = encoder.encode_image(source, JpegOptions(bpp=0.8, control=True)).data
    assert again == files[1]


def sampling_of(data):
    return jpeg.read(data).layout.sampling


@pytest.mark.parametrize("control", [False, True])
def test_sampling_switches_with_the_size(encoder, control):
    source = SourceImage(pixels=photo(224, 224))
    found = []
    for bpp in (0.5, 1.0, 2.0, 4.0, 8.0):
        options = JpegOptions(bpp=bpp, control=control)
        made = encoder.encode_image(source, options)
        data = made.data
        assert made.report.sampling == sampling_of(data)
        assert len(data) <= bpp * 224 * 224 / 8
        assert encoder.encode_image(source, options).data == data
        found.append(sampling_of(data))
    assert found[0] == "4:2:0"
    assert found[-1] == "4:4:4"
    assert found == sorted(found)


def test_other_files_than_steered_ones_of_a_size_stay_as_they_were(encoder):
    source = SourceImage(pixels=photo(224, 224))
    stock = JpegEncoder(model=None).encode_image(source, JpegOptions(bpp=8.0))
    matched = encoder.encode_image(source, JpegOptions(quality=95))
    for made in (stock, matched):
        assert made.report.sampling == sampling_of(made.data) == "4:2:0"


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (48, 32), (200, 8)])
def test_what_420_reaches_is_reached(encoder, size):
    source = SourceImage(pixels=photo(*size))
    with pytest.raises(TargetError) as told:
        encoder.encode_image(source, JpegOptions(target_bytes=1, sampling="4:2:0"))
    least = int(str(told.value).split("its smallest JPEG has ")[1].split(";")[0])
    made = encoder.encode_image(source, JpegOptions(target_bytes=least)).data
    assert len(made) == least
    assert sampling_of(made) == "4:2:0"


@pytest.mark.parametrize("sampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("bpp", [0.8, 8.0])
def test_a_sampling_that_is_asked_for_stays(encoder, sampling, bpp, control):
    source = SourceImage(pixels=photo(224, 224))
    options = JpegOptions(bpp=bpp, control=control, sampling=sampling)
    assert sampling_of(encoder.encode_image(source, options).data) == sampling


def test_pillow_keeps_the_sampling_of_a_file():
    stored = io.BytesIO()
    Image.fromarray(photo(96, 96)).save(stored, "JPEG", subsampling="4:2:0")
    pillow.install()
    try:
        for asked, wanted in (("keep", "4:2:0"), (-1, "4:4:4")):
            target = io.BytesIO()
            with Image.open(stored) as image:
                image.save(target, "JPEG", idse={"control": True}, bpp=8.0, subsampling=asked)
            assert sampling_of(target.getvalue()) == wanted
    finally:
        pillow.uninstall()


def test_a_fallbacks_jpeg_has_the_same_sampling(encoder):
    source = SourceImage(pixels=photo(64, 64))
    options = JpegOptions(bpp=8.0, control=True, fallback="vae-jpeg", vae_models=(TINY,))
    assert set(encoder.encode_image(source, options).report.losses) == {"jpeg", "vae-jpeg"}


def test_what_stands_for_a_picture_has_its_tables_and_price():
    networks, options = Networks(ImageSteering()), JpegOptions(bpp=0.5, control=True)
    first = SteeredImage(SourceImage(pixels=photo(64, 64)), networks, options)
    other = SourceImage(pixels=photo(64, 64, seed=1))
    assert SteeredImage(other, networks, options, like=first.plan).plan is first.plan


def test_each_head_has_tables_of_its_own():
    source = SourceImage(pixels=photo(224, 224))
    options = JpegOptions(bpp=0.8, control=True)
    names = ("student", "student@yolov4-tiny", "student@efficientnet-lite0")
    files = {JpegEncoder(model=name).encode_image(source, options).data for name in names}
    assert len({jpeg.read(data).tables[0].tobytes() for data in files}) == 3


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 3), (40, 64)])
def test_small_pictures(encoder, size):
    source = SourceImage(pixels=photo(*size))
    made = encoder.encode_image(source, JpegOptions(target_bytes=1500, control=True))
    assert len(made.data) <= 1500


def test_out_of_reach_is_told(encoder):
    source = SourceImage(pixels=photo(64, 64))
    with pytest.raises(TargetError, match="100 bytes are out of reach"):
        encoder.encode_image(source, JpegOptions(target_bytes=100, control=True))


@pytest.mark.parametrize("options", [{}, {"quality": 50}, {"accuracy": 0.9}])
def test_control_needs_a_size(options):
    with pytest.raises(InputError, match="control chooses tables for a size"):
        JpegOptions(control=True, **options)


@pytest.mark.parametrize(("extra", "wanted"), [((), "4:4:4"), (("--sampling", "4:2:0"), "4:2:0")])
def test_the_command_leaves_the_sampling_to_control(picture, tmp_path, extra, wanted):
    target = tmp_path / "out.jpg"
    assert main(["image", str(picture), str(target), "--control", "--bpp", "7", *extra]) == 0
    assert sampling_of(target.read_bytes()) == wanted


def test_the_command(picture, tmp_path, capsys):
    target = tmp_path / "out.jpg"
    command = ["image", str(picture), str(target), "--control", "--target-bytes", "6k"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == target.stat().st_size <= 6000


def test_a_folder(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for seed in range(2):
        Image.fromarray(photo(120, 90, seed)).save(source / f"{seed}.png")
    Image.fromarray(photo(120, 90)[..., 0]).save(source / "grey.png")
    command = ["image", str(source), str(target), "--control", "--bpp", "1.5", "--jobs", "1"]
    assert main(command) == 0
    sizes = [path.stat().st_size for path in sorted(target.glob("*.jpg"))]
    assert len(sizes) == 3
    assert max(sizes) <= 1.5 * 120 * 90 / 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--control",), "give target-bytes or bpp"),
        (("--control", "--quality", "60"), "give target-bytes or bpp"),
        (("--control", "--bpp", "1", "--no-steer"), "no effect with --no-steer"),
    ],
)
def test_what_makes_no_sense_is_refused(picture, tmp_path, capsys, options, words):
    target = tmp_path / "out.jpg"
    assert main(["image", str(picture), str(target), *options]) == 2
    assert words in capsys.readouterr().err
    assert not target.exists()
