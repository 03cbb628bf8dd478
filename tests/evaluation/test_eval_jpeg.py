"""JPEG encoders in the harness: real files of each, what they decode to, and who learns what."""

import io
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from eval_media import write_clip, write_images
from PIL import Image

from idse.errors import InputError, MissingExtraError
from idse.evaluation.coders import CODECS, find_coder
from idse.evaluation.coders.fixed_tables import sampled_picture, scaled, training_set
from idse.evaluation.coding import encode_images, prepare_images
from idse.evaluation.configuration import Configuration
from idse.evaluation.pixels import decode_jpegs, filter_pixels, jfif_picture, read_pixels
from idse.evaluation.sources import Clip, find_sources
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.options import JpegOptions
from idse.pipeline.images.source import SourceImage

pytestmark = pytest.mark.fast

SIZES = [(96, 65), (64, 96), (80, 80), (71, 57)]
NETWORK = "--model eval_networks:judge"
TWO = "--model eval_networks:other"
PEERS = {"libjpeg-turbo": "", "mozjpeg": "", "jpegli": "", "luo": NETWORK, "grace": NETWORK}
OURS = {"jpeg": NETWORK}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("jpeg"), SIZES)


@pytest.fixture(scope="module")
def odd(folder):
    return find_sources([str(folder)], selection="odd", pix_fmt="rgb24")[0]


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def sampling(image):
    (_, h, v, _), *others = image.layer
    assert all(layer[1:3] == (1, 1) for layer in others)
    return {(2, 2): "4:2:0", (2, 1): "4:2:2", (1, 1): "4:4:4"}[h, v]


def encoded(cache, source, codec, options="", rate=60):
    item = Configuration(
        name=codec, codec=codec, arguments=f"{(PEERS | OURS)[codec]} {options}".strip()
    )
    prepare_images(cache, source, item.coder)
    return encode_images(cache, source, item, rate)


@pytest.mark.parametrize("codec", [*PEERS, *OURS])
def test_files_are_plain_jpegs_that_grow_with_quality(codec, odd, tmp_path):
    coarse, fine = (encoded(tmp_path, odd, codec, rate=rate) for rate in (20, 80))
    assert (fine.size > coarse.size).all()
    assert fine.size.tolist() == [len(data) for data in fine.streams()]
    for data, rgb in zip(fine.streams(), odd.pixels(), strict=True):
        image = opened(data)
        assert np.asarray(image).shape == rgb.shape
        assert sampling(image) == "4:2:0"
        assert all(1 <= step <= 255 for table in image.quantization.values() for step in table)
    again = encoded(tmp_path / "elsewhere", odd, codec, rate=80)
    assert again.streams() == fine.streams()


@pytest.mark.parametrize(
    ("codec", "options", "expected"),
    [
        ("libjpeg-turbo", "--sampling 4:2:2", ("4:2:2", False)),
        ("libjpeg-turbo", "--sampling 4:4:4 --progressive", ("4:4:4", True)),
        ("mozjpeg", "--sampling 4:4:4", ("4:4:4", True)),
        ("mozjpeg", "--baseline", ("4:2:0", False)),
        ("jpegli", "--progressive", ("4:2:0", True)),
        ("jpeg", "--sampling 4:4:4 --baseline", ("4:4:4", False)),
        ("luo", "--sampling 4:4:4", ("4:4:4", False)),
        ("grace", "--progressive", ("4:2:0", True)),
    ],
)
def test_options_reach_the_file(codec, options, expected, odd, tmp_path):
    for data in encoded(tmp_path, odd, codec, options).streams():
        image = opened(data)
        assert (sampling(image), bool(image.info.get("progressive"))) == expected


def test_mozjpeg_has_nine_tables_and_a_trellis(odd, tmp_path):
    tables = set()
    for number in range(9):
        data = encoded(tmp_path, odd, "mozjpeg", f"--quant-table {number}").streams()[0]
        tables.add(tuple(opened(data).quantization[0]))
    assert len(tables) == 9
    plain = encoded(tmp_path, odd, "libjpeg-turbo")
    trellis = encoded(tmp_path, odd, "mozjpeg", "--quant-table 0 --baseline")
    assert opened(plain.streams()[0]).quantization == opened(trellis.streams()[0]).quantization
    assert trellis.size.sum() < plain.size.sum()


