"""What comes out of one picture: agreement, failing networks, metadata, threads."""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import still_pictures
import torch
from still_pictures import exif, file_of, photo

import idse
from idse.codecs.jpeg import decode, encode, read
from idse.errors import InputError, ModelError, TargetError
from idse.pipeline.images.accuracy import agreement, observe
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.options import JpegOptions
from idse.pipeline.images.planes import coded_picture, decoded_picture, source_picture
from idse.pipeline.images.source import SourceImage, read_image
from idse.vision.heads import Detections

FAST, FULL = pytest.mark.fast, pytest.mark.full


@pytest.fixture(scope="module")
def encoder():
    return JpegEncoder(model=still_pictures.left())


def errors(pixels, data):
    """Mean squared error of the left and the right half."""
    error = (decode(data, colour="grey").astype(float) - decode_luma(pixels)) ** 2
    middle = error.shape[1] // 2
    return error[:, :middle].mean(), error[:, middle:].mean()


def decode_luma(pixels):
    return pixels @ np.array([0.299, 0.587, 0.114])


@FAST
def test_bits_go_where_the_network_looks(encoder):
    pixels = photo(192, 128)
    pixels[:, 96:] = pixels[:, 95::-1]  # both halves are as hard
    data = encoder.encode(pixels, target_bytes=4000)
    left, right = errors(pixels, data)
    assert left < right  # little: by default other networks keep their share


@FAST
def test_strength_says_for_whom(encoder):
    pixels = photo(192, 128)
    pixels[:, 96:] = pixels[:, 95::-1]
    ratios = []
    for strength in (0.0, 0.5, 1.0):
        data = encoder.encode(pixels, target_bytes=4000, strength=strength)
        left, right = errors(pixels, data)
        ratios.append(right / left)
    assert ratios == sorted(ratios)
    assert ratios[2] > 1.5 * ratios[0]


@FAST
@pytest.mark.parametrize(("orientation", "seen"), [(1, "left"), (3, "right"), (2, "left")])
def test_the_network_sees_pictures_as_they_are_shown(encoder, orientation, seen):
    pixels = photo(192, 128)
    pixels[:, 96:] = pixels[:, 95::-1]
    source = SourceImage(pixels=pixels, exif=exif(orientation))
    data = encoder.encode_image(source, JpegOptions(target_bytes=4000)).data
    assert read(data).orientation == orientation
    left, right = errors(pixels, data)
    assert (left < right) == (seen == "left")


@FAST
@pytest.mark.parametrize("sampling", ["4:2:0", "4:2:2", "4:4:4", "grey"])
@pytest.mark.parametrize("size", [(64, 48), (37, 19), (1, 1)])
def test_planes_are_what_libjpeg_codes(sampling, size):
    from idse.codecs.jpeg import JpegLayout, transform_with_samples

    pixels = photo(*size)
    layout = JpegLayout(*size, sampling)
    picture = coded_picture(layout, transform_with_samples(pixels, layout).samples, 90)
    # With steps of 1 libjpeg's own file holds the same luma, but for rounded coefficients.
    ones = [np.ones((8, 8), int)] * layout.components
    luma = decode(encode(pixels, tables=ones, sampling=sampling), colour="grey")
    assert np.abs(picture.planes[0].astype(int) - luma).max() <= 2
    assert [plane.shape for plane in picture.planes[1:]] == [picture.format.chroma_shape] * 2
    assert picture.format.rotation == 90
    assert picture.format.siting == "center"
    assert picture.format.full_range


@FAST
def test_grey_pictures_stay_grey(encoder):
    pixels = photo(64, 48)[..., 0]
    data = encoder.encode(pixels, quality=80)
    assert read(data).layout.sampling == "grey"
    assert np.abs(decode(data, colour="grey").astype(int) - pixels).mean() < 5


@FAST
@pytest.mark.parametrize("quality", [30, 60, 90])
def test_quality_is_libjpegs_for_fewer_bytes(encoder, quality):
    pixels = photo(256, 192, seed=2)
    data = encoder.encode(pixels, quality=quality)
    stock = encode(pixels, quality=quality, progressive=True)
    assert len(data) < len(stock)
    network = still_pictures.left()
    seen = [observe(network, source_picture(pixels, 0)).features]
    for file in (data, stock):
        seen.append(observe(network, decoded_picture(decode(file, colour="ycc"), 0)).features)
    ours, theirs = (float(((other - seen[0]) ** 2).sum()) for other in seen[1:])
    assert ours < 2 * theirs


