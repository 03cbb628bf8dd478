"""What a picture becomes where JPEG gives out, and what is said about it."""

import io
import logging
from pathlib import Path

import av
import numpy as np
import pytest
import still_pictures
from PIL import Image
from still_pictures import exif, photo

import idse
from idse.codecs import vae
from idse.codecs.jpeg import decode, read
from idse.errors import InputError, ModelError, TargetError
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.intra import decode_intra, encode_intra
from idse.pipeline.images.loss import Loss
from idse.pipeline.images.options import JpegOptions
from idse.pipeline.images.source import SourceImage
from idse.pipeline.images.vae import codec_of

FAST = pytest.mark.fast
TINY = str(Path(__file__).parents[1] / "golden" / "vae" / "tiny-hyperprior.safetensors")
# Between the smallest files of the tiny model and of JPEG.
SIZE = (192, 128)
SMALL, LARGE = 560, 4000


@pytest.fixture(scope="module")
def pixels():
    return photo(*SIZE)


def coded(pixels, encoder=None, **options):
    encoder = encoder or JpegEncoder(model=None)
    options = {"vae_models": (TINY,), **options}
    return encoder.encode_image(SourceImage(pixels=pixels), JpegOptions(**options))


@FAST
def test_beyond_jpeg_it_is_a_vae(pixels):
    with pytest.raises(TargetError, match="--fallback vae"):
        coded(pixels, target_bytes=SMALL, vae_models=())
    made = coded(pixels, target_bytes=SMALL, fallback="vae")
    assert 0.97 * SMALL < len(made.data) <= SMALL
    report = made.report
    assert (report.codec, report.vae_model) == ("vae", "tiny-hyperprior")
    assert report.chosen_because == "JPEG does not reach the target"
    assert (report.bytes, report.quality, report.scale) == (len(made.data), None, None)
    assert set(report.losses) == {"vae"}
    decoded = codec_of((TINY,)).decode(made.data)
    assert decoded.shape == pixels.shape
    loss = Loss(SourceImage(pixels=pixels), None, None, None)
    assert loss.of(decoded) == report.losses["vae"]


@FAST
@pytest.mark.parametrize("kind", ["vae", "vae-jpeg", "vae-h264"])
@pytest.mark.parametrize("network", [None, still_pictures.left])
def test_what_loses_least_is_kept(pixels, kind, network):
    encoder = JpegEncoder(model=None if network is None else network())
    for target in (1100, LARGE):
        made = coded(pixels, encoder, target_bytes=target, fallback=kind)
        assert len(made.data) <= target
        losses = made.report.losses
        assert set(losses) == {"jpeg", kind}
        assert min(losses, key=lambda name: (losses[name], name != "jpeg")) == made.report.codec
        assert all(f"{value:.4g}" in made.report.chosen_because for value in losses.values())
    # Without a fallback the JPEG is the same, to the byte.
    alone = coded(pixels, encoder, target_bytes=LARGE, vae_models=())
    assert (alone.report.codec, alone.report.chosen_because) == ("jpeg", None)
    if made.report.codec == "jpeg":
        assert alone.data == made.data


@FAST
def test_the_loss_of_a_network_is_the_distance_of_its_features(pixels):
    network = still_pictures.left()
    encoder = JpegEncoder(model=network)
    made = coded(pixels, encoder, target_bytes=LARGE, fallback="vae")
    from idse.pipeline.images.accuracy import observe
    from idse.pipeline.images.planes import source_picture

    jpeg = coded(pixels, encoder, target_bytes=LARGE, vae_models=())
    before, after = (
        observe(network, source_picture(item, 0)).features for item in (pixels, decode(jpeg.data))
    )
    expected = np.sum((after - before) ** 2) / np.sum(before**2)
    assert made.report.losses["jpeg"] == pytest.approx(expected, rel=1e-5)


@FAST
@pytest.mark.parametrize("grey", [False, True])
def test_simplified_pictures_are_read_by_stock_decoders(pixels, grey):
    source = pixels[..., 1] if grey else pixels
    made = coded(source, target_bytes=900, fallback="vae-jpeg")
    with Image.open(io.BytesIO(made.data), formats=("JPEG",)) as image:
        assert (image.size, image.mode) == (SIZE, "L" if grey else "RGB")
    made = coded(source, target_bytes=400, fallback="vae-h264")
    assert made.report.codec == "vae-h264"
    with av.open(io.BytesIO(made.data), format="h264") as container:
        (frame,) = container.decode(video=0)
    assert (frame.width, frame.height) == SIZE