def test_jpegli_made_progressive_is_the_same_picture(odd, tmp_path):
    plain, repacked = (encoded(tmp_path, odd, "jpegli", how) for how in ("", "--progressive"))
    for a, b in zip(plain.streams(), repacked.streams(), strict=True):
        assert a != b
        assert np.array_equal(np.asarray(opened(a)), np.asarray(opened(b)))


def test_our_files_are_those_that_users_get(odd, tmp_path):
    alone = encoded(tmp_path, odd, "jpeg", "--without set", rate=50).streams()
    encoder = JpegEncoder(model="eval_networks:judge")
    assert alone == [encoder.encode(rgb, quality=50) for rgb in odd.pixels()]
    sources = [SourceImage(pixels=rgb) for rgb in odd.pixels()]
    single = [encoder.encode_image(s, JpegOptions(quality=50)).report.scale for s in sources]
    shared = math.sqrt(math.prod(single))
    together = encoded(tmp_path, odd, "jpeg", rate=50).streams()
    expected = [encoder.encode_image(s, JpegOptions(), scale=shared).data for s in sources]
    assert together == expected != alone
    two = encoded(tmp_path, odd, "jpeg", TWO, rate=50)
    assert two.streams() == encoded(tmp_path, odd, "jpeg", TWO + " --without set", 50).streams()


