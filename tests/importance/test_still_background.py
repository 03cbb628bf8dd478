"""What is held in place of a still background: exactly, softly, and never for too long."""

import numpy as np
import pytest

from idse import background_kernels as kernels
from idse.errors import InputError
from idse.importance.motion import MotionEstimator
from idse.importance.still import StillBackground, StillPolicy
from idse.picture import Picture, PictureFormat

pytestmark = pytest.mark.fast

RATE = 10
SCENE = PictureFormat(width=160, height=128)


def scene(form, seed=3):
    """Planes of a smooth texture, float64."""
    rng = np.random.default_rng(seed)
    planes = []
    for rows, cols in form.plane_shapes:
        coarse = rng.uniform(60, 190, (rows // 16 + 2, cols // 16 + 2))
        fine = coarse.repeat(16, axis=0).repeat(16, axis=1)
        for axis in (0, 1):
            fine = sum(np.roll(fine, k, axis) for k in range(16)) / 16
        planes.append(fine[:rows, :cols])
    return planes


def shot(form, planes, index, noise=2.0, change=None):
    """A picture of the scene with sensor noise, after ``change(planes)``."""
    rng = np.random.default_rng(1000 + index)
    planes = [plane.copy() for plane in planes]
    if change is not None:
        change(planes)
    unit = 1 << (form.bit_depth - 8)
    dtype = np.uint8 if form.bit_depth == 8 else np.uint16
    taken = [
        np.clip(np.rint((plane + rng.normal(0, noise, plane.shape)) * unit), 0, 256 * unit - 1)
        for plane in planes
    ]
    return Picture(planes=tuple(p.astype(dtype) for p in taken), format=form, index=index)


class Film:
    """Runs pictures through a background; importance is low unless told otherwise."""

    def __init__(self, form=SCENE, **policy):
        self.form, self.planes = form, scene(form)
        self.still = StillBackground(StillPolicy(**{"seconds": 1.0} | policy))
        self.motion = MotionEstimator()
        self.index = 0
        self.weight = np.full(form.mb_shape, -2, np.float32)

    def next(self, change=None, *, weight="low", noise=2.0):
        picture = shot(self.form, self.planes, self.index, noise, change)
        field = self.motion.push(picture)
        given = self.weight if isinstance(weight, str) else weight
        shown = self.still.advance(picture, field, given, 1 / RATE)
        self.index += 1
        return picture, shown

    def run(self, seconds, **how):
        for _ in range(round(seconds * RATE)):
            last = self.next(**how)
        return last


FORMATS = [
    PictureFormat(width=w, height=h, pix_fmt=f)
    for w, h, f in [
        (160, 128, "yuv420p"),
        (87, 75, "yuv420p"),
        (96, 64, "yuv422p"),
        (75, 64, "yuv444p"),
        (96, 80, "yuv420p10le"),
        (87, 75, "yuv422p10le"),
        (64, 64, "yuv444p10le"),
    ]
]


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: f"{f.pix_fmt}-{f.width}x{f.height}")
def test_a_still_scene_becomes_the_same_picture_every_time_and_less_noisy(form):
    film = Film(form)
    picture, before = film.run(0.9)
    assert before is picture.planes  # not yet, and not even copied
    film.run(3)
    assert film.still.share == 1.0
    unit = 1 << (form.bit_depth - 8)
    (_, first), (picture, second) = film.next(), film.next()
    for one, two, source, true in zip(first, second, picture.planes, film.planes, strict=True):
        assert two.dtype == source.dtype
        assert two.shape == source.shape
        # x264 skips what is exactly equal; a sample may step towards its mean now and then.
        assert np.mean(one != two) < 0.02
        assert np.abs(one.astype(int) - two.astype(int)).max() <= 1
        assert np.std(two / unit - true) < 0.5 * np.std(source / unit - true)
        assert abs(np.mean(two / unit - true)) < 0.2


def test_neither_the_source_nor_what_was_shown_changes_afterwards():
    film = Film()
    picture, shown = film.run(3)
    kept = [plane.copy() for plane in (*picture.planes, *shown)]
    film.run(1)
    assert all(np.array_equal(a, b) for a, b in zip(kept, (*picture.planes, *shown), strict=True))


def test_what_matters_is_never_touched_and_has_a_soft_border():
    film = Film()
    film.weight[2:5, 3:6] = 1
    picture, shown = film.run(4)
    luma, source = shown[0].astype(int), picture.planes[0].astype(int)
    assert np.array_equal(luma[32:80, 48:96], source[32:80, 48:96])
    assert all(
        np.array_equal(s[16:40, 24:48], p[16:40, 24:48])
        for s, p in zip(shown[1:], picture.planes[1:], strict=True)
    )
    # The change grows from nothing at the border over a cell, on every side.
    change = np.abs(luma - source).astype(float)
    near, far = change[32:80, 96], change[32:80, 110]
    assert near.mean() < 0.4 < far.mean()


def test_importance_has_hysteresis_and_wakes_at_once():
    film = Film(below=-1.0)
    film.run(3)
    between = np.full(film.form.mb_shape, -0.8, np.float32)
    film.run(1, weight=between)
    assert film.still.share == 1.0  # not clearly more than the threshold
    picture, shown = film.next(weight=np.full(film.form.mb_shape, -0.4, np.float32))
    assert shown is picture.planes
    film.run(3, weight=between)
    assert film.still.share == 0.0  # and not clearly less
    film.run(3)
    assert film.still.share == 1.0
    picture, shown = film.next(weight=None)
    assert shown is picture.planes  # nothing known: everything may matter


@pytest.mark.parametrize("contrast", [60, -25, 8])
@pytest.mark.parametrize("size", [4, 24])
def test_whatever_comes_or_goes_is_shown_in_that_very_picture(contrast, size):
    film = Film()
    film.run(3)
    for step in range(6):
        x = 40 + 5 * step

        def walk(planes, x=x):
            planes[0][40 : 40 + size, x : x + size] += contrast

        picture, shown = film.next(walk)
        window = (slice(38, 42 + size), slice(x - 2, x + 2 + size))
        error = shown[0][window].astype(float) - picture.planes[0][window]
        assert abs(error.mean()) < 1
        blocks = error[2:-2, 2:-2].reshape(size // 4, 4, size // 4, 4).mean(axis=(1, 3))
        assert np.abs(blocks).max() <= 3
    # Gone: nothing of it stays behind.
    for _ in range(30):
        picture, shown = film.next()
        trace = shown[0][36:72, 36:100].astype(float) - film.planes[0][36:72, 36:100]
        blocks = trace.reshape(9, 4, 16, 4).mean(axis=(1, 3))
        assert np.abs(blocks).max() < 3


def test_one_that_stays_becomes_background_and_one_that_creeps_is_followed():
    film = Film()
    film.run(3)

    def parked(planes):
        planes[0][32:64, 32:64] += 40

    picture, shown = film.next(parked)
    assert np.array_equal(shown[0][32:64, 32:64], picture.planes[0][32:64, 32:64])
    picture, shown = film.run(3, change=parked)
    assert film.still.share == 1.0
    true = film.planes[0][32:64, 32:64] + 40
    assert np.abs(shown[0][32:64, 32:64] - true).mean() < 1

    for step in range(40):  # a quarter of a sample a picture: no difference of two pictures tells

        def creep(planes, at=64 + step // 4):
            planes[0][64:96, at : at + 24] -= 30

        picture, shown = film.next(creep)
        error = (shown[0].astype(float) - picture.planes[0])[64:96, 64:104]
        assert np.abs(error.reshape(8, 4, 10, 4).mean(axis=(1, 3))).max() < 6


def test_light_that_drifts_is_followed_without_a_jump_and_a_lamp_at_once():
    film = Film()
    _, before = film.run(3)
    for step in range(100):

        def dawn(planes, level=step * 0.05):
            planes[0] += level

        _, shown = film.next(dawn)
        change = shown[0].astype(int) - before[0]
        assert np.abs(change).max() <= 1
        assert change.mean() < 0.3
        before = shown
    assert film.still.share == 1.0
    assert abs((shown[0] - film.planes[0]).mean() - 5) < 2

    def lamp(planes):
        planes[0] += 30

    picture, shown = film.next(lamp)
    assert np.array_equal(shown[0], picture.planes[0])


def test_a_cut_and_a_reset_start_anew():
    film = Film()
    film.run(3)
    film.planes = scene(film.form, seed=9)[0:1] + film.planes[1:]
    picture, shown = film.next()
    assert np.array_equal(shown[0], picture.planes[0])
    film.run(3)
    assert film.still.share == 1.0
    film.still.reset()
    picture, shown = film.next()
    assert shown is picture.planes


def test_policies_and_arrays_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="seconds 0"):
        StillPolicy(seconds=0)
    with pytest.raises(InputError, match="importance nan"):
        StillPolicy(below=float("nan"))
    film = Film()
    film.run(0.5)
    with pytest.raises(InputError, match=r"map of \(2, 2\) macroblocks"):
        film.next(weight=np.zeros((2, 2), np.float32))
    small = PictureFormat(width=16, height=16)
    picture = shot(small, scene(small), 0)
    background = kernels.Background.of(picture)
    with pytest.raises(InputError, match="no place in a background"):
        background.compare(shot(SCENE, scene(SCENE), 0))
    good = {
        "action": np.zeros((2, 2), np.uint8),
        "gain": np.zeros((2, 2), np.uint16),
        "weight": np.zeros((3, 3), np.uint16),
    }
    background.update(picture, **good)
    for name, bad, message in (
        ("action", np.full((2, 2), 3, np.uint8), "actions hold 3"),
        ("gain", np.zeros((2, 3), np.uint16), r"gains are uint16 \(2, 3\)"),
        ("weight", np.full((3, 3), 257, np.uint16), "weights hold 257"),
        ("weight", np.zeros((3, 3), np.int64), "weights are int64"),
    ):
        with pytest.raises(InputError, match=message):
            background.update(picture, **good | {name: bad})
