"""Differentiable JPEG: what it makes is libjpeg-turbo's, and its gradients are its own."""

import numpy as np
import pytest
import torch
from PIL import Image

from idse.codecs import jpeg
from idse.errors import InputError
from idse.learned.jpeg import differentiable
from idse.learned.jpeg.discrete import STRAIGHT_THROUGH, SURROGATE

pytestmark = pytest.mark.fast

SAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")


def picture(width, height, seed=0):
    """Smooth colours with edges and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (5 + 3 * i) + seed) * np.cos(y / (7 + 2 * i)) for i in range(3)]
    planes = [128 + 100 * wave for wave in waves]
    pixels = np.stack(planes, -1) + 40 * ((x // 9 + y // 6) % 2)[..., None]
    return np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)


def tensor(pixels, dtype=torch.float32):
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].to(dtype)


def decibels(one, two):
    return 10 * np.log10(255**2 / max(np.mean((one - two) ** 2), 1e-9))


@pytest.mark.parametrize("quality", range(1, 101))
def test_tables_are_libjpegs(quality):
    wanted = [jpeg.standard_table(quality, chroma=chroma) for chroma in (False, True)]
    asked = torch.tensor([float(quality)], dtype=torch.float64)
    exact = differentiable.quality_tables(asked, discrete=STRAIGHT_THROUGH)
    np.testing.assert_array_equal(exact[0].numpy(), wanted)
    # An eighth for the table's floor, an eighth of a hundredth of the base for the scale's, and a
    # thousandth of what is beyond 255.
    near = differentiable.quality_tables(asked, discrete=SURROGATE)[0].numpy()
    beyond = 5000 // quality * 1.21 if quality < 50 else 0
    assert np.abs(near - wanted).max() <= 1.25 + 0.001 * beyond


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 8), (17, 33), (64, 5), (100, 75)])
@pytest.mark.parametrize("quality", [3, 40, 92])
def test_straight_through_is_libjpeg(sampling, size, quality):
    pixels = picture(*size, seed=quality)
    data = jpeg.encode(pixels, quality=quality, sampling=sampling)
    tables = differentiable.quality_tables(
        torch.tensor([float(quality)]), discrete=STRAIGHT_THROUGH
    )
    coded = differentiable.code(
        tensor(pixels), tables, sampling=sampling, discrete=STRAIGHT_THROUGH
    )
    # Where a coefficient is half-way, libjpeg's integer DCT may round it to the other side.
    for mine, theirs in zip(coded.levels, jpeg.read(data).coefficients, strict=True):
        assert np.mean(mine[0].numpy() != theirs) < 0.03
        assert np.abs(mine[0].numpy() - theirs).max() <= 1
    # Colours beyond the range are where a difference of one step shows least; most are equal.
    found = coded.pixels[0].permute(1, 2, 0).numpy()
    difference = np.abs(found - jpeg.decode(data))
    assert np.median(difference) <= 1
    assert decibels(found, jpeg.decode(data).astype(float)) > 34


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_surrogate_is_near_libjpeg(sampling):
    pixels = picture(90, 70)
    for quality, least in ((5, 30.0), (50, 37.0), (90, 40.0)):
        theirs = jpeg.decode(jpeg.encode(pixels, quality=quality, sampling=sampling))
        tables = differentiable.quality_tables(torch.tensor([float(quality)]))
        mine = differentiable.code(tensor(pixels), tables, sampling=sampling).pixels
        assert decibels(mine[0].permute(1, 2, 0).numpy(), theirs.astype(float)) > least


@pytest.mark.full
def test_photographs_reach_the_published_accuracy(shared):
    pixels = np.asarray(Image.open(shared / "kodak" / "05.png").convert("RGB"))
    found = {SURROGATE: [], STRAIGHT_THROUGH: []}
    for quality in range(5, 100, 10):
        theirs = jpeg.decode(jpeg.encode(pixels, quality=quality)).astype(float)
        for discrete, values in found.items():
            with torch.no_grad():
                tables = differentiable.quality_tables(
                    torch.tensor([float(quality)]), discrete=discrete
                )
                mine = differentiable.code(tensor(pixels.copy()), tables, discrete=discrete).pixels
            values.append(decibels(mine[0].permute(1, 2, 0).numpy(), theirs))
    assert np.mean(found[SURROGATE]) > 41
    assert np.mean(found[STRAIGHT_THROUGH]) > 45


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_gradients_are_finite_differences(sampling):
    """Of the surrogate, which is smooth but for jumps that the step is too small to meet."""
    torch.manual_seed(0)
    pixels = tensor(picture(9, 10), torch.float64).requires_grad_()
    quality = torch.tensor([33.3], dtype=torch.float64, requires_grad=True)
    base = (differentiable.standard_tables(dtype=torch.float64) + 0.3).requires_grad_()
    matrix = differentiable.jfif_matrix(dtype=torch.float64).requires_grad_()
    mixture = torch.randn(1, 3, 10, 9, dtype=torch.float64)

    def coded(pixels, quality, base, matrix):
        tables = differentiable.quality_tables(quality, base=base)
        result = differentiable.code(pixels, tables, sampling=sampling, matrix=matrix)
        return (result.pixels * mixture).sum(), sum(level.square().sum() for level in result.levels)

    assert torch.autograd.gradcheck(coded, (pixels, quality, base, matrix), eps=1e-7, rtol=1e-3)


def test_straight_through_has_the_surrogates_gradient():
    for name, bounds in (("round", ()), ("floor", ()), ("clip", (-2.0, 2.0))):
        x = torch.linspace(-5.03, 5.01, 77, requires_grad=True)
        slopes = []
        for discrete in (SURROGATE, STRAIGHT_THROUGH):
            (slope,) = torch.autograd.grad(getattr(discrete, name)(x, *bounds).sum(), x)
            slopes.append(slope)
        torch.testing.assert_close(*slopes)
        assert (slopes[0] >= 0).all()
        assert (slopes[0] > 0).float().mean() > 0.95
    x = torch.linspace(-5.03, 5.01, 77)
    assert torch.equal(STRAIGHT_THROUGH.round(x), x.round())
    assert torch.equal(STRAIGHT_THROUGH.floor(x), x.floor())
    assert torch.equal(STRAIGHT_THROUGH.clip(x, -2, 2), x.clamp(-2, 2))
    assert (SURROGATE.round(x) - x.round()).abs().max() <= 0.125
    assert (SURROGATE.floor(x) - x.floor()).abs().max() <= 0.125


def test_pictures_of_a_batch_do_not_meet():
    pixels = torch.cat([tensor(picture(40, 24, seed=seed)) for seed in (1, 2)])
    tables = differentiable.quality_tables(torch.tensor([20.0, 80.0]))
    together = differentiable.code(pixels, tables)
    for i in range(2):
        alone = differentiable.code(pixels[i : i + 1], tables[i : i + 1])
        torch.testing.assert_close(together.pixels[i : i + 1], alone.pixels, atol=1e-3, rtol=0)


def test_three_tables_are_one_for_each_component():
    pixels = tensor(picture(24, 16))
    tables = torch.stack([torch.full((8, 8), step) for step in (3.0, 50.0, 200.0)])
    levels = differentiable.encode(pixels, tables, discrete=STRAIGHT_THROUGH)
    for component, step in enumerate((3, 50, 200)):
        alone = differentiable.encode(
            pixels, torch.full((2, 8, 8), float(step)), discrete=STRAIGHT_THROUGH
        )
        assert torch.equal(levels[component], alone[component])


def test_whole_tables_stay_in_a_files_range():
    steps = torch.tensor([-3.0, 0.2, 1.0, 17.4, 254.6, 900.0])
    exact = differentiable.whole_tables(steps, discrete=STRAIGHT_THROUGH)
    assert exact.tolist() == [1, 1, 1, 17, 255, 255]
    near = differentiable.whole_tables(steps)
    assert (near - exact).abs().max() < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": torch.zeros(3, 8, 8)}, "expected \\(n, 3, height, width\\)"),
        ({"tables": torch.ones(8, 8)}, "tables are \\(8, 8\\)"),
        ({"tables": torch.ones(4, 8, 8)}, "tables are \\(4, 8, 8\\)"),
        ({"sampling": "grey"}, "has no colour"),
        ({"sampling": "4:1:1"}, "unknown"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"pixels": torch.zeros(1, 3, 8, 8), "tables": torch.ones(2, 8, 8), "sampling": "4:2:0"}
    given |= change
    with pytest.raises(InputError, match=message):
        differentiable.encode(given["pixels"], given["tables"], sampling=given["sampling"])


@pytest.mark.parametrize("quality", [0.5, 101.0, -1.0])
def test_qualities_out_of_range_are_refused(quality):
    with pytest.raises(InputError, match="takes 1 to 100"):
        differentiable.quality_tables(torch.tensor([50.0, quality]))
