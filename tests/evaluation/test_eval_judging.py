"""Pictures of another size, features by block, and results of several sources as one."""

import numpy as np
import pytest
import torch
from eval_media import write_images
from eval_networks import judge, local

from idse.errors import InputError
from idse.evaluation.bdrate import isotonic
from idse.evaluation.blockwise import Blockwise, blockwise
from idse.evaluation.comparison import RatePoint
from idse.evaluation.configuration import Configuration
from idse.evaluation.evaluate import Plan
from idse.evaluation.filtering import resized
from idse.evaluation.judge import Judge
from idse.evaluation.measure import Measurement, Reference, Verdicts, measure
from idse.evaluation.results import Sample, compare, joined_points
from idse.evaluation.sources import find_sources
from idse.vision.extractor import FeatureExtractor
from idse.vision.heads import Boxes

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp("images"), [(256, 192), (192, 256)])
    return find_sources([str(folder)])[0].pictures()


class OneBox(torch.nn.Module):
    """A box over the left half of the input, whatever is in it."""

    def forward(self, x):
        return x.mean((2, 3))


def decode_one(output, size):
    rows, columns = size
    box = torch.tensor([0.0, 0.0, columns / 2, rows]).expand(len(output), 1, 4)
    return box, torch.ones(len(output), 1, 1)