def test_parts_of_ours_can_be_left_out(odd, tmp_path):
    whole, rounded, even = (
        encoded(tmp_path, odd, "jpeg", f"--without set {part}", rate=60)
        for part in ("", "--without trellis", "--without blocks")
    )
    assert len({whole.path, rounded.path, even.path}) == 3
    first = [opened(item.streams()[0]).quantization for item in (rounded, even)]
    assert all(len(tables) == 3 for tables in first)
    assert rounded.streams() != whole.streams() != even.streams()
    source, coder = odd.pixels()[0], find_coder("jpeg").parse(NETWORK.split())
    weights = coder.analyse(odd)["0/0"]
    assert weights.shape == (-(-source.shape[0] // 8), -(-source.shape[1] // 8), 8, 8)


@pytest.mark.parametrize("codec", ["luo", "grace"])
def test_one_set_of_tables_for_all_images_learned_on_others(codec, odd, folder, tmp_path):
    files = encoded(tmp_path, odd, codec).streams()
    first, second = (opened(data).quantization for data in files)
    assert first == second
    assert len(first) == 3
    assert training_set(odd).paths == odd.others
    assert training_set(replace(odd, others=())).paths == odd.paths
    (even,) = find_sources([str(folder)], selection="even", pix_fmt="rgb24")
    swapped = opened(encoded(tmp_path, even, codec).streams()[0]).quantization
    assert swapped != first


def test_what_a_table_is_learned_from(odd, tmp_path):
    luo, grace = (find_coder(name).parse(NETWORK.split()) for name in ("luo", "grace"))
    squares = luo.analyse(odd)
    means = grace.analyse(odd)
    for name in ("y", "cb", "cr"):
        assert squares[name].shape == (8, 8)
        assert (squares[name] >= means[name] * 0.999).all()
    # A network that averages over 4x4 blocks of a picture does not see the finest detail.
    assert squares["y"][0, 0] > 2 * squares["y"][7, 7]
    flat = replace(luo, exponent=0.0).steps(squares)
    assert all(np.ptp(table) == 0 for table in flat)
    steps = luo.steps(squares)
    order = np.argsort(squares["cb"].ravel())
    assert (np.diff(steps[1].ravel()[order]) <= 0).all()


def test_qualities_scale_tables_as_libjpeg_does():
    steps = [np.full((8, 8), 40.0)]
    found = [scaled(steps, number)[0][0, 0] for number in (10, 25, 50, 75, 100)]
    assert found == [200, 80, 40, 20, 1]
    assert scaled(steps, 1)[0].max() == 255


@pytest.mark.parametrize(("width", "height"), [(16, 8), (15, 9), (1, 1)])
def test_chroma_is_averaged_where_it_is_sampled(width, height):
    rgb = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    whole, half = sampled_picture(rgb, 3, "4:4:4"), sampled_picture(rgb, 3, "4:2:0")
    assert half.format.siting == "center"
    assert half.index == whole.index == 3
    assert np.array_equal(whole.planes[0], half.planes[0])
    block = whole.planes[1][:2, :2].astype(float)
    assert abs(half.planes[1][0, 0] - block.mean()) <= 0.5
    assert whole.format.full_range
    assert half.format.full_range


def test_decoded_pictures_are_what_pillow_shows(odd):
    files = []
    for rgb in odd.pixels():
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "JPEG", quality=95, subsampling=0)
        files.append(buffer.getvalue())
    for data, item in zip(files, decode_jpegs(files, odd), strict=True):
        expected = jfif_picture(np.asarray(opened(data)), item.index)
        for a, b in zip(item.planes, expected.planes, strict=True):
            assert np.array_equal(a, b)
    for item, rgb in zip(odd.pictures(), odd.pixels(), strict=True):
        luma = rgb @ [0.299, 0.587, 0.114]
        assert np.abs(item.planes[0] - luma).max() <= 0.501
    with pytest.raises(InputError, match=r"01\.png: its JPEG is damaged"):
        list(decode_jpegs([files[0][:300], files[1]], odd))
    with pytest.raises(InputError, match=r"expected \(96, 64, 3\)"):
        list(decode_jpegs([files[1], files[0]], odd))


def test_filters_take_colour_as_it_is(odd):
    (half,) = filter_pixels(odd.pixels()[:1], "scale=w=iw/2:h=ih/2:flags=area")
    rgb = odd.pixels()[0]
    rows, columns = (size // 2 for size in rgb.shape[:2])
    means = rgb[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 3).mean((1, 3))
    assert half.shape[2] == 3
    assert np.abs(half[:rows, :columns].astype(float) - means).mean() < 2
    small = replace(odd, filter="scale=w=32:h=32")
    assert all(item.shape == (32, 32, 3) for item in small.pixels())
    assert small.key != odd.key
    wrong = replace(odd, filter="nonsense")
    with pytest.raises(InputError, match="nonsense"):
        wrong.pixels()


def test_images_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.png cannot be read"):
        read_pixels(path)


def test_each_encoder_has_its_sources(folder, odd, tmp_path):
    clip = Clip.open(write_clip(tmp_path / "clip.mkv"), block=1)
    (video,) = find_sources([str(folder)], pix_fmt="yuv420p")
    coder = Configuration(name="a", codec="libjpeg-turbo").coder
    coder.check(odd)
    with pytest.raises(InputError, match=r"clip\.mkv is a clip"):
        coder.check(clip)
    with pytest.raises(InputError, match="rgb24, not yuv420p"):
        coder.check(video)
    with pytest.raises(InputError, match="not rgb24"):
        Configuration(name="a", arguments="--no-steer").coder.check(odd)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: nonsense --progressive", "x264, "),
        ("a: libjpeg-turbo --crf 20", "--crf"),
        ("a: libjpeg-turbo --sampling 4:1:1", "4:1:1"),
        ("a: mozjpeg --quant-table 9", "9"),
        ("a: jpegli --sampling 4:4:4", "--sampling"),
        ("a: luo --exponent 3", "exponent 3"),
        ("a: jpeg --quality 50", "quality 50 is what --rates is for"),
        ("a: jpeg --no-steer", "libjpeg-turbo"),
        ("a: jpeg --without sky", "sky"),
    ],
)
def test_options_that_make_no_sense(text, words):
    with pytest.raises(InputError, match=f"'a'.*{words}"):
        Configuration.parse(text)


@pytest.mark.parametrize("rate", [0, 101, 50.5])
def test_rates_that_are_no_quality(rate, odd, tmp_path):
    with pytest.raises(InputError, match=f"quality {rate:g}"):
        encoded(tmp_path, odd, "jpegli", rate=rate)


@pytest.mark.parametrize(("codec", "package"), [("mozjpeg", "pyvips"), ("jpegli", "pyjpegli")])
def test_a_peer_that_is_not_installed(codec, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"idse.evaluation.coders.{codec}", raising=False)
    with pytest.raises(MissingExtraError, match=r"idse\[peers\]"):
        find_coder(codec)


def test_all_encoders_say_who_they_are():
    for codec in CODECS:
        coder = find_coder(codec)
        assert coder.codec == codec
        assert coder.version().split()[-1][0].isdigit()
        assert len(coder.rates) >= 6
