"""Configurations, suites and the variations that the best is chosen from."""

import pytest

from idse.errors import InputError
from idse.evaluation.configuration import Configuration, Stage, checked_rates
from idse.evaluation.suite import built_in, load_suite

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", built_in())
def test_suites_of_the_package_can_be_read(name):
    suite = load_suite(name)
    names = [item.name for item in suite.configurations]
    names += [best.name for best in suite.best]
    assert suite.anchor in names
    assert len(set(names)) == len(names)
    assert suite.text


def test_a_configuration_is_what_transcode_makes_of_its_options():
    item = Configuration.parse("AQ 2: --no-steer --preset fast --x264-params aq-mode=2:psy=0")
    assert (item.name, item.coder.steering) == ("AQ 2", None)
    assert item.coder.encode_options.preset == "fast"
    assert item.coder.encode_options.options == {"aq-mode": "2", "psy": "0"}
    steered = Configuration.parse("steered:")
    assert steered.coder.steering is not None
    assert steered.arguments == ""
    assert Configuration.parse("n: --n-s 7").coder.steering.n_s == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--no-steer", "NAME: OPTIONS"),
        (": --no-steer", "NAME: OPTIONS"),
        ("a: --no-stear", "--no-stear"),
        ("a: --crf 20", "crf"),
        ("a: --x264-params qp=20", "qp"),
        ("a: --n-s many", "many"),
        ("a: 'open", "'a'"),
        ("a: --strength 7", "7"),
    ],
)
def test_configurations_that_make_no_sense(text, words):
    with pytest.raises(InputError, match=words):
        Configuration.parse(text)


def test_rates():
    assert checked_rates(["31", 23, 27, 35, 39.5, 43]) == (23, 27, 31, 35, 39.5, 43)
    with pytest.raises(InputError, match="23, 27"):
        checked_rates([23, 27])
    with pytest.raises(InputError, match="high"):
        checked_rates(["high"])


def test_stages_try_every_combination_on_top_of_what_is_there():
    base = Configuration(name="best", arguments="--no-steer --x264-params qcomp=0.5")
    stage = Stage(x264={"aq-mode": [1, 2], "psy": [0, 1]}, filter=["", "hqdn3d"])
    found = list(stage.variations(base))
    assert len(found) == len({item.name for item in found}) == 8
    assert found[0].coder.encode_options.options == {"qcomp": "0.5", "aq-mode": "1", "psy": "0"}
    assert {item.filter for item in found} == {"", "hqdn3d"}
    filtered = Configuration(name="best", arguments="--no-steer", filter="hqdn3d")
    kept = list(Stage(x264={"qcomp": [0.5]}).variations(filtered))
    assert [item.filter for item in kept] == ["hqdn3d"]


def write(path, text):
    path.write_text(text)
    return str(path)


def test_a_suite_of_the_users_own(tmp_path):
    text = """
anchor = "a"
rates = [20, 24, 28, 32, 36, 40]
sources = ["images"]
[[configuration]]
name = "a"
arguments = "--no-steer"
[[configuration]]
name = "b"
filter = "hqdn3d"
rates = [10, 14, 18, 22, 26, 30]
alone = true
"""
    suite = load_suite(write(tmp_path / "own.toml", text))
    assert suite.sources == (str(tmp_path / "images"),)
    assert suite.rates[0] == 20
    first, second = suite.configurations
    assert (second.filter, second.alone, second.rates[-1]) == ("hqdn3d", True, 30)
    assert suite.joined(suite).configurations == (first, second)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("anchor = 3", "anchor"),
        ("anker = 'a'", "anker"),
        ("[[configuration]]\nname = 'a'\nargument = ''", "argument"),
        ("[[configuration]]\narguments = '--no-steer'", "needs a name"),
        ("[[configuration]]\nname = 'a'\nalone = 'yes'", "alone"),
        ("[best]\nname = 'b'\nvideos = []", "videos"),
        ("rates = [1, 2]", "BD-rate needs 6"),
        ("not toml", "TOML"),
    ],
)
def test_suites_that_make_no_sense(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        load_suite(write(tmp_path / "own.toml", text))


def test_no_such_suite():
    with pytest.raises(InputError, match=r"nothing.*best-of-stock"):
        load_suite("nothing")