def test_smaller_pictures_are_judged_as_they_are_and_compared_at_the_sources_size(
    pictures, tmp_path
):
    network = FeatureExtractor(
        OneBox(), size=(64, 64), fit="stretch", head=Boxes(decode_one), name="box"
    )
    asked = Judge(network)
    Reference.write(tmp_path / "box", asked, pictures)
    judges = {"box": (asked, Reference(tmp_path / "box"))}
    half = [resized(item, item.format.width // 2, item.format.height // 2) for item in pictures]
    found = measure(zip(pictures, half, strict=True), judges)
    back = [
        resized(small, item.format.width, item.format.height)
        for small, item in zip(half, pictures, strict=True)
    ]
    whole = measure(zip(pictures, back, strict=True), judges)
    assert np.array_equal(found.psnr_y, whole.psnr_y)
    assert np.array_equal(found.ms_ssim, whole.ms_ssim)
    for item, boxes in zip(pictures, found.judges["box"].found, strict=True):
        expected = [0, 0, item.format.width / 2, item.format.height]
        assert np.allclose(boxes.boxes, [expected], atol=0.5)
    small = asked.observe(half[0]).features
    difference = float(((small - Reference(tmp_path / "box").features(0)) ** 2).sum())
    assert found.judges["box"].distance[0] == pytest.approx(difference)


def test_parts_of_a_measurement_are_put_together_again(pictures, tmp_path):
    asked = Judge(judge())
    Reference.write(tmp_path / "judge", asked, pictures)
    judges = {"judge": (asked, Reference(tmp_path / "judge"))}
    pairs = list(zip(pictures, pictures, strict=True))
    whole = measure(pairs, judges)
    eye, judged = measure(pairs, {}), measure(pairs, judges, eye=False)
    assert judged.psnr_y.size == 0
    assert Measurement.merged([judged]).psnr_y.size == 0
    merged = Measurement.merged([judged, eye])
    assert np.array_equal(merged.psnr_y, whole.psnr_y)
    assert np.array_equal(merged.judges["judge"].top1, whole.judges["judge"].top1)
    taken = {path: part for part, path in whole.parts({"judge": tmp_path / "a"}, tmp_path / "eye")}
    assert set(taken) == {tmp_path / "a", tmp_path / "eye"}
    assert taken[tmp_path / "a"].psnr_y.size == 0
    assert not taken[tmp_path / "eye"].judges


def test_blocks_know_nothing_of_each_other():
    network = blockwise(judge(), 32)
    x = torch.rand(2, 3, 64, 96)
    features = network.features(x)
    assert len(features) == 2
    parts = features.reshape(2, 6, -1)
    other = x.clone()
    other[0, :, 40:50, 70:80] += 1  # block (1, 2) of picture 0
    changed = (network.features(other).reshape(2, 6, -1) - parts).abs().amax(2) > 1e-6
    assert changed.tolist() == [[False] * 5 + [True], [False] * 6]
    # Edges are repeated up to whole blocks.
    assert network.features(x[:, :, :50, :90]).shape == features.shape


def test_blocks_of_what_is_local_anyway_are_the_whole():
    whole = local()
    x = torch.rand(1, 3, 32, 48)
    blocks = Blockwise(whole, 16)(x).reshape(2, 3, 2, 4, 4)
    assert torch.allclose(
        blocks.permute(2, 0, 3, 1, 4).reshape(1, -1), whole.features(x), atol=1e-6
    )


def test_sides_of_blocks():
    strided = FeatureExtractor(torch.nn.Identity(), size=(64, 64), stride=32, name="net")
    assert blockwise(strided, 64).stride == 32
    with pytest.raises(InputError, match="48"):
        blockwise(strided, 48)


def points(factor, count=4, rates=7, seed=0):
    rng = np.random.default_rng(seed)
    hardness = rng.uniform(0.5, 2, count)
    row = []
    for n in range(rates):
        size = 1000 * factor * 2.0**-n * hardness
        distance = 2.0**n * hardness
        verdicts = Verdicts(distance=distance)
        row.append(
            RatePoint(
                size=size,
                measurement=Measurement(
                    psnr_y=50.0 - n + np.zeros(count),
                    ms_ssim=np.full(count, np.nan),
                    judges={"judge": verdicts},
                ),
            )
        )
    return row


def sample(name, count=4, times=()):
    return Sample(
        name=name,
        description="",
        verdicts={"judge": Verdicts()},
        units=np.arange(count),
        labels=(),
        classes=np.zeros(0, np.int64),
        times=np.array(times, float),
    )


CONFIGURATIONS = [Configuration(name=name, arguments="--no-steer") for name in "abc"]


def test_one_that_stands_alone_narrows_nobody_elses_range():
    low = points(0.9)[4:] + points(0.9, rates=12)[7:]
    row = {"a": points(1), "b": points(0.8), "c": low}
    alone = [*CONFIGURATIONS[:2], Configuration(name="c", arguments="--no-steer", alone=True)]
    found = compare(sample("s"), row, alone, anchor="a", resamples=100)
    column = found.bd_rate["output distance, judge"]
    assert column["b"].percent == pytest.approx(-20)
    assert column["b"].overlap > 0.9
    assert column["c"].undefined is not None
    assert list(column) == ["a", "b", "c"]
    together = compare(sample("s"), row, CONFIGURATIONS, anchor="a", resamples=100)
    assert together.bd_rate["output distance, judge"]["b"].undefined is not None


def test_a_metric_that_cannot_be_measured_leaves_the_others(tmp_path):
    lossless = points(0.9)
    first = lossless[0].measurement
    nothing = Verdicts(distance=np.zeros(4))
    lossless[0] = RatePoint(
        size=lossless[0].size,
        measurement=Measurement(
            psnr_y=first.psnr_y, ms_ssim=first.ms_ssim, judges={"judge": nothing}
        ),
    )
    row = {"a": points(1), "b": lossless}
    found = compare(sample("s"), row, CONFIGURATIONS[:2], anchor="a", resamples=100)
    assert found.bd_rate["output distance, judge"]["b"].undefined == "b is lossless at some rate"
    assert found.bd_rate["PSNR-Y"]["b"].percent == pytest.approx(-10)


def test_the_worst_ten_seconds_are_found():
    times = np.arange(0, 30, 2.5)
    good, bad = points(1, 12), points(1, 12)
    bad = [
        RatePoint(size=p.size * np.where(times < 20, 0.5, 3.0), measurement=p.measurement)
        for p in bad
    ]
    found = compare(
        sample("clip", 12, times),
        {"a": good, "b": bad},
        CONFIGURATIONS[:2],
        anchor="a",
        resamples=100,
    )
    assert found.segments == {"b": [pytest.approx(-50), pytest.approx(-50), pytest.approx(200)]}


def test_several_sources_as_one():
    parts = [{"a": points(1), "b": points(0.5)}, {"a": points(4, 6), "b": points(2, 6)}]
    joined = joined_points(parts)
    assert joined["a"][0].size.shape == (10,)
    whole = Sample.joined("all", [sample("one"), sample("two", 6)])
    assert whole.units.tolist() == list(range(10))
    found = compare(whole, joined, CONFIGURATIONS[:2], anchor="a", resamples=100)
    assert found.bd_rate["PSNR-Y"]["b"].percent == pytest.approx(-50)


def test_the_curve_that_is_drawn_never_falls():
    fitted = isotonic([1.0, 3.0, 2.0, 4.0])
    assert fitted.tolist() == [1.0, 2.5, 2.5, 4.0]


def test_plans_that_compare_nothing(tmp_path):
    (images,) = find_sources([str(write_images(tmp_path, [(64, 48), (64, 48)]))])
    plan = {"sources": (images,), "configurations": tuple(CONFIGURATIONS), "anchor": "a"}
    assert Plan(**plan).anchor == "a"
    for change, words in (
        ({"anchor": "z"}, "'z'"),
        ({"configurations": (CONFIGURATIONS[0],)}, "two or more"),
        ({"configurations": (CONFIGURATIONS[0],) * 2}, "twice"),
        ({"sources": ()}, "nothing to encode"),
        ({"sources": (images, images)}, "share a name"),
    ):
        with pytest.raises(InputError, match=words):
            Plan(**plan | change)
