"""Finding libx264, and refusing what is not laid out as declared."""

import ctypes
import shutil
import subprocess
import sys

import pytest
from x264_clips import BUNDLED, DEBIAN, LIBRARIES, LIBRARY_IDS

from idse.codecs.x264 import _raw, colour_options, load_library
from idse.codecs.x264 import library as x264_library
from idse.codecs.x264.params import OPTION_NAMES
from idse.errors import InputError, LibraryLoadError

pytestmark = pytest.mark.fast

each_library = pytest.mark.parametrize("path", LIBRARIES, ids=LIBRARY_IDS)


def compile_library(tmp_path, source):
    (tmp_path / "fake.c").write_text(source)
    target = tmp_path / "libx264.so.999"
    command = ["gcc", "-shared", "-fPIC", "-w", "-o", str(target), str(tmp_path / "fake.c")]
    subprocess.run(command, check=True)
    return target


@each_library
def test_build_and_version(path):
    found = load_library(path)
    assert found.path.samefile(path)
    assert path.endswith(f".so.{found.build}")
    assert found.version.split()[0] == str(found.build)
    assert load_library(path) is found


def test_default_is_pyavs_and_the_variable_decides(monkeypatch):
    monkeypatch.delenv("IDSE_X264_LIBRARY", raising=False)
    assert load_library().path.samefile(BUNDLED)
    monkeypatch.setenv("IDSE_X264_LIBRARY", DEBIAN)
    assert load_library().path.samefile(DEBIAN)
    assert load_library(BUNDLED).path.samefile(BUNDLED)


def test_system_library_is_found_without_pyav():
    script = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'av' else find(name, *a)\n"
        "from idse.codecs.x264 import load_library; print(load_library().path)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "/libx264.so" in result.stdout, result.stderr


def test_loading_imports_neither_av_nor_torch():
    script = (
        "import sys; from idse.codecs.x264 import load_library; load_library()\n"
        "print(sorted({'av', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_a_named_library_is_never_replaced(monkeypatch, tmp_path):
    text = tmp_path / "libx264.so"
    text.write_text("not a library")
    monkeypatch.setenv("IDSE_X264_LIBRARY", str(text))
    with pytest.raises(LibraryLoadError, match=f"named by IDSE_X264_LIBRARY.*{text}: "):
        load_library()


def test_one_message_gives_every_candidate_and_reason(monkeypatch, tmp_path):
    (tmp_path / "libx264.so.1").write_text("not a library")
    shutil.copy("/lib/x86_64-linux-gnu/libm.so.6", tmp_path / "libx264.so.2")
    monkeypatch.setattr(x264_library.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(x264_library, "_SYSTEM_DIRECTORIES", (str(tmp_path),))
    monkeypatch.delenv("IDSE_X264_LIBRARY", raising=False)
    with pytest.raises(LibraryLoadError) as caught:
        load_library()
    message = str(caught.value)
    assert message.index("libx264.so.2: exports no x264_encoder_open_NNN") < message.index(
        "libx264.so.1: "
    )


def test_other_layouts_are_refused_before_anything_is_written(tmp_path):
    names = "\n".join(f"void {name}() {{}}" for name in _raw.PROTOTYPES)
    source = f"{names}\nvoid x264_encoder_open_999() {{}}"
    with pytest.raises(LibraryLoadError, match="param structure has 0 bytes"):
        load_library(compile_library(tmp_path, source))


def test_a_moved_field_is_refused(tmp_path):
    # The right size, but a library whose options land one field further.
    default = (
        "#include <string.h>\n"
        "void x264_param_default(char *p) { memset(p, 0, 1024); ((int *)p)[9] = 2;"
        f" ((int *)p)[10] = 8; p[{_raw.Param.b_tff.offset}] = 1; }}\n"
        "void x264_picture_init(char *p) { memset(p, 0, 240); }\n"
        "int x264_param_parse(char *p, char *n, char *v) { ((int *)p)[2] = 7; return 0; }\n"
    )
    present = {"x264_param_default", "x264_picture_init", "x264_param_parse"}
    missing = set(_raw.PROTOTYPES) - present
    source = default + "\n".join(
        f"void {name}() {{}}" for name in [*missing, "x264_encoder_open_999"]
    )
    with pytest.raises(LibraryLoadError, match=r"option threads=7 .* does not set i_threads"):
        load_library(compile_library(tmp_path, source))


@each_library
def test_every_suggested_option_exists(path):
    functions = load_library(path).functions
    for name in OPTION_NAMES:
        param = _raw.Param()
        functions.x264_param_default(param)
        code = functions.x264_param_parse(param, name.encode(), b"1")
        functions.x264_param_cleanup(param)
        assert code != _raw.PARAM_BAD_NAME, name


@each_library
@pytest.mark.parametrize(
    ("argument", "option", "field"),
    [
        ("primaries", "colorprim", "i_colorprim"),
        ("transfer", "transfer", "i_transfer"),
        ("matrix", "colormatrix", "i_colmatrix"),
    ],
)
def test_colour_names_stand_for_their_code_points(path, argument, option, field):
    functions, known = load_library(path).functions, 0
    for code in range(25):
        try:
            options = colour_options(**{argument: code})
        except InputError:
            continue
        known += 1
        param = _raw.Param()
        functions.x264_param_default(param)
        if options:
            assert functions.x264_param_parse(param, option.encode(), options[option].encode()) == 0
            assert getattr(param.vui, field) == code
    assert known >= 11


def test_structures_have_the_sizes_of_the_header():
    sizes = [ctypes.sizeof(s) for s in (_raw.Param, _raw.Picture, _raw.Nal)]
    assert sizes == [1024, 240, 40]
