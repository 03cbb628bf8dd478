"""Other people's decoders read what is written, and see the same picture."""

import base64
import html
import io
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
import still_pictures
from PIL import Image
from still_pictures import exif, photo

from idse.codecs.jpeg import decode, read
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.options import JpegOptions
from idse.pipeline.images.source import SourceImage

pytestmark = pytest.mark.full

FORMS = [
    {"sampling": "4:2:0"},
    {"sampling": "4:2:2", "restart_rows": 1},
    {"sampling": "4:4:4"},
    {"sampling": "grey"},
    {"sampling": "4:2:0", "progressive": False, "restart_rows": 2},
    {"sampling": "4:4:4", "progressive": False},
]
SIZES = [(200, 150), (317, 211), (17, 9), (8, 8)]
# Decoders differ in their inverse DCT and in how they upsample chroma, not in luma's coefficients.
TOLERANCE = 2

CHROMIUM = next(filter(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome")), "")
CHROMIUM_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# The load event waits for the picture, and --dump-dom for the load event.
PAGE = """<!doctype html><body><img id="image" src="data:image/jpeg;base64,%s">
<pre id="out"></pre><script>
addEventListener("load", () => {
  const image = document.getElementById("image");
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", {colorSpace: "srgb"});
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let text = "";
  for (let i = 0; i < pixels.length; i += 0x8000)
    text += String.fromCharCode(...pixels.subarray(i, i + 0x8000));
  const size = canvas.width + " " + canvas.height;
  document.getElementById("out").textContent = size + " " + btoa(text);
});
</script>"""


@pytest.fixture(scope="module")
def encoder():
    return JpegEncoder(model=still_pictures.left())


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: "-".join(map(str, form.values())))
def made(request, encoder):
    """Files of one form in several sizes and qualities: sampling, bytes."""
    form = request.param
    files = []
    for size in SIZES:
        for quality in (15, 85):
            source = SourceImage(pixels=photo(*size, seed=quality))
            asked = JpegOptions(quality=quality, **form)
            files.append(encoder.encode_image(source, asked).data)
    return form["sampling"], files


def luma(rgb):
    return rgb @ np.array([0.299, 0.587, 0.114])


def assert_same(seen, data, sampling):
    """Compare R'G'B' (height, width, 3) that a decoder saw with libjpeg-turbo's."""
    expected = decode(data)
    assert seen.shape == expected.shape
    if sampling == "4:4:4":
        assert np.abs(seen.astype(int) - expected).max() <= TOLERANCE + 1
    # Colours that clip take luma with them, however chroma was upsampled.
    inside = ((expected > 8) & (expected < 247)).all(-1) & ((seen > 8) & (seen < 247)).all(-1)
    inside |= np.full_like(inside, sampling in {"4:4:4", "grey"})
    difference = np.abs(luma(seen) - luma(expected))
    assert difference[inside].max(initial=0) <= TOLERANCE


def test_pillow(made):
    sampling, files = made
    for data in files:
        with Image.open(io.BytesIO(data)) as image:
            assert_same(np.asarray(image.convert("RGB")), data, sampling)


def test_opencv(made):
    sampling, files = made
    for data in files:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert_same(decoded[..., ::-1], data, sampling)


def test_ffmpeg(made):
    _, files = made
    for data in files:
        layout = read(data).layout
        done = subprocess.run(
            [
                *("ffmpeg", "-v", "error", "-f", "image2pipe", "-c:v", "mjpeg", "-i", "-"),
                *("-vf", "extractplanes=y", "-f", "rawvideo", "-pix_fmt", "gray", "-"),
            ],
            input=data,
            capture_output=True,
            check=True,
        )
        assert done.stderr == b""
        seen = np.frombuffer(done.stdout, np.uint8).reshape(layout.height, layout.width)
        expected = decode(data, colour="grey").astype(int)
        assert np.abs(seen - expected).max() <= TOLERANCE


def in_chromium(data, folder):
    page = folder / "page.html"
    page.write_text(PAGE % base64.b64encode(data).decode())
    done = subprocess.run(
        [
            *(CHROMIUM, *CHROMIUM_FLAGS, f"--user-data-dir={folder / 'profile'}"),
            *("--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r'<pre id="out">(\d+) (\d+) ([^<]+)</pre>', done.stdout)
    assert found is not None, done.stdout[-500:] + done.stderr[-500:]
    pixels = np.frombuffer(base64.b64decode(html.unescape(found[3])), np.uint8)
    return pixels.reshape(int(found[2]), int(found[1]), 4)[..., :3]


@pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium-headless-shell or chromium")
def test_chromium(made, tmp_path):
    sampling, files = made
    for data in files[:2] + files[2:3]:
        assert_same(in_chromium(data, tmp_path), data, sampling)


@pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium-headless-shell or chromium")
def test_chromium_turns_pictures_as_their_tag_says(encoder, tmp_path):
    source = SourceImage(pixels=photo(96, 64), exif=exif(6))
    data = encoder.encode_image(source, JpegOptions(sampling="4:4:4")).data
    seen = in_chromium(data, tmp_path)
    upright = np.rot90(decode(data), source.rotation // 90)
    assert np.abs(seen.astype(int) - upright).max() <= TOLERANCE + 1


@pytest.mark.skipif(not shutil.which("jpegtran"), reason="needs Debian's libjpeg-turbo-progs")
def test_coefficients_are_the_same_in_the_systems_libjpeg(made):
    _, files = made
    for data in files:
        copied = subprocess.run(
            ["jpegtran", "-copy", "all"], input=data, capture_output=True, check=True
        )
        for a, b in zip(read(data).coefficients, read(copied.stdout).coefficients, strict=True):
            assert np.array_equal(a, b)
