"""The differentiable file size: symbols are the coder's, gradients what steps cost."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_photos import photo
from safetensors.torch import save_file

from idse.codecs import jpeg
from idse.errors import ModelError
from idse.learned.jpeg import differentiable, size_model, size_training, symbols
from idse.learned.jpeg.discrete import STRAIGHT_THROUGH, WHOLE_SAMPLES

pytestmark = pytest.mark.fast

# ITU-T T.81, figure A.6.
ZIGZAG = (
    "0 1 8 16 9 2 3 10 17 24 32 25 18 11 4 5 12 19 26 33 40 48 41 34 27 20 13 6 7 14 21 28 "
    "35 42 49 56 57 50 43 36 29 22 15 23 30 37 44 51 58 59 52 45 38 31 39 46 53 60 61 54 47 55 "
    "62 63"
)


def levels_of(data):
    return [torch.from_numpy(c.astype(np.float32))[None] for c in jpeg.read(data).coefficients]


def counted(levels, layout):
    """Count symbols one by one, in the order of coding."""
    order = [int(i) for i in ZIGZAG.split()]
    ac, dc = np.zeros((2, 256), int), np.zeros((2, 16), int)
    for component, plane in enumerate(levels):
        group = int(component > 0)
        rows, columns = plane.shape[1:3]
        across, down = layout.factors[component]
        before = 0
        for mcu_row in range(-(-rows // down)):
            for mcu_column in range(-(-columns // across)):
                for k in range(across * down):
                    row = mcu_row * down + k // across
                    column = mcu_column * across + k % across
                    if row >= rows or column >= columns:
                        dc[group, 0] += 1
                        ac[group, 0] += 1
                        continue
                    block = plane[0, row, column].flatten()[order].int().tolist()
                    dc[group, abs(block[0] - before).bit_length()] += 1
                    before = block[0]
                    run = 0
                    for value in block[1:]:
                        if value == 0:
                            run += 1
                            continue
                        ac[group, 0xF0] += run // 16
                        ac[group, (run % 16) * 16 + abs(value).bit_length()] += 1
                        run = 0
                    ac[group, 0] += run > 0
    return ac, dc


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from(["4:2:0", "4:2:2", "4:4:4"]),
    st.floats(0.002, 0.7),
    st.integers(0, 1000),
)
def test_symbols_are_the_coders(width, height, sampling, density, seed):
    rng = np.random.default_rng(seed)
    layout = jpeg.JpegLayout(width, height, sampling)
    levels = []
    for i in range(3):
        shape = (1, *layout.block_shape(i), 8, 8)
        values = np.rint(rng.laplace(0, 30, shape)) * (rng.random(shape) < density)
        levels.append(torch.from_numpy(values.clip(-1023, 1023).astype(np.float32)))
    found = symbols.statistics(levels, layout)
    ac, dc = counted(levels, layout)
    np.testing.assert_array_equal(torch.cat([group.ac for group in found]).numpy(), ac)
    np.testing.assert_array_equal(torch.cat([group.dc for group in found]).numpy(), dc)


@pytest.mark.parametrize("sampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("size", [(224, 224), (201, 83)])
@pytest.mark.parametrize("quality", [4, 25, 60, 90])
def test_sizes_are_near_libjpegs(sampling, size, quality):
    data = jpeg.encode(photo(*size), quality=quality, sampling=sampling)
    model = size_model.load_size_model()
    predicted = model(levels_of(data), jpeg.JpegLayout(*size, sampling))
    assert float(predicted) == pytest.approx(len(data), rel=0.025, abs=12)


def test_pictures_of_a_batch_are_counted_apart():
    files = [jpeg.encode(photo(80, 48, seed), quality=60) for seed in (1, 2, 3)]
    each = [levels_of(data) for data in files]
    together = [torch.cat(planes) for planes in zip(*each, strict=True)]
    layout = jpeg.JpegLayout(80, 48)
    model = size_model.load_size_model()
    alone = torch.cat([model(levels, layout) for levels in each])
    torch.testing.assert_close(model(together, layout), alone)


def test_gradient_of_a_level_is_what_its_step_costs():
    """With the codes of the picture as it is, which is where a first derivative ends."""
    rng = np.random.default_rng(5)
    layout = jpeg.JpegLayout(48, 40, "4:4:4")
    shape = (1, *layout.block_shape(0), 8, 8)
    whole = [
        torch.from_numpy(np.rint(rng.laplace(0, 1.2, shape)) * (rng.random(shape) < 0.4)).double()
        for _ in range(3)
    ]
    rest = [torch.from_numpy(rng.choice([-0.11, 0.11], shape)) for _ in range(3)]
    levels = [(w + r).requires_grad_() for w, r in zip(whole, rest, strict=True)]
    found = symbols.statistics(levels, layout)
    sum(group.bits.sum() for group in found).backward()
    before = counted(whole, layout)
    lengths = [symbols._lengths(torch.from_numpy(counts)).numpy() for counts in before]
    for _ in range(150):
        component = rng.integers(3)
        place = (0, rng.integers(shape[1]), rng.integers(shape[2]), *rng.integers(8, size=2))
        if place[3:] == (0, 0):
            continue
        step = float(rest[component][place].sign())
        changed = [plane.clone() for plane in whole]
        changed[component][place] += step
        after = counted(changed, layout)
        cost = 0.0
        for bits, one, two in zip(lengths, before, after, strict=True):
            more = two - one
            cost += float((more * (bits + np.arange(more.shape[1]) % 16)).sum())
        gradient = float(levels[component].grad[place])
        assert gradient == pytest.approx(4 * cost * step, abs=1e-6)


def test_gradient_tells_which_way_a_size_goes():
    pixels = torch.from_numpy(photo(160, 120, 3)).permute(2, 0, 1)[None].float()
    steps = (differentiable.standard_tables()[None] * 0.8).requires_grad_()
    model, layout = size_model.load_size_model(), jpeg.JpegLayout(160, 120)

    def size(factor):
        tables = differentiable.whole_tables(steps * factor, discrete=STRAIGHT_THROUGH)
        return model(differentiable.encode(pixels, tables, discrete=WHOLE_SAMPLES), layout)

    predicted = model(differentiable.encode(pixels, steps, discrete=WHOLE_SAMPLES), layout)
    (gradient,) = torch.autograd.grad(predicted, steps)
    told = float((gradient * steps.detach()).sum())
    with torch.no_grad():
        found = float(size(1.15) - size(1 / 1.15)) / (2 * np.log(1.15))
    assert told < 0
    assert 0.6 < told / found < 1.6


def test_training_beats_its_start():
    pictures = [photo(96, 96, seed) for seed in range(6)]
    made = size_training.samples(pictures, seed=1, tables_each=4)
    assert len(made) == 24
    actual = torch.tensor([float(sample.size) for sample in made])
    found = size_training.joined(made)
    errors = [
        float(size_model.relative_error(model.of_statistics(found).detach(), actual))
        for model in (size_model.SizeModel(), size_training.fit(made, steps=200))
    ]
    assert errors[1] < 0.6 * errors[0]
    again = size_training.fit(made, steps=20).state_dict()
    for name, value in size_training.fit(made, steps=20).state_dict().items():
        assert torch.equal(value, again[name])


def test_correlation_is_that_of_logarithms():
    sizes = torch.tensor([100.0, 1000.0, 10000.0])
    assert float(size_model.correlation(sizes * 3, sizes)) == pytest.approx(1)
    assert float(size_model.correlation(sizes.flip(0), sizes)) == pytest.approx(-1)


def test_damaged_or_foreign_files_are_told(tmp_path):
    missing = tmp_path / "none.safetensors"
    with pytest.raises(ModelError, match="cannot read the size model"):
        size_model.load_size_model(missing)
    foreign = tmp_path / "foreign.safetensors"
    save_file(size_model.SizeModel().state_dict(), foreign, {"format": "other"})
    with pytest.raises(ModelError, match="is of format 'other'"):
        size_model.load_size_model(foreign)
    foreign.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot read the size model"):
        size_model.load_size_model(foreign)
