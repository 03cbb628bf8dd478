"""Motion and cuts on content whose motion is known, and on real video."""

from itertools import pairwise

import av
import numpy as np
import pytest

from idse.importance.motion import MotionEstimator
from idse.picture import Picture, PictureFormat

pytestmark = pytest.mark.fast

WIDTH, HEIGHT = 320, 240


def texture(seed, size=(400, 520)):
    """Smooth noise with detail at several scales, as photographs have it."""
    rng = np.random.default_rng(seed)
    total = np.zeros(size)
    for cell in (64, 32, 16, 8):
        coarse = rng.normal(size=(size[0] // cell + 2, size[1] // cell + 2))
        y, x = (np.arange(n) / cell for n in size)
        rows = np.stack([np.interp(x, np.arange(coarse.shape[1]), row) for row in coarse])
        smooth = np.stack([np.interp(y, np.arange(len(rows)), col) for col in rows.T], axis=1)
        total += smooth * cell
    total = (total - total.min()) / np.ptp(total)
    return 30 + 190 * total


def picture(luma, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    luma = luma + noise * rng.normal(size=luma.shape)
    chroma = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    planes = (np.clip(np.rint(luma), 0, 255).astype(np.uint8), chroma, chroma)
    return Picture(planes=planes, format=PictureFormat(width=WIDTH, height=HEIGHT))


def window(scene, x, y):
    return scene[y : y + HEIGHT, x : x + WIDTH]


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, -2), (14, 9), (-30, 20)])
def test_finds_a_pan(dx, dy):
    scene = texture(1)
    estimator = MotionEstimator()
    assert estimator.push(picture(window(scene, 80, 80), 1.0, 1)) is None
    field = estimator.push(picture(window(scene, 80 + dx, 80 + dy), 1.0, 2))
    inner = field.vectors[3:-3, 3:-3]
    assert not field.scene_cut
    # The camera moves by (dx, dy): content was further right and down by that much.
    close = np.abs(inner - (dx, dy)).max(-1) <= 1
    assert close.mean() > 0.9
    assert field.reliability[3:-3, 3:-3].mean() > 0.9


def test_new_content_is_unreliable_and_the_rest_is_not():
    scene, other = texture(2), texture(3)
    estimator = MotionEstimator()
    estimator.push(picture(window(scene, 50, 50), 1.0, 1))
    changed = window(scene, 50, 50).copy()
    changed[64:160, 96:224] = other[64:160, 96:224]
    changed[70:150:7, 100:220] += 60
    field = estimator.push(picture(changed, 1.0, 2))
    assert not field.scene_cut
    assert field.reliability[4:10, 6:14].mean() < 0.3
    outside = np.ones((15, 20), bool)
    outside[3:11, 5:15] = False
    assert field.reliability[outside].min() > 0.9


def test_a_change_of_size_starts_anew():
    estimator = MotionEstimator()
    estimator.push(picture(window(texture(1), 0, 0)))
    grey = tuple(np.full(s, 128, np.uint8) for s in ((64, 64), (32, 32), (32, 32)))
    small = Picture(planes=grey, format=PictureFormat(width=64, height=64))
    assert estimator.push(small) is None
    assert estimator.push(small) is not None


def _frames(path, count):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for _, frame in zip(range(count), container.decode(stream), strict=False):
            form = PictureFormat(width=frame.width, height=frame.height)
            planes = tuple(
                np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width]
                for p in frame.planes
            )
            yield Picture(planes=planes, format=form)


def test_cuts_between_clips_and_only_there(shared):
    """Three fixed cameras joined: a cut where they meet, none inside."""
    names = ("vtest.avi", "intel-car-detection.mp4", "intel-one-by-one-person-detection.mp4")
    # The corridor is flat and its source's keyframes differ from what precedes them (frame 80).
    clips = [list(_frames(shared / "video" / name, 100)) for name in names]
    for clip in clips:
        estimator = MotionEstimator()
        fields = [estimator.push(p) for p in clip]
        assert not any(field.scene_cut for field in fields[1:])
    estimator = MotionEstimator()
    estimator.push(clips[1][-1])
    assert estimator.push(clips[2][0]).scene_cut
    assert not estimator.push(clips[2][1]).scene_cut


def test_cuts_between_photographs(shared):
    paths = sorted((shared / "coco_val128" / "images").glob("*.jpg"))[:24:2]
    pictures = []
    for path in paths:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0)).reformat(WIDTH, HEIGHT, "gray")
        pictures.append(picture(frame.to_ndarray().astype(float)))
    cuts = []
    for first, second in pairwise(pictures):
        estimator = MotionEstimator()
        estimator.push(first)
        cuts.append(estimator.push(second).scene_cut)
    assert all(cuts)


def test_a_darker_frame_is_no_cut_but_a_white_flash_may_be():
    scene = window(texture(5), 60, 60)
    estimator = MotionEstimator()
    estimator.push(picture(scene, 1.0, 1))
    assert not estimator.push(picture(scene * 0.98, 1.0, 2)).scene_cut


def test_is_deterministic():
    scene = texture(6)
    runs = []
    for _ in range(2):
        estimator = MotionEstimator()
        estimator.push(picture(window(scene, 40, 40), 3.0, 1))
        runs.append(estimator.push(picture(window(scene, 45, 44), 3.0, 2)))
    for name in ("vectors", "reliability", "residual"):
        assert np.array_equal(getattr(runs[0], name), getattr(runs[1], name))
