"""Building the weighted libx264: its source, its edits, and what is said where it cannot be."""

import json
import subprocess
import sys
import tarfile

import pytest
from x264_clips import DEBIAN

from idse.cli import main
from idse.codecs.x264 import build, installed_library, load_library, source
from idse.errors import CodecError, InputError, LibraryLoadError

pytestmark = pytest.mark.fast


@pytest.fixture
def tree(tmp_path):
    """What makes a folder x264's source, with text of our own."""
    folder = tmp_path / "x264-source"
    (folder / "encoder").mkdir(parents=True)
    (folder / "configure").write_text("#!/bin/sh\n")
    (folder / "version.sh").write_text("echo '#define X264_VERSION \" r3095 baee400\"'\n")
    (folder / "x264.h").write_text("#define X264_BUILD 164\n")
    (folder / "encoder" / "rdo.c").write_text("int nothing;\n")
    return folder


def test_a_folder_is_copied_without_its_own_build(tree, tmp_path):
    (tree / "config.mak").write_text("stale")
    (tree / "encoder" / "rdo-8.o").write_text("stale")
    (tmp_path / "work").mkdir()
    found = source.unpack_source(tree, tmp_path / "work")
    assert source.build_number(found) == 164
    assert not (found / "config.mak").exists()
    assert not (found / "encoder" / "rdo-8.o").exists()
    assert (tree / "config.mak").exists()


def test_the_version_is_that_of_the_unedited_source(tree, tmp_path):
    # As in a git checkout, where upstream's script appends an M once anything is edited.
    (tree / "version.sh").write_text('test -e idse && V=" modified"\necho "X264_VERSION$V"\n')
    (tmp_path / "work").mkdir()
    found = source.unpack_source(tree, tmp_path / "work")
    (found / "idse").mkdir()
    said = subprocess.run(["sh", "version.sh"], cwd=found, capture_output=True, text=True)
    assert said.stdout == "X264_VERSION\n"


def test_a_tarball_is_found_by_the_variable(tree, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "x264.orig.tar.gz", "w:gz") as archive:
        archive.add(tree, "x264-0.164")
    monkeypatch.setenv("IDSE_X264_SOURCE", str(tmp_path / "x264.orig.tar.gz"))
    (tmp_path / "work").mkdir()
    assert source.build_number(source.unpack_source(None, tmp_path / "work")) == 164


def test_what_is_no_known_x264_is_refused(tree, tmp_path):
    (tree / "x264.h").write_text("#define X264_BUILD 148\n")
    with pytest.raises(InputError, match=r"build 148 of x264; known are 164 and 165"):
        source.unpack_source(tree, tmp_path)
    (tree / "x264.h").unlink()
    with pytest.raises(InputError, match=r"it has no x264\.h"):
        source.unpack_source(tree, tmp_path)
    (tmp_path / "text.tar.gz").write_text("not a tarball")
    with pytest.raises(InputError, match=r"text\.tar\.gz cannot be unpacked"):
        source.unpack_source(tmp_path / "text.tar.gz", tmp_path)


def test_another_revision_is_refused_before_it_is_compiled(tree):
    (tree / "Makefile").write_text("SRCS_X = a.c\nSRCS_X = b.c\n")
    with pytest.raises(CodecError, match=r"Makefile of this x264 has 'SRCS_X =' 2 times, not 1"):
        build.apply_edits(tree)


def test_sources_of_apt_become_those_of_source_packages():
    lines = "# deb http://a/ x main\ndeb [arch=amd64] http://a/ x main\ndeb-src http://a/ x main\n"
    assert source._source_lines(lines) == "deb-src [arch=amd64] http://a/ x main\n"
    stanzas = (
        "Types: deb\nURIs: http://a/\nSuites: x\nComponents: main\n\n"
        "Types: deb deb-src\nEnabled: no\nURIs: http://b/\n\nTypes: deb-src\nURIs: http://c/\n"
    )
    assert source._source_stanzas(stanzas) == (
        "Types: deb-src\nURIs: http://a/\nSuites: x\nComponents: main\n"
    )


def test_without_apt_it_says_how_to_name_a_source(tmp_path, monkeypatch):
    monkeypatch.delenv("IDSE_X264_SOURCE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(source.UnavailableError, match=r"no apt-get.*--source or IDSE_X264_SOURCE"):
        source.unpack_source(None, tmp_path)


def test_where_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.delenv("IDSE_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/var/tmp/data")
    assert str(installed_library()) == "/var/tmp/data/idse/x264/libx264-idse.so"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert installed_library().is_absolute()
    monkeypatch.setenv("IDSE_HOME", str(tmp_path))
    assert installed_library() == tmp_path / "x264" / "libx264-idse.so"


def test_no_library_with_weights_names_the_command(tmp_path, monkeypatch):
    monkeypatch.delenv("IDSE_X264_LIBRARY", raising=False)
    monkeypatch.setenv("IDSE_HOME", str(tmp_path))
    with pytest.raises(LibraryLoadError, match=r"libx264-idse\.so.*Run: idse build-x264"):
        load_library(weighted=True)
    monkeypatch.setenv("IDSE_X264_LIBRARY", DEBIAN)
    with pytest.raises(
        LibraryLoadError, match=r"named by IDSE_X264_LIBRARY.*no distortion weights"
    ):
        load_library(weighted=True)
    assert not load_library().weighted


def test_a_changed_library_is_not_current(tmp_path):
    library = tmp_path / "libx264-idse.so"
    assert not build.is_current(library)
    library.write_bytes(b"a library")
    record = {"recipe": build.recipe_hash(), "version": "164", "library": "of another file"}
    library.with_name("libx264-idse.so.json").write_text(json.dumps(record))
    assert build.record_of(library).version == "164"
    assert not build.is_current(library)


def test_command_refuses_what_it_cannot_use(tmp_path, capsys):
    out = str(tmp_path / "x264.so")
    assert main(["build-x264", "--source", str(tmp_path / "missing"), "--out", out]) == 2
    assert "missing is neither a folder nor a tarball" in capsys.readouterr().err
    assert main(["build-x264", "--out", str(tmp_path / "no" / "x264.so")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_info_needs_no_torch_and_shows_every_library(tmp_path):
    script = (
        "import sys; from idse.cli import main; code = main(['info', '--json']);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={"IDSE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
    )
    facts = json.loads(run.stdout)
    by_path = {library["path"]: library for library in facts["x264"]}
    assert by_path[DEBIAN]["build"] == 164
    assert not by_path[DEBIAN]["weighted"]
    assert [library["default"] for library in facts["x264"]].count(True) == 1
    assert facts["weighted_distortion"]["available"] is False
    assert "idse build-x264" in facts["weighted_distortion"]["reason"]
    assert facts["ffmpeg"]["path"].endswith("/ffmpeg")
    assert set(facts["native"].values()) == {"loads"}


def test_info_says_what_is_wrong_with_a_named_library(tmp_path, monkeypatch, capsys):
    (tmp_path / "libx264.so").write_text("not a library")
    monkeypatch.setenv("IDSE_X264_LIBRARY", str(tmp_path / "libx264.so"))
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    assert f"  {tmp_path}/libx264.so (IDSE_X264_LIBRARY): " in printed
    assert "\n* " not in printed  # it is used, or nothing is