@FAST
def test_without_a_network_it_is_libjpeg_turbo():
    pixels = photo(80, 60)
    stock = encode(pixels, quality=61, sampling="4:2:2", progressive=True, restart_rows=1)
    made = idse.encode_jpeg(pixels, model=None, quality=61, sampling="4:2:2", restart_rows=1)
    assert made == stock


@FAST
def test_without_a_network_a_size_is_the_best_quality_that_fits():
    pixels = photo(80, 60)
    encoder = JpegEncoder(model=None)
    made = encoder.encode_image(read_image(pixels), JpegOptions(target_bytes=2500))
    quality = made.report.quality
    assert made.data == encode(pixels, quality=quality, progressive=True)
    assert len(made.data) <= 2500 < len(encode(pixels, quality=quality + 1, progressive=True))
    assert not made.report.steered


@FAST
@pytest.mark.parametrize("model", ["fails", "not_finite"])
def test_a_network_that_fails_costs_only_its_steering(model, caplog):
    pixels = photo(80, 60)
    network = getattr(still_pictures, model)()
    with caplog.at_level(logging.WARNING):
        made = JpegEncoder(model=network).encode_image(
            read_image(pixels), JpegOptions(target_bytes=2500)
        )
    assert len(caplog.records) == 1
    assert model in caplog.text
    assert made.report.warnings
    assert not made.report.steered
    assert made.data == idse.encode_jpeg(pixels, model=None, target_bytes=2500)
    strict = JpegEncoder(model=network, strict=True)
    with pytest.raises(ModelError, match=model):
        strict.encode(pixels, target_bytes=2500)


@FAST
@pytest.mark.parametrize("model", ["fails", None])
def test_accuracy_needs_a_network_that_works(model):
    encoder = JpegEncoder(model=None if model is None else still_pictures.fails())
    with pytest.raises((InputError, ModelError), match=r"without a network|out of order"):
        encoder.encode(photo(40, 40), accuracy=0.9)


@FAST
@pytest.mark.parametrize("model", ["classifier", "detector", "left"])
def test_accuracy_is_reached_and_costs_more_the_more_is_asked(model):
    network = getattr(still_pictures, model)()
    encoder = JpegEncoder(model=network)
    pixels = photo(128, 96, seed=4)
    sizes = []
    for asked in (0.5, 0.9, 0.99):
        made = encoder.encode_image(read_image(pixels), JpegOptions(accuracy=asked))
        before = observe(network, source_picture(pixels, 0))
        after = observe(network, decoded_picture(decode(made.data, colour="ycc"), 0))
        assert agreement(before, after) == made.report.agreement >= asked
        sizes.append(len(made.data))
    assert sizes[0] <= sizes[1] <= sizes[2]
    assert sizes[2] < len(encode(pixels, quality=100))


@FAST
def test_an_accuracy_out_of_reach_says_what_is_not():
    # Between two classes that are as good as equal, the last digit decides.
    class Edge(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.sum(), -x.abs().sum()])[None] * 1e9

    network = idse.FeatureExtractor(Edge(), size=(32, 32), mean=(0.5,) * 3, fit="stretch")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    with pytest.raises(TargetError, match=r"accuracy 1 is out of reach .*: the finest .* 0\.\d+"):
        JpegEncoder(model=network).encode(noise, accuracy=1.0)


def found(boxes, scores, classes):
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(classes))


