"""Offsets of a real video, asked for and read back from the bitstream."""

from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest

from idse.allocation import Allocator, OffsetPolicy, estimate_bits
from idse.codecs.h264 import read_macroblocks
from idse.codecs.x264 import Encoder
from idse.importance import Analyser
from idse.importance.carry import ImportanceTrack
from idse.importance.motion import MotionEstimator
from idse.picture import Picture
from idse.pipeline.frames import picture
from x264_recipes import VERBATIM

pytestmark = pytest.mark.full

FRAMES = 40
CRF = int(VERBATIM["crf"])


@pytest.fixture(scope="module")
def pictures(shared):
    with av.open(shared / "video" / "vtest.avi") as container:
        frames = islice(container.decode(video=0), FRAMES)
        views = [picture(frame, index) for index, frame in enumerate(frames)]
        return [
            Picture(planes=tuple(p.copy() for p in v.planes), format=v.format, index=v.index)
            for v in views
        ]


def encode(pictures, options, offsets, path):
    form = pictures[0].format
    size = {"width": form.width, "height": form.height}
    packets = []
    with Encoder(
        **size, fps=Fraction(10), options=options, steer=True, global_headers=False
    ) as encoder:
        for item, wanted in zip(pictures, offsets, strict=True):
            packets += encoder.encode(item.planes, pts=item.index, offsets=wanted)
        packets += encoder.flush()
    path.write_bytes(b"".join(packet.data for packet in packets))
    return list(read_macroblocks(path))


def kept_back(frame):
    """Macroblocks that have their predecessor's QP.

    An Intra16x16 macroblock without coefficients always carries mb_qp_delta; x264 then keeps its
    predecessor's QP if that is lower, since raising it would only disturb the loop filter.
    """
    before = np.concatenate([[-1], frame.qp.ravel()[:-1]]).reshape(frame.qp.shape)
    return frame.intra & (frame.qp == before)


def test_even_steps_are_exact_wherever_a_qp_is_coded(pictures, tmp_path):
    rng = np.random.default_rng(0)
    shape = pictures[0].format.mb_shape
    asked = [(2 * rng.integers(-3, 4, shape)).astype(np.float32) for _ in pictures]
    coded = off = 0
    for frame, wanted in zip(
        encode(pictures, VERBATIM, asked, tmp_path / "even.h264"), asked, strict=True
    ):
        wrong = frame.coded & (frame.qp != CRF + wanted)
        assert not (wrong & ~kept_back(frame)).any()
        assert (frame.qp <= CRF + wanted)[wrong].all()
        coded, off = coded + frame.coded.sum(), off + wrong.sum()
    assert coded > 20_000
    assert off < 1e-3 * coded


@pytest.mark.parametrize("options", [VERBATIM, {}], ids=["verbatim", "defaults"])
def test_steering_correlates_with_the_qps_in_the_bitstream(pictures, yolo, options, tmp_path):
    form = pictures[0].format
    analyser = Analyser([(yolo, 1.0)], n_s=4)
    # Offsets as far apart as these stand out from rounding.
    allocator = Allocator(OffsetPolicy(alpha=0.3), form.mb_shape, crf=float(CRF))
    motion, track, asked = MotionEstimator(), ImportanceTrack(), []
    for item in pictures:
        field, fresh = motion.push(item), None
        if item.index == 0:
            weight = analyser.analyse(item).weight()
            allocator.observe(weight)
            fresh = allocator.normalise(weight)
        rate = estimate_bits(item, field, qp=CRF)
        asked.append(allocator.offsets(track.advance(field, fresh), rate, elapsed=0.1))
    options = {"crf": str(CRF)} | options
    plain = encode(pictures, options, [None] * FRAMES, tmp_path / "plain.h264")
    steered = encode(pictures, options, asked, tmp_path / "steered.h264")
    wanted, got = [], []
    for before, after, offsets in zip(plain, steered, asked, strict=True):
        both = before.coded & after.coded & ~kept_back(after)
        wanted.append(offsets[both])
        got.append((after.qp.astype(int) - before.qp)[both])
    wanted, got = np.concatenate(wanted), np.concatenate(got)
    assert wanted.std() > 2
    # What is left is rounding, and x264 keeping a predecessor's QP that is 1 away.
    assert np.corrcoef(wanted, got)[0, 1] >= 0.97
