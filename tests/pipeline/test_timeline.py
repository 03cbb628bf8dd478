"""Timestamps through an encoder that reorders, at constant and variable rates."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idse.errors import CodecError
from idse.pipeline.schedule import Schedule
from idse.pipeline.timing import FrameTime, Timeline

pytestmark = pytest.mark.fast


def through_x264(timeline, pts, delay, order):
    """Drive a timeline as x264 with this reordering delay would."""
    ours = [timeline.push(FrameTime(pts=p, duration=1)) for p in pts]
    delay_time = ours[delay] - ours[0] if len(ours) > delay else 0
    got = []
    for position, index in enumerate(order):
        dts = ours[position - delay] if position >= delay else ours[position] - delay_time
        got.append((index, *timeline.pop(ours[index], dts)))
    return ours, got


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 4000), min_size=5, max_size=30),
    start=st.integers(-5000, 10**9),
    constant=st.booleans(),
)
def test_every_packet_gets_its_frames_own_time_and_a_dts_that_fits(gaps, start, constant):
    pts = [start]
    for gap in gaps:
        pts.append(pts[-1] + gap)
    # I P B B P B B ...: two B-frames are sent after the P-frame that follows them.
    order = [0]
    for first in range(1, len(pts), 3):
        group = list(range(first, min(first + 3, len(pts))))
        order += [group[-1], *group[:-1]]
    timeline = Timeline(time_base=Fraction(1, 1000), rate=Fraction(25), constant=constant)
    ours, got = through_x264(timeline, pts, 1, order)
    assert ours[0] == 0
    assert all(a < b for a, b in itertools.pairwise(ours))
    assert [time.pts for _, time, _ in got] == [pts[index] for index in order]
    dts = [d for _, _, d in got]
    assert all(a < b for a, b in itertools.pairwise(dts))
    assert all(d <= time.pts for _, time, d in got)
    assert dts[0] == 2 * pts[0] - pts[1]


def test_constant_rate_counts_frames_whatever_the_rounding():
    timeline = Timeline(time_base=Fraction(1, 1000), rate=Fraction(30000, 1001), constant=True)
    stamps = [round(n * 1001 / 30) + 7 for n in range(500)]
    assert [timeline.push(FrameTime(pts=p, duration=33)) for p in stamps] == list(range(500))
    assert timeline.encoder_time_base == Fraction(1001, 30000)


def test_memory_does_not_grow_with_the_number_of_frames():
    timeline = Timeline(time_base=Fraction(1, 25), rate=Fraction(25), constant=True)
    for n in range(5000):
        timeline.push(FrameTime(pts=n, duration=1))
        if n >= 40:
            timeline.pop(n - 40, n - 40)
    assert len(timeline._waiting) <= 42
    with pytest.raises(CodecError, match="123456"):
        timeline.pop(123456, 4999)


def test_schedule_follows_cuts_age_and_failures_only():
    schedule = Schedule(2.0)
    looked = []
    for n in range(100):
        seconds = n / 10
        if schedule.due(seconds, cut=n in (0, 35)):
            looked.append(n)
            if n != 20:  # the network fails on that frame: the next one is tried
                schedule.done(seconds)
    assert looked == [0, 20, 21, 35, 55, 75, 95]
    every = Schedule(0)
    assert all(every.due(n, cut=False) or every.done(n) for n in range(5))
