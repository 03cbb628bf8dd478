"""Judging, records on disk and the way from measurements to BD-rates, with a network in a line."""

import numpy as np
import pytest
import torch

from idse.errors import InputError
from idse.evaluation.comparison import Comparison, RatePoint
from idse.evaluation.judge import Judge
from idse.evaluation.measure import Measurement, Reference, measure
from idse.picture import Picture, PictureFormat
from idse.vision.extractor import FeatureExtractor
from idse.vision.heads import Boxes, Detections, Top1

pytestmark = pytest.mark.fast

SIZE = 32


class Blocks(torch.nn.Module):
    """Mean luminance of four quarters: features, class scores and the confidence of four boxes."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return torch.nn.functional.adaptive_avg_pool2d(x.mean(1), 2).flatten(1)


def boxes_of(output, size):
    half = size[0] / 2
    corners = [[x, y, x + half, y + half] for y in (0, half) for x in (0, half)]
    scores = output.clamp(0, 1)[..., None]
    return torch.tensor([corners] * len(output)), scores


def make_judge(head):
    network = Blocks()
    extractor = FeatureExtractor(network, size=(SIZE, SIZE), head=head, name="blocks")
    return Judge(extractor), network


def make_picture(index, noise=0.0):
    rng = np.random.default_rng(index)
    luma = np.kron(rng.integers(30, 220, (2, 2)), np.ones((SIZE // 2, SIZE // 2)))
    luma += noise * np.random.default_rng(1000 + index).normal(0, 1, luma.shape)
    chroma = np.full((SIZE // 2, SIZE // 2), 128, np.uint8)
    planes = (np.clip(luma, 16, 235).astype(np.uint8), chroma, chroma)
    return Picture(planes=planes, format=PictureFormat(width=SIZE, height=SIZE), index=index)


def test_a_judge_runs_its_network_once_and_sees_boxes_below_the_shown_score():
    judge, network = make_judge(Boxes(boxes_of, score=0.9))
    seen = judge.observe(make_picture(0))
    assert network.calls == 1
    assert seen.features.shape == (4,)
    assert len(seen.found) == 4
    np.testing.assert_allclose(np.sort(seen.features), np.sort(seen.found.scores), atol=1e-5)
    assert seen.top1 is None


def test_a_judge_classifies_and_refuses_an_inner_layer():
    judge, _ = make_judge(Top1())
    seen = judge.observe(make_picture(0))
    assert seen.top1 == int(np.argmax(seen.features))
    assert seen.found is None
    inner = FeatureExtractor(torch.nn.Sequential(Blocks()), size=(8, 8), layer="0", name="inner")
    with pytest.raises(InputError, match="inner must be judged by its output"):
        Judge(inner)


@pytest.fixture
def reference(tmp_path):
    judge, _ = make_judge(Boxes(boxes_of))
    Reference.write(tmp_path / "deep" / "source", judge, (make_picture(i) for i in range(6)))
    return judge, Reference(tmp_path / "deep" / "source")


def run(reference, noise, count=6):
    pairs = [(make_picture(i), make_picture(i, noise)) for i in range(count)]
    return measure(pairs, {"blocks": reference})


def test_measurements_survive_the_disk(reference, tmp_path):
    measured = run(reference, 8.0)
    measured.write(tmp_path / "new" / "m.npz")
    again = Measurement.read(tmp_path / "new" / "m.npz")
    assert np.isnan(again.ms_ssim).all()  # 32 samples are too small for it
    np.testing.assert_array_equal(again.psnr_y, measured.psnr_y)
    before, after = measured.judges["blocks"], again.judges["blocks"]
    np.testing.assert_array_equal(after.distance, before.distance)
    assert [len(found) for found in after.found] == [len(found) for found in before.found]
    np.testing.assert_array_equal(after.found[3].boxes, before.found[3].boxes)
    np.testing.assert_array_equal(after.found[5].scores, before.found[5].scores)
    assert after.top1.size == 0


def test_distance_is_to_the_source_and_grows_with_noise(reference):
    judge, stored = reference
    small, large = run(reference, 2.0), run(reference, 20.0)
    expected = np.sum((stored.features(2) - judge.observe(make_picture(2, 20.0)).features) ** 2)
    assert large.judges["blocks"].distance[2] == pytest.approx(expected)
    assert small.judges["blocks"].distance.sum() < large.judges["blocks"].distance.sum()
    assert small.psnr_y.min() > large.psnr_y.max()
    assert run(reference, 0.0).judges["blocks"].distance.sum() == 0


@pytest.mark.parametrize("count", [5, 7])
def test_another_number_of_pictures_than_was_judged_is_refused(reference, count):
    with pytest.raises(InputError, match=f"{count} decoded pictures for .*6"):
        run(reference, 1.0, count)


def test_bd_rates_of_all_metrics(reference):
    _, stored = reference
    noise = [16.0, 11.0, 8.0, 5.5, 4.0, 2.8]
    size = np.array([100.0, 200, 400, 800, 1600, 3200])[:, None] * np.linspace(0.5, 2, 6)
    measured = [run(reference, level) for level in noise]

    def points(factor):
        return [
            RatePoint(size=row * factor, measurement=m)
            for row, m in zip(size, measured, strict=True)
        ]

    units = np.array([0, 0, 1, 1, 2, 2])
    labels = [
        Detections(np.array([[0, 0, 16, 16]], np.float32), np.ones(1, np.float32), np.zeros(1, int))
    ] * 6
    comparison = Comparison({"blocks": stored.verdicts}, units=units, labels=labels, resamples=50)
    both = {"stock": points(1.0), "test": points(0.8)}
    curves = comparison.curves(both)
    assert curves["test"]["bytes"] == pytest.approx((0.8 * size.mean(axis=1)).tolist())
    assert set(curves["stock"]) == {
        "bytes",
        "output distance, blocks",
        "mAP on pseudo-labels, blocks",
        "mAP on true labels, blocks",
        "PSNR-Y",
    }
    rates = comparison.bd_rates(both, anchor="stock")
    for metric in ("PSNR-Y", "output distance, blocks"):
        estimate = rates[metric]["test"]
        assert estimate.percent == pytest.approx(-20)
        assert estimate.low == pytest.approx(-20)
        assert estimate.high == pytest.approx(-20)
