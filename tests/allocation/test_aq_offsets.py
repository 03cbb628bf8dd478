"""x264's AQ against the QPs that x264 writes."""

import struct
import subprocess

import av
import numpy as np
import pytest

from idse.allocation.aq import aq_offsets
from idse.errors import InputError
from idse.picture import Picture, PictureFormat

pytestmark = pytest.mark.fast

WIDTH, HEIGHT, CRF = 160, 120, 20


def scene(pix_fmt):
    """Stripes of noise from none to a lot: offsets over the whole range, coefficients in each."""
    form = PictureFormat(width=WIDTH, height=HEIGHT, pix_fmt=pix_fmt)
    rng = np.random.default_rng(0)
    planes = []
    for i, (h, w) in enumerate([(HEIGHT, WIDTH), form.chroma_shape, form.chroma_shape]):
        spread = np.linspace(4 if i else 10, 25 if i else 80, w)[None, :]
        values = 90 + rng.normal(size=(h, w)) * spread
        planes.append(np.clip(values, 0, 255).astype(np.uint8))
    return Picture(planes=tuple(planes), format=form)


def qps_read_back(picture, mode, strength, tmp_path):
    """QPs of an intra picture coded with nothing but CRF and AQ."""
    form = picture.format
    path = tmp_path / "aq.mp4"
    recipe = f"keyint=1:qcomp=1:ipratio=1:pbratio=1:mbtree=0:aq-mode={mode}:aq-strength={strength}"
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", form.pix_fmt]
    command += ["-s", f"{form.width}x{form.height}", "-i", "-", "-c:v", "libx264", "-crf", str(CRF)]
    command += ["-x264-params", f"{recipe}:threads=1:trellis=0:no-psy=1", str(path)]
    subprocess.run(command, input=b"".join(p.tobytes() for p in picture.planes), check=True)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"export_side_data": "venc_params"}
        frame = next(container.decode(stream))
        side = next(bytes(s) for s in frame.side_data if "VIDEO_ENC_PARAMS" in str(s.type))
    count, offset, size = struct.unpack_from("<IxxxxQQ", side, 0)
    (base,) = struct.unpack_from("<i", side, 28)
    words = np.frombuffer(side, np.int32, count * size // 4, offset).reshape(count, -1)
    return (base + words[:, 4]).reshape(form.mb_shape)


def snapped(asked):
    """Below subme 10, x264 keeps the previous macroblock's QP where the next is 1 away."""
    result = asked.astype(int).ravel()
    last = result[0]
    for i, qp in enumerate(result):
        last = result[i] = last if abs(qp - last) == 1 else qp
    return result.reshape(asked.shape)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize(("mode", "strength"), [(1, 1.0), (2, 1.0), (3, 1.0), (3, 0.6)])
def test_equals_the_qps_of_an_encode(mode, strength, pix_fmt, tmp_path):
    picture = scene(pix_fmt)
    offsets = aq_offsets(picture, mode=mode, strength=strength)
    expected = snapped(np.floor(CRF + offsets + 0.5))
    found = qps_read_back(picture, mode, strength, tmp_path)
    # x264 takes its logarithm from a table: a value at a half may round the other way.
    assert (expected == found).mean() > 0.95
    assert np.abs(expected - found).max() <= 1
    assert np.ptp(found) >= 4


def test_mode_0_is_nothing_and_others_are_refused():
    picture = scene("yuv420p")
    assert not aq_offsets(picture, mode=0).any()
    with pytest.raises(InputError, match="aq-mode 4"):
        aq_offsets(picture, mode=4)
