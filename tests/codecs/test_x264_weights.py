"""Distortion weights: what is refused, that ones are stock, that others do what they say."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from x264_clips import DEBIAN, decode, moving_clip, noise_clip, stream_of

from idse.codecs.x264 import Distortion, Encoder, _raw, load_library
from idse.codecs.x264.distortion import _Prepared
from idse.errors import InputError

fast = pytest.mark.fast
full = pytest.mark.full
MB_SHAPE = (4, 6)  # of the clips: 96x64


def ones(mb_shape=MB_SHAPE):
    return np.ones((4 * mb_shape[0], 4 * mb_shape[1]), np.float32)


def encode(clip, library, weights=None, pts=None, extradata=False, **settings):
    """Encode; ``weights`` is called with a picture's number and the encoder's mb_shape."""
    height, width = clip[0][0].shape
    settings["options"] = {"threads": "1", **settings.get("options", {})}
    packets = []
    with Encoder(
        width=width, height=height, fps=Fraction(25), library=library, **settings
    ) as encoder:
        for index, planes in enumerate(clip):
            given = weights(index, encoder.mb_shape) if weights else None
            packets += encoder.encode(planes, pts=pts[index] if pts else index, weights=given)
        packets += encoder.flush()
        return (packets, encoder.extradata) if extradata else packets


def errors_of(clip, library, weights, **settings):
    """Return the luma error of every frame after decoding: float64 ``(frames, rows, columns)``."""
    packets, extradata = encode(clip, library, weights, extradata=True, **settings)
    frames = sorted(decode(packets, extradata), key=lambda frame: frame.pts)
    dtype = np.uint16 if "10" in settings.get("pix_fmt", "") else np.uint8
    errors = []
    for frame, source in zip(frames, clip, strict=True):
        plane = np.frombuffer(frame.planes[0], dtype).reshape(frame.height, -1)
        errors.append(plane[:, : frame.width].astype(float) - source[0])
    return np.array(errors)


def blocks_of(error, size=4):
    """Return squared errors summed over blocks: ``(frames, rows, columns)``."""
    n, rows, columns = error.shape
    return (error**2).reshape(n, rows // size, size, columns // size, size).sum((2, 4))


@pytest.fixture(scope="module")
def library(weighted_library):
    return load_library(weighted_library, weighted=True)


# -- what is refused


@fast
def test_stock_takes_no_weights():
    clip = moving_clip(1)
    with pytest.raises(InputError, match=r"libx264\.so.*takes no distortion weights.*build-x264"):
        encode(clip, load_library(DEBIAN), lambda _n, shape: ones(shape))


def sketched(n=2, cells=4, shape=MB_SHAPE, **changes):
    given = {
        "weights": ones(shape),
        "sketches": np.full((n, cells * shape[0], cells * shape[1]), 0.25, np.float32),
        "shares": np.ones(shape, np.float32),
    }
    return Distortion(**(given | changes))


def changed(array, value, place=(1, 2)):
    array = array.copy()
    array[place] = value
    return array


@fast
@pytest.mark.parametrize(
    ("distortion", "message"),
    [
        (Distortion(ones().astype(np.float64)), "weights are float64, expected a numpy array of"),
        (Distortion(ones().tolist()), "weights are list"),
        (Distortion(ones()[:-1]), r"weights have shape \(15, 24\), expected \(16, 24\)"),
        (Distortion(changed(ones(), np.nan)), r"weights: nan at \(1, 2\) is no number from 0.0039"),
        (Distortion(changed(ones(), 0)), r"weights: 0.0 at \(1, 2\)"),
        (Distortion(changed(ones(), 256)), r"weights: 256.0 at \(1, 2\) .* to 255"),
        (sketched(shares=None), "sketches need shares"),
        (Distortion(ones(), shares=np.ones(MB_SHAPE, np.float32)), "and shares sketches"),
        (
            sketched(cells=5),
            r"sketches have shape \(2, 20, 30\), expected .*\(16, 24\) or \(32, 48\)",
        ),
        (sketched(n=17), "17 distortion sketches: 1 to 16"),
        (sketched(n=0), "0 distortion sketches: 1 to 16"),
        (sketched(sketches=[1.0]), "sketches are list"),
        (
            sketched(sketches=changed(sketched().sketches, np.inf, (0, 1, 2))),
            "sketches contain a value that is no finite number",
        ),
        (
            sketched(shares=changed(np.ones(MB_SHAPE, np.float32), -1)),
            r"shares: -1.0 at \(1, 2\) is no number from 0 to",
        ),
    ],
)
def test_bad_weights_are_named(distortion, message):
    with pytest.raises(InputError, match=message):
        _Prepared(distortion, MB_SHAPE)


@fast
def test_fixed_point_and_order_of_sketches():
    cells = np.arange(2 * 4 * 4 * 6 * 4, dtype=np.float32).reshape(2, 16, 24) / 256
    prepared = _Prepared(sketched(sketches=cells - 1), MB_SHAPE)
    # Macroblock row 1, column 2, sketch 1, cell row 3, column 0.
    assert prepared._sketches[1, 2, 1, 3, 0] == 256 * (cells[1, 4 + 3, 8] - 1)
    assert prepared._weights.tolist() == np.full((16, 24), 256).tolist()
    large = _Prepared(sketched(sketches=np.full((1, 16, 24), -9, np.float32)), MB_SHAPE)
    assert large._sketches.min() == large._sketches.max() == -2047


# -- ones everywhere are stock

CONFIGURATIONS = {
    "medium": ("yuv420p", "medium", {}),
    "slow": ("yuv420p", "slow", {}),
    "veryslow": ("yuv420p", "veryslow", {}),
    "placebo": ("yuv420p", "placebo", {}),
    "ultrafast": ("yuv420p", "ultrafast", {}),
    "fast": ("yuv420p", "fast", {"bframes": "5"}),
    "threads": ("yuv420p", "medium", {"threads": "4"}),
    "sliced-threads": ("yuv420p", "medium", {"threads": "3", "sliced-threads": "1"}),
    "cavlc": ("yuv420p", "slow", {"cabac": "0"}),
    "422": ("yuv422p", "slow", {}),
    "444": ("yuv444p", "slow", {}),
    "qp-rd": ("yuv444p", "veryslow", {"subme": "11"}),
    "10-bit": ("yuv420p10le", "slow", {}),
    "10-bit-422": ("yuv422p10le", "medium", {"threads": "3"}),
    "interlaced": ("yuv420p", "slow", {"tff": "1"}),
    "interlaced-threads": ("yuv420p", "veryslow", {"bff": "1", "threads": "3"}),
    "10-bit-interlaced": ("yuv420p10le", "medium", {"tff": "1"}),
    "no-asm": ("yuv420p", "medium", {"asm": "0"}),
    "no-psy": ("yuv420p", "medium", {"psy": "0", "aq-mode": "0", "trellis": "2"}),
    "abr": ("yuv420p", "medium", {"bitrate": "200"}),
    "cqp": ("yuv420p", "slow", {"qp": "30", "8x8dct": "0"}),
}


@full
@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_ones_are_stock_byte_for_byte(name, odd, library):
    pix_fmt, preset, options = CONFIGURATIONS[name]
    width, height = (99, 53) if odd else (96, 64)
    clip = moving_clip(12, width, height, pix_fmt=pix_fmt)
    settings = {"pix_fmt": pix_fmt, "preset": preset, "options": options}
    stock = load_library(DEBIAN)
    # Another source than Debian's is its own reference: what nothing is handed in for.
    reference = stock if stock.version == library.version else library
    expected = stream_of(encode(clip, reference, **settings))
    assert stream_of(encode(clip, library, **settings)) == expected
    assert stream_of(encode(clip, library, lambda _n, shape: ones(shape), **settings)) == expected


@full
@pytest.mark.parametrize("cells", [4, 8])
@pytest.mark.parametrize("options", [{}, {"tff": "1"}], ids=["progressive", "interlaced"])
def test_sketches_of_nothing_leave_the_shares(cells, options, library):
    clip = moving_clip(8)

    def nothing(_n, shape):
        zeros = np.zeros((3, cells * shape[0], cells * shape[1]), np.float32)
        return sketched(shape=shape, sketches=zeros)

    settings = {"preset": "slow", "options": options}
    assert stream_of(encode(clip, library, nothing, **settings)) == stream_of(
        encode(clip, library, **settings)
    )


# -- others do what they say


@full
@pytest.mark.parametrize("width", [1, 2], ids=["4x4", "8x8"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv444p"])
@pytest.mark.parametrize("options", [{}, {"cabac": "0"}, {"asm": "0"}], ids=["", "cavlc", "no-asm"])
def test_errors_move_to_where_they_cost_less(width, pix_fmt, options, library):
    clip = noise_clip(3, pix_fmt=pix_fmt)
    heavy = np.zeros((16, 24), bool)
    heavy[:] = np.arange(24) // width % 2 == 0
    field = np.where(heavy, 1.8, 0.2).astype(np.float32)
    options = {"qp": "46" if "10" in pix_fmt else "34", "psy": "0", **options}
    settings = {"pix_fmt": pix_fmt, "preset": "medium", "options": options}
    before = blocks_of(errors_of(clip, library, None, **settings))
    after = blocks_of(errors_of(clip, library, lambda _n, _shape: field, **settings))
    assert after[:, heavy].mean() < 0.995 * before[:, heavy].mean()
    assert after[:, ~heavy].mean() > 1.2 * before[:, ~heavy].mean()


@full
def test_blocks_of_interlaced_pictures_lie_where_they_are_seen(library, caplog):
    # Fields of different brightness: x264 codes field macroblocks, whose lines spread over the
    # pair. Given the weights of the frame macroblock of the same number, the lines of one field
    # would be heavy and those of the other light, and both halves alike.
    clip = noise_clip(3)
    for planes in clip:
        planes[0][1::2] //= 4
    heavy = np.zeros((16, 24), bool)
    heavy[0:4] = heavy[8:12] = True  # the upper half of each pair of macroblocks
    field = np.where(heavy, 1.8, 0.2).astype(np.float32)
    settings = {"preset": "slow", "options": {"qp": "34", "psy": "0", "tff": "1"}}
    before = blocks_of(errors_of(clip, library, None, **settings)).sum(0)
    caplog.set_level("INFO")
    after = blocks_of(errors_of(clip, library, lambda _n, _shape: field, **settings)).sum(0)
    assert after[heavy].sum() < 0.97 * before[heavy].sum()
    assert after[~heavy].sum() > 2 * before[~heavy].sum()
    assert "field mbs: intra: 100.0%" in caplog.text


@full
@pytest.mark.parametrize("cells", [4, 8])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_a_sketch_sees_what_it_is_made_of(cells, pix_fmt, library):
    # One sketch that is the sum over a macroblock: only the mean of the error is to be small.
    clip = noise_clip(3, pix_fmt=pix_fmt)

    def sums(_n, shape):
        rows = np.full((1, cells * shape[0], cells * shape[1]), 1.0, np.float32)
        return sketched(shape=shape, sketches=rows, shares=np.full(shape, 0.05, np.float32))

    settings = {"pix_fmt": pix_fmt, "preset": "slower", "options": {"qp": "34", "psy": "0"}}
    means = [
        (errors_of(clip, library, weights, **settings).reshape(3, 4, 16, 6, 16).mean((2, 4)) ** 2)
        for weights in (None, sums)
    ]
    assert means[1].mean() < 0.8 * means[0].mean()


@full
@pytest.mark.parametrize("threads", ["1", "3"])
def test_weights_belong_to_the_picture_not_to_its_pts(threads, library):
    clip = noise_clip(40)
    pts = [1000 - 7 * (40 - n) for n in range(40)]
    field = np.tile(np.array([0.3, 1.7], np.float32), (16, 12))

    def some(number, _shape):
        return field.copy() if number in {3, 4, 20} else None

    # Intra frames of one QP: nothing but its own weights can change one.
    settings = {"options": {"qp": "30", "keyint": "1", "threads": threads}, "pts": pts}
    stock = encode(clip, library, **settings)
    steered = encode(clip, library, some, **settings)
    differ = [n for n, (a, b) in enumerate(zip(stock, steered, strict=True)) if a.data != b.data]
    assert differ == [3, 4, 20]


@full
def test_pictures_out_of_order_keep_their_weights(library):
    clip = moving_clip(30, cut=False)
    field = np.tile(np.array([0.2, 1.8], np.float32), (16, 12))
    settings = {"preset": "slow", "options": {"bframes": "3", "b-adapt": "0", "qp": "30"}}
    stock = {p.pts: p for p in encode(clip, library, **settings)}
    for number in (13, 14, 15):  # of a B-frame nothing else is predicted, unless it is a reference
        steered = {
            p.pts: p
            for p in encode(
                clip, library, lambda n, _s, k=number: field if n == k else None, **settings
            )
        }
        assert steered[number].data != stock[number].data
        if stock[number].frame_type == "b":
            others = set(stock) - {number}
            assert all(stock[n].data[4:] == steered[n].data[4:] for n in others if n < number - 3)


@full
def test_encoders_side_by_side_do_not_share_weights(library):
    clip = moving_clip(16)

    def job(seed):
        rng = np.random.default_rng(seed)
        fields = rng.uniform(0.2, 1.8, (16, 16, 24)).astype(np.float32)
        give = (lambda n, _shape: fields[n]) if seed else None
        return stream_of(encode(clip, library, give, preset="slow", options={"threads": "2"}))

    alone = [job(seed) for seed in range(4)]
    assert len(set(alone)) == 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(job, [0, 1, 2, 3, 3, 2, 1, 0])) == alone + alone[::-1]


@full
def test_a_picture_that_is_encoded_takes_no_more_weights(library):
    clip = moving_clip(3)
    with Encoder(width=96, height=64, fps=Fraction(25), library=library) as encoder:
        hand_in = getattr(library.functions, _raw.WEIGHTS_FUNCTION)
        raw = _Prepared(Distortion(ones()), MB_SHAPE).raw
        encoder.encode(clip[0], pts=0)
        assert hand_in(encoder._handle, 0, raw) == -2
        assert hand_in(encoder._handle, -1, raw) == -1
        assert hand_in(encoder._handle, 1, raw) == 0
        assert hand_in(encoder._handle, 1, None) == 0  # taken back
        raw.i_mb_rows = 5
        assert hand_in(encoder._handle, 1, raw) == -1
        for n in (1, 2):
            encoder.encode(clip[n], pts=n)


@full
def test_debians_ffmpeg_writes_the_same_file_with_it(weighted_library, library, tmp_path):
    if load_library(DEBIAN).version != library.version:
        pytest.skip(f"built from {library.version}, Debian's is {load_library(DEBIAN).version}")
    for name, preload in (("stock", ""), ("weighted", str(weighted_library))):
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x96:d=1"]
        command += ["-c:v", "libx264", "-threads", "2", str(tmp_path / f"{name}.h264")]
        subprocess.run(command, env=os.environ | {"LD_PRELOAD": preload}, check=True)
    stock = (tmp_path / "stock.h264").read_bytes()
    assert (tmp_path / "weighted.h264").read_bytes() == stock
    assert hasattr(library.functions, "x264_encoder_open_164")
    assert hasattr(library.functions, "x264_encoder_open_165")