@FAST
def test_agreement_of_detections_by_hand():
    from idse.pipeline.images.accuracy import Observation

    nothing = np.zeros(1, np.float32)
    empty = found(np.zeros((0, 4)), [], [])
    box, other = (0, 0, 10, 10), (20, 20, 30, 30)
    source = Observation(features=nothing, found=found([box, other], [0.8, 0.4], [1, 2]))

    def of(*args):
        return agreement(source, Observation(features=nothing, found=found(*args)))

    assert of([box, other], [0.7, 0.3], [1, 2]) == 1
    assert of([box, other], [0.7, 0.3], [2, 1]) == 0
    # Recall 2/3 by confidence, precision 1.
    assert of([box], [0.5], [1]) == pytest.approx(0.8)
    # Recall 1, precision 1.2 / 1.6.
    more = of([box, other, (50, 50, 60, 60)], [0.8, 0.4, 0.4], [1, 2, 3])
    assert more == pytest.approx(2 * 0.75 / 1.75)
    # A box counts once.
    assert of([box, box], [0.8, 0.8], [1, 1]) == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert agreement(source, Observation(features=nothing, found=empty)) == 0
    # Where nothing is found in the source, the features count.
    before = Observation(features=np.array([3, 4], np.float32), found=empty)
    after = Observation(features=np.array([3, 3], np.float32), found=empty)
    assert agreement(before, after) == pytest.approx(1 - 1 / 25)


@FAST
def test_agreement_of_classes_by_hand():
    from idse.pipeline.images.accuracy import Observation

    def of(*probabilities):
        return Observation(
            features=np.zeros(1, np.float32), probabilities=np.array(probabilities, np.float32)
        )

    assert agreement(of(0.8, 0.2), of(0.6, 0.4)) == pytest.approx(0.75)
    assert agreement(of(0.8, 0.2), of(0.9, 0.1)) == 1
    assert agreement(of(0.8, 0.2), of(0.4, 0.6)) == 0


@FAST
def test_metadata_is_kept_and_can_be_left_out(encoder):
    source = file_of(photo(64, 48), "JPEG", exif=exif(6), icc_profile=b"profile", dpi=(90, 90))
    kept = read(encoder.encode(source))
    assert (kept.orientation, kept.icc) == (6, b"profile")
    assert read(encoder.encode(source, metadata=False)).markers[1:] == ()


@FAST
def test_exif_too_long_for_a_jpeg_is_left_out_with_a_warning(encoder, caplog):
    source = SourceImage(pixels=photo(32, 32), exif=bytes(70_000))
    made = encoder.encode_image(source, JpegOptions())
    assert "too long" in made.report.warnings[0]
    assert len(made.data) < 10_000


@FAST
def test_many_threads_give_what_one_does(encoder):
    pictures = [photo(96 + 8 * n, 64, seed=n) for n in range(8)]
    alone = [encoder.encode(p, target_bytes=3000) for p in pictures]
    before = torch.get_num_threads()
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda p: encoder.encode(p, target_bytes=3000), pictures))
    assert together == alone
    assert torch.get_num_threads() == before


@FAST
def test_several_networks():
    models = (still_pictures.left(), still_pictures.classifier())
    data = idse.encode_jpeg(photo(96, 64), model=models, target_bytes=3000)
    assert 2900 < len(data) <= 3000


@FAST
def test_baseline_and_progressive(encoder):
    pixels = photo(192, 128)
    baseline = encoder.encode(pixels, quality=90, progressive=False)
    assert not read(baseline).progressive
    assert len(encoder.encode(pixels, quality=90)) <= 1.02 * len(baseline)
    assert read(encoder.encode(photo(512, 384, seed=1), quality=90)).progressive


@FAST
@pytest.mark.parametrize("size", [(65501, 1), (65535, 2), (1, 65536)])
@pytest.mark.parametrize("model", [None, "left"])
def test_sides_that_no_jpeg_has(size, model):
    encoder = JpegEncoder(model=None if model is None else still_pictures.left())
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]}.*65500"):
        encoder.encode(np.zeros((size[1], size[0], 3), np.uint8))


@FULL
def test_the_longest_side_that_a_jpeg_has(encoder):
    data = encoder.encode(np.full((8, 65500), 77, np.uint8), target_bytes=3000)
    assert read(data).layout.width == 65500


@FAST
def test_unknown_models_are_refused():
    with pytest.raises(ModelError, match="nonesuch"):
        idse.encode_jpeg(photo(8, 8), model="nonesuch")
    with pytest.raises(InputError, match="network"):
        idse.encode_jpeg(photo(8, 8), model=[])
