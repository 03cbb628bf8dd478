"""``idse info``: what is found, for people and for programs."""

import json

import pytest

from idse.cli import main
from idse.codecs.jpeg import library_version

pytestmark = pytest.mark.fast


def test_libraries_and_their_versions_are_shown(capsys):
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    assert f"libjpeg-turbo: {library_version()}" in shown
    assert "libidse_jpeg.so: loads" in shown


def test_json_holds_the_same(capsys):
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["libjpeg_turbo"] == {"version": library_version()}
    assert facts["native"]["libidse_jpeg.so"] == "loads"
