"""Frequency tables and the range coder on them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from idse.codecs.vae import EntropyTables
from idse.codecs.vae.tables import MAX_VALUE, SymbolReader, SymbolWriter, _class_frequencies
from idse.errors import InputError, ModelError

pytestmark = pytest.mark.fast

UNIT = 1 << 16


def tables_of(rows, lows):
    return EntropyTables(
        np.concatenate([np.array(row, np.uint16) for row in rows]),
        np.array([len(row) for row in rows], np.int32),
        np.array(lows, np.int32),
    )


def frequencies(draw, size):
    weights = draw(hnp.arrays(np.float64, size, elements=st.floats(1e-9, 1, allow_subnormal=False)))
    counts = np.maximum(weights / weights.sum() * (UNIT - size), 1).astype(np.int64)
    counts[counts.argmax()] += UNIT - counts.sum()
    return counts


@st.composite
def some_tables(draw):
    sizes = draw(st.lists(st.integers(2, 40), min_size=1, max_size=5))
    lows = [draw(st.integers(-30, 30)) for _ in sizes]
    return tables_of([frequencies(draw, size) for size in sizes], lows)


numbers = st.one_of(
    st.integers(-40, 40),
    st.integers(-MAX_VALUE, MAX_VALUE),
    st.sampled_from([MAX_VALUE, -MAX_VALUE]),
)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_numbers_survive_and_cost_what_the_tables_say(data):
    tables = data.draw(some_tables())
    writer = SymbolWriter()
    planes, bits = [], 0.0
    for _ in range(data.draw(st.integers(1, 3))):
        values = np.array(data.draw(st.lists(numbers, max_size=60)), np.int32)
        index = data.draw(
            hnp.arrays(np.int32, len(values), elements=st.integers(0, len(tables) - 1))
        )
        writer.write(tables, values, index)
        bits += tables.bits(values, index)
        planes.append((values, index))
    stream = writer.finish()
    reader = SymbolReader(stream)
    for values, index in planes:
        assert np.array_equal(reader.read(tables, index), values)
    # Not much above; below by what trailing zeros did not need.
    assert 8 * len(stream) <= bits + 16


def test_the_cost_of_many_symbols_is_the_size_to_a_few_bytes():
    rng = np.random.default_rng(3)
    tables = tables_of([[30000, 30000, 5000, 536], [1, 60000, 5000, 535]], [-1, 0])
    values = rng.integers(-2, 4, 100_000).astype(np.int32)
    values[-1] = 1000  # or the escapes, all of class 0, would end in zeros, which are dropped
    index = rng.integers(0, 2, 100_000).astype(np.int32)
    writer = SymbolWriter()
    writer.write(tables, values, index)
    assert abs(len(writer.finish()) - tables.bits(values, index) / 8) < 5


def decode_in_whole_numbers(stream, rows, picks):
    """Range decoding by the book, on Python's integers: no constriction, no float."""
    words = stream + bytes(-len(stream) % 4) + bytes(8 + 4 * len(picks))
    position, point = 8, int.from_bytes(words[:8], "big")
    lower, span, symbols = 0, (1 << 64) - 1, []
    for pick in picks:
        scale = span >> 24
        quantile = ((point - lower) % (1 << 64)) // scale
        symbol = left = 0
        while quantile >= left + (rows[pick][symbol] << 8):
            left += rows[pick][symbol] << 8
            symbol += 1
        width = rows[pick][symbol] << 8
        symbols.append(symbol)
        lower = (lower + scale * left) % (1 << 64)
        span = scale * width
        if span < 1 << 32:
            lower, span = (lower << 32) % (1 << 64), span << 32
            word = int.from_bytes(words[position : position + 4], "big")
            point = ((point << 32) | word) % (1 << 64)
            position += 4
    return symbols


@settings(deadline=None)
@given(st.data())
def test_probabilities_are_the_frequencies_to_the_last_bit(data):
    size = data.draw(st.integers(2, 60))
    rows = [frequencies(data.draw, size).tolist()]
    values = data.draw(st.lists(st.integers(0, size - 2), max_size=80))
    writer = SymbolWriter()
    writer.write(tables_of(rows, [0]), np.array(values, np.int32), np.zeros(len(values), np.int32))
    assert decode_in_whole_numbers(writer.finish(), rows, [0] * len(values)) == values


@settings(deadline=None)
@given(st.binary(max_size=80), st.integers(1, 200))
def test_noise_decodes_to_numbers_in_range_or_is_refused(noise, count):
    tables = tables_of([[1000, 1000, UNIT - 2000]], [-1])
    try:
        values = SymbolReader(noise).read(tables, np.zeros(count, np.int32))
    except InputError:
        return
    assert np.abs(values).max() <= MAX_VALUE


@pytest.mark.parametrize("count", [5, 40, 300])
def test_a_pending_carry_costs_nothing(count):
    # The middle symbol keeps the interval around 1/2: every word waits for a carry.
    tables = tables_of([[32000, 1536, 31999, 1]], [0])
    for last in ([], [0], [2], [2, 0, 0], [0, 2, 2, 2]):
        values = np.array([1] * count + last, np.int32)
        index = np.zeros(len(values), np.int32)
        writer = SymbolWriter()
        writer.write(tables, values, index)
        stream = writer.finish()
        assert 8 * len(stream) <= tables.bits(values, index) + 9
        assert np.array_equal(SymbolReader(stream).read(tables, index), values)


def test_escape_classes_are_a_table():
    counts = _class_frequencies()
    assert counts.sum() == UNIT
    assert counts.min() == 1
    # What lies farthest outside a table has a class.
    assert (2 * MAX_VALUE).bit_length() <= len(counts)


@pytest.mark.parametrize(
    ("rows", "lows", "message"),
    [
        ([[UNIT - 2, 1]], [0], "sum"),
        ([[0, UNIT - 1, 1]], [0], "sum"),
        ([[UNIT - 1, 1]], [1 << 20], "too far"),
    ],
)
def test_impossible_tables_are_refused(rows, lows, message):
    with pytest.raises(ModelError, match=message):
        tables_of(rows, lows)


def test_tables_of_another_kind_are_refused():
    good = np.array([UNIT - 1, 1])
    with pytest.raises(ModelError, match="not this kind"):
        EntropyTables(good.astype(np.int64), np.array([2], np.int32), np.array([0], np.int32))
    with pytest.raises(ModelError, match="sizes"):
        EntropyTables(good.astype(np.uint16), np.array([3], np.int32), np.array([0], np.int32))
    with pytest.raises(ModelError, match="contradict"):
        EntropyTables(good.astype(np.uint16), np.array([2], np.int32), np.array([0, 1], np.int32))
