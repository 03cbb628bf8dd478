"""Whatever coefficients, tables and script are written, the same are read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_pictures import coefficients, layouts, scripts

from idse.codecs import jpeg
from idse.errors import InputError

pytestmark = pytest.mark.fast


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_written_is_read(data):
    layout = data.draw(layouts)
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    arrays = coefficients(layout, seed, scale=data.draw(st.sampled_from([0.5, 8.0, 200.0])))
    most = data.draw(st.sampled_from([2, 256, 65536]))
    tables = [rng.integers(1, most, (8, 8)) for _ in range(layout.components)]
    scans = data.draw(scripts(layout.components))
    restart_rows = data.draw(st.integers(0, 3))
    markers = [jpeg.Marker(code, bytes(code - 0xE0)) for code in data.draw(_codes)]
    file = jpeg.read(
        jpeg.write(layout, arrays, tables, scans=scans, restart_rows=restart_rows, markers=markers)
    )
    assert file.layout == layout
    for found, expected in zip(file.coefficients, arrays, strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(file.tables, tables, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert file.progressive == (scans is not None and any(scan.se < 63 for scan in scans))
    widest = max(h for h, _ in layout.factors)
    if scans is None:
        assert file.restart_interval == restart_rows * -(-layout.width // (8 * widest))
    assert list(file.markers[1:]) == markers


_codes = st.lists(st.sampled_from([0xE1, 0xE2, 0xE5, 0xED, 0xEE, 0xEF, 0xFE]), max_size=4)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_scripts_are_written_or_refused_with_a_reason(data):
    bits = st.integers(-1, 11)
    scan = st.builds(
        jpeg.Scan,
        st.lists(st.integers(-1, 3), max_size=4).map(tuple),
        st.integers(-1, 65),
        st.integers(-1, 65),
        bits,
        bits,
    )
    good = list(jpeg.simple_script(3))
    scans = data.draw(st.lists(st.one_of(scan, st.sampled_from(good)), max_size=8))
    layout = jpeg.JpegLayout(20, 20)
    arrays = coefficients(layout, 0)
    tables = [jpeg.standard_table(50, chroma=False)] * 3
    insert = data.draw(st.integers(0, len(good)))
    for script in (scans, good[:insert] + scans + good[insert:]):
        try:
            written = jpeg.write(layout, arrays, tables, scans=script)
        except InputError as error:
            assert len(str(error)) > 20  # noqa: PT017 (both outcomes are right)
        else:
            for found, expected in zip(jpeg.read(written).coefficients, arrays, strict=True):
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("scans", "what"),
    [
        ((), "coefficient 0 .* of component 0 is never sent"),
        (jpeg.simple_script(3)[:-1], "component 0 is sent without its last 1 bits"),
        (jpeg.simple_script(1), "component 1 is never sent"),
        ((jpeg.Scan((3,), 0, 63, 0, 0),), "impossible in a file of 3 components"),
        ((jpeg.Scan((0, 1, 2), 0, 63, 0, 0),) * 2, "Invalid scan script"),
        ((*jpeg.simple_script(3), *jpeg.simple_script(3)), "Invalid progressive parameters"),
    ],
)
def test_wrong_scripts_are_refused(scans, what):
    layout = jpeg.JpegLayout(20, 20)
    tables = [jpeg.standard_table(50, chroma=False)] * 3
    with pytest.raises(InputError, match=what):
        jpeg.write(layout, coefficients(layout, 0), tables, scans=scans)


def test_wrong_coefficients_are_refused():
    layout = jpeg.JpegLayout(20, 20)
    tables = [jpeg.standard_table(50, chroma=False)] * 3
    arrays = coefficients(layout, 0)
    with pytest.raises(InputError, match=r"takes int16 of \[\(3, 3, 8, 8\), \(2, 2, 8, 8\)"):
        jpeg.write(layout, arrays[::-1], tables)
    with pytest.raises(InputError, match="int32"):
        jpeg.write(layout, [a.astype(np.int32) for a in arrays], tables)
    arrays[1][1, 0, 7, 7] = -1024
    with pytest.raises(InputError, match=r"component 1, row 1 .* AC -1024 to .* must be -1023"):
        jpeg.write(layout, arrays, tables)
    arrays[1][1, 0, 7, 7] = 0
    arrays[0][2, 2, 0, 0] = 1024
    with pytest.raises(InputError, match=r"DC .* to 1024 must be -1024 to 1023"):
        jpeg.write(layout, arrays, tables)


@pytest.mark.parametrize(
    ("tables", "what"),
    [
        ([np.ones((8, 8), int)] * 2, "2 tables for 3 components"),
        ([np.ones((8, 7), int)] * 3, r"table 0 is int64 \(8, 7\)"),
        ([np.ones((8, 8))] * 3, "table 0 is float64"),
        ([np.ones((8, 8), int), *[np.zeros((8, 8), int)] * 2], "table 1 holds 0 to 0"),
        ([np.full((8, 8), 65536)] * 3, "table 0 holds 65536"),
    ],
)
def test_wrong_tables_are_refused(tables, what):
    layout = jpeg.JpegLayout(20, 20)
    with pytest.raises(InputError, match=what):
        jpeg.write(layout, coefficients(layout, 0), tables)
    with pytest.raises(InputError, match=what):
        jpeg.encode(np.zeros((20, 20, 3), np.uint8), tables=tables)
