"""Finding a libx264 and making sure that it is the library that our declarations describe.

Nothing is assumed of a build: its number comes from the name of its opening function, the sizes of
its structures from what its own initialisers write, and the place of every field that we read or
write from the bytes that ``x264_param_parse`` changes. A build that differs is refused with the
reason instead of being handed a structure it would misread.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idse.codecs.x264 import _param_raw, _raw
from idse.codecs.x264.memory import zero_allocations
from idse.errors import LibraryLoadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENVIRONMENT_VARIABLE = "IDSE_X264_LIBRARY"

# Where Linux distributions and /usr/local keep shared libraries.
_SYSTEM_DIRECTORIES = ("/usr/local/lib", "/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib")
_BUILDS = range(100, 1000)

# What x264_param_parse must change, and nothing else: (option, value, {field: new value}). Together
# with the defaults below this pins every field that params.py touches.
_PROBES: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("threads", "7", {"i_threads": 7}),
    ("sliced-threads", "1", {"b_sliced_threads": 1}),
    ("lookahead-threads", "3", {"i_lookahead_threads": 3}),
    ("sync-lookahead", "9", {"i_sync_lookahead": 9}),
    ("level", "31", {"i_level_idc": 31}),
    ("fullrange", "on", {"vui.b_fullrange": 1}),
    ("chromaloc", "3", {"vui.i_chroma_loc": 3}),
    ("ref", "9", {"i_frame_reference": 9}),
    ("keyint", "99", {"i_keyint_max": 99}),
    ("min-keyint", "7", {"i_keyint_min": 7}),
    ("scenecut", "11", {"i_scenecut_threshold": 11}),
    ("bframes", "5", {"i_bframe": 5}),
    ("b-pyramid", "none", {"i_bframe_pyramid": 0}),
    ("open-gop", "1", {"b_open_gop": 1}),
    ("bff", "1", {"b_interlaced": 1, "b_tff": 0}),
    ("fake-interlaced", "1", {"b_fake_interlaced": 1}),
    ("log", "3", {"i_log_level": 3}),
    ("trellis", "2", {"analyse.i_trellis": 2}),
    ("subme", "3", {"analyse.i_subpel_refine": 3}),
    ("psy", "0", {"analyse.b_psy": 0}),
    ("qp", "33", {"rc.i_rc_method": 0, "rc.i_qp_constant": 33}),
    ("bitrate", "123", {"rc.i_rc_method": 2, "rc.i_bitrate": 123}),
    ("crf", "11.5", {"rc.f_rf_constant": 11.5}),
    ("qpmin", "6", {"rc.i_qp_min": 6}),
    ("qpmax", "40", {"rc.i_qp_max": 40}),
    ("vbv-maxrate", "321", {"rc.i_vbv_max_bitrate": 321}),
    ("vbv-bufsize", "322", {"rc.i_vbv_buffer_size": 322}),
    ("ipratio", "1.5", {"rc.f_ip_factor": 1.5}),
    ("pbratio", "1.5", {"rc.f_pb_factor": 1.5}),
    ("aq-mode", "3", {"rc.i_aq_mode": 3}),
    ("aq-strength", "0.25", {"rc.f_aq_strength": 0.25}),
    ("mbtree", "0", {"rc.b_mb_tree": 0}),
    ("rc-lookahead", "17", {"rc.i_lookahead": 17}),
    ("pass", "3", {"rc.b_stat_write": 1, "rc.b_stat_read": 2}),
    ("qcomp", "0.75", {"rc.f_qcompress": 0.75}),
    ("annexb", "0", {"b_annexb": 0}),
    ("repeat-headers", "0", {"b_repeat_headers": 0}),
    ("force-cfr", "1", {"b_vfr_input": 0}),
    ("fps", "24000/1001", {"i_fps_num": 24000, "i_fps_den": 1001}),
    ("pic-struct", "1", {"b_pic_struct": 1}),
)

# Fields that no option reaches; each lies between two probed neighbours.
_DEFAULTS = {
    "i_width": 0,
    "i_height": 0,
    "i_csp": _raw.CSP_I420,
    "i_bitdepth": 8,
    "i_timebase_num": 0,
    "i_timebase_den": 0,
    "b_tff": 1,
}


@dataclass(frozen=True, eq=False)
class X264Library:
    """One loaded and checked libx264. Made by ``load_library``; shared by any number of encoders.

    Attributes
    ----------
    path
        The file.
    build
        ``X264_BUILD``, such as 164.
    version
        Build, revision and commit as the library writes them into streams: ``"164 r3095 baee400"``.
    weighted
        Whether it takes distortion weights (``Encoder.encode(weights=...)``): it was made by
        ``idse build-x264`` of this version of the package.
    """

    path: Path
    build: int
    version: str = field(init=False)
    weighted: bool = field(init=False)
    functions: ctypes.CDLL = field(repr=False)
    open_function: Callable[..., Any] = field(repr=False)

    def __post_init__(self) -> None:
        _check_sizes(self.functions)
        _check_fields(self.functions)
        object.__setattr__(self, "weighted", False)
        object.__setattr__(self, "version", _trial_encode(self))


def load_library(
    path: str | os.PathLike[str] | None = None, *, weighted: bool = False
) -> X264Library:
    """Load libx264 and check that its structures are laid out as declared.

    Parameters
    ----------
    path
        A shared library. None takes the one that the environment variable ``IDSE_X264_LIBRARY``
        names; without that variable, the first usable one of those that PyAV's wheel carries and
        those of the system.
    weighted
        The library has to take distortion weights. Without ``path`` and variable it is the one
        that ``idse build-x264`` installed (``installed_library``).

    Returns
    -------
    X264Library
        The same object for the same file.

    Raises
    ------
    LibraryLoadError
        No candidate can be used. The message lists every candidate with the reason. A library that
        was named (by argument or variable) is never replaced by another one.
    """
    named = os.fspath(path) if path is not None else os.environ.get(ENVIRONMENT_VARIABLE)
    where = "" if path is not None or not named else f" (named by {ENVIRONMENT_VARIABLE})"
    if named:
        candidates = [Path(named)]
    else:
        candidates = [installed_library()] if weighted else list(library_candidates())
    reasons = []
    for candidate in candidates:
        try:
            found = _load(candidate.resolve())
        except (OSError, LibraryLoadError) as error:
            reasons.append(f"{candidate}: {error}")
            continue
        if not weighted or found.weighted:
            return found
        reasons.append(f"{candidate}: takes no distortion weights, or those of another idse")
    if weighted:
        raise LibraryLoadError(
            f"no libx264 that takes distortion weights{where}: {'; '.join(reasons)}. "
            "Run: idse build-x264"
        )
    if not candidates:
        reasons.append("PyAV's wheel and the system's library directories have no libx264.so.*")
    raise LibraryLoadError(
        f"no usable libx264{where}: {'; '.join(reasons)}. Install libx264 or PyAV's wheel, or name "
        f"a library with {ENVIRONMENT_VARIABLE}"
    )


def installed_library() -> Path:
    """Return where ``idse build-x264`` puts its library, which need not exist.

    ``$IDSE_HOME/x264``, else ``idse/x264`` in ``$XDG_DATA_HOME`` or ``~/.local/share``.
    """
    home, data = os.environ.get("IDSE_HOME"), os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification tells programs to ignore a relative path.
    base = Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share"
    return (Path(home).expanduser() if home else base / "idse") / "x264" / "libx264-idse.so"


def library_candidates() -> Iterator[Path]:
    """Yield PyAV's bundled libraries, then the system's, newest build first within each place."""
    # find_spec does not import: no libav* is loaded just to look for x264.
    spec = importlib.util.find_spec("av")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent.parent / "av.libs"
        yield from sorted(bundled.glob("libx264-*.so*"), key=_suffix, reverse=True)
    seen = set()
    for pattern in _SYSTEM_DIRECTORIES:
        for directory in sorted(Path("/").glob(pattern.lstrip("/"))):
            for found in sorted(directory.glob("libx264.so*"), key=_suffix, reverse=True):
                if found.resolve() not in seen:
                    seen.add(found.resolve())
                    yield found


def _suffix(path: Path) -> int:
    """Return NNN of ``libx264*.so.NNN``, 0 without one."""
    match = re.search(r"\.so\.(\d+)", path.name)
    return int(match.group(1)) if match else 0


@cache
def _load(path: Path) -> X264Library:
    functions = ctypes.CDLL(str(path))
    builds = [build for build in _BUILDS if hasattr(functions, f"{_raw.OPEN_PREFIX}{build}")]
    if not builds:
        raise LibraryLoadError(f"exports no {_raw.OPEN_PREFIX}NNN: not a libx264")
    for name, (restype, argtypes) in _raw.PROTOTYPES.items():
        function = getattr(functions, name, None)
        if function is None:
            raise LibraryLoadError(f"build {builds[0]} has no {name}: too old")
        function.restype, function.argtypes = restype, argtypes
    open_function = getattr(functions, f"{_raw.OPEN_PREFIX}{builds[0]}")
    open_function.restype, open_function.argtypes = _raw.OPEN_PROTOTYPE
    if hasattr(functions, _raw.WEIGHTS_FUNCTION):
        function = getattr(functions, _raw.WEIGHTS_FUNCTION)
        function.restype, function.argtypes = _raw.WEIGHTS_PROTOTYPE
    zero_allocations(open_function)
    return X264Library(path, builds[0], functions, open_function)


def _written_extent(function: Callable[..., Any], structure: type[ctypes.Structure]) -> int:
    """Return how many bytes ``function`` initialises: those that forget what was there before."""
    size = 4 * ctypes.sizeof(structure)
    results = []
    for pattern in (0xAA, 0x55):
        buffer = (ctypes.c_uint8 * size)(*[pattern] * size)
        function(ctypes.cast(buffer, ctypes.POINTER(structure)))
        results.append(bytes(buffer))
    return max((i + 1 for i in range(size) if results[0][i] == results[1][i]), default=0)


def _check_sizes(functions: ctypes.CDLL) -> None:
    for function, structure in (
        (functions.x264_param_default, _param_raw.Param),
        (functions.x264_picture_init, _raw.Picture),
    ):
        found, expected = _written_extent(function, structure), ctypes.sizeof(structure)
        if found != expected:
            raise LibraryLoadError(
                f"its {structure.__name__.lower()} structure has {found} bytes, this package "
                f"knows the layout of {expected} bytes"
            )


def get_field(structure: Any, name: str) -> Any:  # noqa: ANN401
    """Return the value of a dotted field name such as ``"rc.i_aq_mode"``."""
    for part in name.split("."):
        structure = getattr(structure, part)
    return structure


def _check_fields(functions: ctypes.CDLL) -> None:
    """Check by differential parsing that the fields lie where the declaration puts them."""
    default = _param_raw.Param()
    functions.x264_param_default(default)
    for name, value in _DEFAULTS.items():
        if get_field(default, name) != value:
            raise LibraryLoadError(
                f"field {name} defaults to {get_field(default, name)}, expected {value}: the "
                "layout of its param structure is unknown"
            )
    for option, text, expected in _PROBES:
        changed, model = _param_raw.Param(), _param_raw.Param()
        functions.x264_param_default(changed)
        functions.x264_param_default(model)
        code = functions.x264_param_parse(changed, option.encode(), text.encode())
        for name, number in expected.items():
            parent, _, leaf = name.rpartition(".")
            setattr(get_field(model, parent) if parent else model, leaf, number)
        if code or bytes(changed) != bytes(model):
            raise LibraryLoadError(
                f"option {option}={text} (code {code}) does not set {', '.join(expected)} where "
                "this package looks for it: the layout of its param structure is unknown"
            )
        functions.x264_param_cleanup(changed)


def _takes_weights(functions: ctypes.CDLL, encoder: int) -> bool:
    """Hand weights to the 48x32 encoder: a build of other sources knows another structure."""
    function = getattr(functions, _raw.WEIGHTS_FUNCTION, None)
    if function is None:
        return False
    weights = (ctypes.c_uint16 * (8 * 12))(*[256] * (8 * 12))
    distortion = _raw.Distortion(ctypes.sizeof(_raw.Distortion), 3, 2, 0, 0)
    distortion.weights = ctypes.addressof(weights)
    return bool(function(encoder, 0, distortion) == 0)


def _trial_encode(library: X264Library) -> str:
    """Open a tiny encoder, check that it took our fields, and return the version it reports."""
    functions, param = library.functions, _param_raw.Param()
    functions.x264_param_default_preset(param, b"ultrafast", None)
    param.i_width, param.i_height, param.i_threads, param.i_log_level = 48, 32, 1, -1
    param.i_fps_num, param.i_fps_den = 30, 1
    param.i_timebase_num, param.i_timebase_den = 1, 90
    encoder = library.open_function(param)
    if not encoder:
        raise LibraryLoadError("does not open a 48x32 encoder")
    try:
        object.__setattr__(library, "weighted", _takes_weights(functions, encoder))
        taken = _param_raw.Param()
        functions.x264_encoder_parameters(encoder, taken)
        got = (taken.i_width, taken.i_height, taken.i_timebase_num, taken.i_timebase_den)
        if got != (48, 32, 1, 90):
            raise LibraryLoadError(f"took size and time base (48, 32, 1, 90) as {got}")
        nals, count = ctypes.POINTER(_raw.Nal)(), ctypes.c_int()
        size = functions.x264_encoder_headers(encoder, nals, count)
        text = ctypes.string_at(nals[0].p_payload, size) if size > 0 else b""
    finally:
        functions.x264_encoder_close(encoder)
    match = re.search(rb"x264 - core (.+?) - ", text)
    if match is None:
        raise LibraryLoadError("does not write its version into the stream's headers")
    return match.group(1).decode("ascii", "replace")
