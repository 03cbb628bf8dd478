"""What a table says about an estimate, and that its JSON is strict."""

import json
import math

import pytest

from idse.evaluation.bdrate import Estimate
from idse.evaluation.table import bd_rate_table, cell, estimates_json, verdict, write_results

pytestmark = pytest.mark.fast


def estimate(percent, low, high):
    return Estimate(percent=percent, low=low, high=high, overlap=0.9)


@pytest.mark.parametrize(
    ("values", "target", "word"),
    [
        ((-10, -12, -8), None, "gain"),
        ((10, 8, 12), None, "loss"),
        ((-10, -19, -1), None, "gain, size not resolved"),
        ((-10, -19, -1), -20, "gain"),
        ((-1, -4, 2), None, "not resolved"),
        ((-1, -2, 0.5), -20, "no change"),
        ((-1, -12, 12), -20, "not resolved"),
        ((-5, math.nan, math.nan), None, "no interval"),
        ((math.nan, math.nan, math.nan), None, "undefined"),
    ],
)
def test_verdict(values, target, word):
    assert verdict(estimate(*values), target=target) == word


def test_cells_say_the_number_the_interval_and_the_doubt():
    assert cell(estimate(-10, -12, -8)) == "**-10.0 [-12.0, -8.0]**"
    assert cell(estimate(-1, -4, 2)) == "-1.0 [-4.0, +2.0] not resolved"
    lost = Estimate(percent=math.nan, overlap=0.2, undefined="the curves share 20%")
    assert cell(lost) == "undefined (the curves share 20%)"
    assert cell(Estimate(percent=0.0, overlap=1)) == "+0.0"


def test_tables_and_json(tmp_path):
    results = {
        "mAP": {"a": estimate(-10, -12, -8), "b|c": estimate(math.nan, math.nan, math.nan)},
        "distance": {"a": estimate(5, 4, 6)},
    }
    table = bd_rate_table(results)
    lines = table.splitlines()
    assert lines[0] == "| BD-rate, % | mAP | distance |"
    assert lines[2] == "| a | **-10.0 [-12.0, -8.0]** | +5.0 [+4.0, +6.0] |"
    assert lines[3].startswith("| b\\|c | undefined")
    assert lines[3].count(" | ") == 2
    write_results(tmp_path / "new" / "out", data=estimates_json(results), markdown=table)
    data = json.loads((tmp_path / "new" / "out.json").read_text())
    assert data["mAP"]["a"]["verdict"] == "gain"
    assert data["mAP"]["b|c"]["percent"] is None
    assert (tmp_path / "new" / "out.md").read_text() == table
