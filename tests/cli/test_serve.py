"""``idse serve``: what it says when it cannot, and no more."""

import subprocess
import sys

import pytest

from idse.cli import main


def serve(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "idse.cli", "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()[-1] if done.stderr else ""


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--tcp", "8000"], "is not HOST:PORT"),
        (["--tcp", "127.0.0.1:99999"], "is not HOST:PORT"),
        (["--token-file", "token"], "is for --tcp"),
        (["--tcp", "127.0.0.1:0", "--token-file", "nowhere"], "cannot read a token"),
        (["--maps", "street.safetensors"], "is not NAME=FILE"),
        (["--jobs", "0"], "--jobs 0"),
        (["--grace", "-1"], "--grace -1"),
        (["--exit-when-idle", "0"], "--exit-when-idle 0"),
    ],
)
def test_options_that_make_no_sense_are_told_in_one_line(tmp_path, capsys, arguments, reason):
    assert main(["serve", "--socket", str(tmp_path / "s"), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fast
def test_a_short_token_is_none(tmp_path, capsys):
    token = tmp_path / "token"
    token.write_text("short\n")
    assert main(["serve", "--tcp", "127.0.0.1:0", "--token-file", str(token)]) == 2
    assert "at least 16" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--maps", "a=nowhere.safetensors"], "cannot read maps"),
        (["--model", "no-such-network"], "no-such-network"),
        (["--tcp", "256.0.0.1:80"], "cannot listen on 256.0.0.1:80"),
    ],
)
def test_what_cannot_be_had_ends_the_server(tmp_path, arguments, reason):
    code, line = serve("--socket", tmp_path / "s", *arguments)
    assert code == 2
    assert reason in line
    assert list(tmp_path.iterdir()) == []