@FAST
@pytest.mark.parametrize("size", [(64, 48), (37, 21), (2, 2)])
def test_intra_frames(size):
    pixels = photo(*size)
    limit = max(150, size[0] * size[1] // 4)
    data = encode_intra(pixels, limit)
    assert len(data) <= limit
    decoded = decode_intra(data, *pixels.shape[:2])
    assert decoded.shape == pixels.shape
    assert np.mean((decoded.astype(float) - pixels) ** 2) < np.var(pixels)
    with pytest.raises(TargetError, match="QP 51"):
        encode_intra(pixels, 20)


@FAST
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_without_tags_are_stored_upright(pixels, orientation, caplog):
    source = SourceImage(pixels=pixels, exif=exif(orientation), icc=b"profile")
    options = JpegOptions(target_bytes=SMALL, fallback="vae", vae_models=(TINY,))
    made = JpegEncoder(model=None).encode_image(source, options)
    decoded = codec_of((TINY,)).decode(made.data)
    tagged = Image.fromarray(pixels)
    tagged.getexif()[0x0112] = orientation
    from PIL import ImageOps

    upright = np.asarray(ImageOps.exif_transpose(tagged))
    assert decoded.shape == upright.shape
    header = vae.read_header(made.data)
    assert (header.height, header.width) == upright.shape[:2]
    assert "upright" in made.report.warnings[0]
    # What is lost is told of the picture as it was: an upright one loses the same.
    flat = SourceImage(pixels=upright)
    same = JpegEncoder(model=None).encode_image(flat, options)
    assert same.report.losses["vae"] == pytest.approx(made.report.losses["vae"])
    assert same.data == made.data
    # A JPEG keeps its tags, and is not turned.
    options = JpegOptions(target_bytes=1200, fallback="vae-jpeg", vae_models=(TINY,))
    made = JpegEncoder(model=None).encode_image(source, options)
    assert read(made.data).orientation == orientation
    assert made.report.warnings == ()


@FAST
def test_nothing_reaches_the_target(pixels):
    with pytest.raises(TargetError, match=r"100 bytes are out of reach.*nor does the fallback"):
        coded(pixels, target_bytes=100, fallback="vae")
    made = coded(pixels, target_bytes=LARGE // 2, bpp=None, fallback="vae-h264")
    assert set(made.report.losses) == {"jpeg", "vae-h264"}


@FAST
def test_the_size_that_was_asked_for_is_what_is_told():
    """And not a part of it, at which coarser pictures were tried."""
    with pytest.raises(TargetError, match="nor does the fallback: 80 bytes are out of reach"):
        coded(photo(64, 64), target_bytes=80, fallback="vae-jpeg")


@FAST
@pytest.mark.parametrize("models", [(), ("missing.safetensors",)])
def test_a_fallback_that_fails_leaves_the_jpeg(pixels, models, caplog, monkeypatch):
    monkeypatch.setattr("idse.learned.vae.model.built_in", tuple)
    plain = coded(pixels, target_bytes=LARGE, vae_models=())
    codec_of.cache_clear()
    with caplog.at_level(logging.WARNING, "idse"):
        made = coded(pixels, target_bytes=LARGE, fallback="vae", vae_models=models)
    assert len(caplog.records) == 1
    assert made.data == plain.data
    assert made.report.warnings == (caplog.records[0].getMessage(),)
    assert made.report.chosen_because == "the fallback failed"
    with pytest.raises(TargetError, match="out of reach"):
        coded(pixels, target_bytes=SMALL, fallback="vae", vae_models=models)
    strict = JpegEncoder(model=None, strict=True)
    with pytest.raises(ModelError):
        coded(pixels, strict, target_bytes=LARGE, fallback="vae", vae_models=models)
    codec_of.cache_clear()


@FAST
def test_the_returned_bytes_say_what_they_are(pixels):
    data = idse.encode_jpeg(
        pixels, model=None, target_bytes=SMALL, fallback="vae", vae_models=[TINY]
    )
    assert isinstance(data, bytes)
    assert data.codec == data.report.codec == "vae"
    assert idse.encode_jpeg(pixels, model=None).codec == "jpeg"


@FAST
@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"fallback": "webp", "bpp": 1}, "'webp'"),
        ({"fallback": "vae"}, "target-bytes or bpp"),
        ({"fallback": "vae", "quality": 5}, "target-bytes or bpp"),
        ({"vae_models": ("a.safetensors",)}, "a.safetensors"),
    ],
)
def test_options_that_make_no_sense(options, word):
    with pytest.raises(InputError, match=word):
        JpegOptions(**options)


@FAST
def test_the_model_that_ships_takes_over():
    pixels = photo(320, 240)
    made = coded(pixels, target_bytes=700, fallback="vae", vae_models=())
    assert made.report.codec == "vae"
    assert made.report.sampling is None
    decoded = codec_of().decode(made.data)
    # Far nearer than one colour: what it shows is the picture.
    assert np.mean((decoded.astype(float) - pixels) ** 2) < 0.25 * np.var(pixels, (0, 1)).mean()
