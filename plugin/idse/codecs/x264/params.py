"""Settings of an encoder: named x264 options, and the few fields that have no option.

The order in which they are applied is the one that ``x264.h`` prescribes and that FFmpeg keeps for
its own options: preset and tune, user options, fast first pass, profile.
"""

from __future__ import annotations

import difflib
import math
import weakref
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from idse.codecs.x264 import _param_raw, _raw
from idse.errors import CodecError, InputError
from idse.picture import PictureFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from idse.codecs.x264.library import X264Library

# Options that x264_param_parse knows (builds 161 to 165), for suggestions only: what is not listed
# still works if the library knows it.
OPTION_NAMES: tuple[str, ...] = tuple(
    """
    8x8dct alternative-transfer analyse annexb aq-mode aq-strength asm aud avcintra-class
    avcintra-flavor b-adapt b-bias b-pyramid bff bframes bitrate bluray-compat cabac cabac-idc
    chroma-me chroma-qp-offset chromaloc cll colormatrix colorprim constrained-intra
    cplxblur cpu-independent cqm cqm4 cqm4i cqm4ic cqm4iy cqm4p cqm4pc cqm4py cqm8 cqm8i cqm8p
    cqmfile crf crf-max crop-rect deadzone-inter deadzone-intra deblock deterministic direct
    dpb-size dump-yuv fake-interlaced fast-pskip filler force-cfr fps frame-packing
    fullrange interlaced intra-refresh ipratio keyint level log lookahead-threads
    mastering-display mbtree me merange min-keyint mixed-refs mvrange mvrange-thread nal-hrd nf nr
    opencl opencl-clbin opencl-device open-gop overscan partitions pass pbratio pic-struct psnr
    psy psy-rd qblur qcomp qp qpmax qpmin qpstep ratetol rc-lookahead ref repeat-headers sar
    scenecut slice-max-mbs slice-max-size slice-min-mbs slices slices-max sliced-threads sps-id ssim
    stats stitchable subme sync-lookahead tff threads transfer trellis vbv-bufsize vbv-init
    vbv-maxrate videoformat weightb weightp zones
    """.split()  # noqa: SIM905 (130 lines of quoted names read worse)
)

# What FFmpeg calls the same setting; none of these is an x264 name.
_FFMPEG_NAMES = {
    "b": "bitrate",
    "b:v": "bitrate",
    "bf": "bframes",
    "bufsize": "vbv-bufsize",
    "coder": "cabac",
    "cplxblur": "cplxblur",
    "flags": "interlaced, open-gop",
    "g": "keyint",
    "maxrate": "vbv-maxrate",
    "motion-est": "me",
    "profile:v": "profile",
    "refs": "ref",
    "sc_threshold": "scenecut",
}

# Settled by arguments of Encoder: an option that contradicts them would break packets or timing.
_RESERVED = {
    "annexb": "global_headers",
    "repeat-headers": "global_headers",
    "global-header": "global_headers",
    "fps": "fps",
    "log": "the level of the Python logger idse.codecs.x264",
}

_PSY_TUNES = {"film", "animation", "grain", "stillimage", "psnr", "ssim"}
_CSP = {(1, 1): _raw.CSP_I420, (1, 0): _raw.CSP_I422, (0, 0): _raw.CSP_I444}
_MAX_UINT32 = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the caller of ``Encoder`` asked for; see there for the meaning of each field."""

    width: int
    height: int
    pix_fmt: str
    fps: Fraction
    time_base: Fraction
    preset: str
    tune: str | None
    profile: str | None
    options: Mapping[str, str]
    repeat_headers: bool
    matrices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Effective settings of an open encoder, as x264 reports them after its own corrections.

    Attributes
    ----------
    rc_method
        ``"crf"``, ``"abr"``, ``"2pass"`` (second pass) or ``"cqp"`` (also lossless).
    crf, qp, bitrate
        The target of that method; bitrate in kbit/s.
    aq_mode
        0 (off: QP offsets are dropped), 1, 2 or 3.
    vbv_maxrate, vbv_bufsize
        kbit/s and kbit; 0 without a buffer constraint.
    matrices
        Whether quantisation matrices other than the flat ones are in use.
    lookahead
        Frames that rate control looks ahead.
    threads
        Threads in use (x264's "auto" resolved).
    options
        x264's one-line summary, as it stands in the stream.
    """

    rc_method: str
    crf: float
    qp: int
    bitrate: int
    vbv_maxrate: int
    vbv_bufsize: int
    qcomp: float
    ipratio: float
    pbratio: float
    qp_min: int
    qp_max: int
    aq_mode: int
    aq_strength: float
    mbtree: bool
    lookahead: int
    keyint: int
    keyint_min: int
    scenecut: int
    open_gop: bool
    bframes: int
    b_pyramid: int
    ref: int
    subme: int
    trellis: int
    psy: bool
    matrices: bool
    threads: int
    sliced_threads: bool
    sync_lookahead: int
    interlaced: bool
    pass_: int
    options: str


class Params:
    """An ``x264_param_t`` with what x264 allocates behind it, freed with this object."""

    def __init__(self, library: X264Library, preset: str, tune: str | None) -> None:
        self._library = library
        self.struct = _param_raw.Param()
        if preset not in {str(number) for number in range(len(_raw.PRESETS))}:
            check_choice("preset", preset, _raw.PRESETS, [preset])
        if tune is not None:
            # x264 takes several tunes in one string, between any of these delimiters.
            names = tune.translate(str.maketrans("./-+", ",,,,")).split(",")
            check_choice("tune", tune, _raw.TUNES, names)
            # x264 would take the first and say so on stderr only.
            if len(set(names) & _PSY_TUNES) > 1:
                raise InputError(
                    f"tune {tune!r}: of {', '.join(sorted(_PSY_TUNES))} only one can be used"
                )
        encoded = None if tune is None else tune.encode()
        code = library.functions.x264_param_default_preset(self.struct, preset.encode(), encoded)
        if code:
            raise InputError(
                f"x264 {library.version} does not take preset {preset!r} with tune {tune!r}"
            )
        weakref.finalize(self, library.functions.x264_param_cleanup, self.struct)

    def parse(self, name: str, value: str) -> None:
        """Set the x264 option ``name``.

        Raises
        ------
        InputError
            The library does not know the option, cannot read the value, or the option is settled
            by an argument of ``Encoder``. Ranges are x264's business: it clips them, all but a CRF
            (see `build_params`).
        """
        bare = name.replace("_", "-")
        for prefix in ("no-", "no"):
            if bare.removeprefix(prefix) in _RESERVED:
                bare = bare.removeprefix(prefix)
        if bare in _RESERVED:
            raise InputError(f"x264 option {name}={value} cannot be set: use {_RESERVED[bare]}")
        text = str(value)
        code = self._library.functions.x264_param_parse(self.struct, name.encode(), text.encode())
        if code == _raw.PARAM_BAD_NAME:
            raise InputError(f"x264 {self._library.version} has no option {name!r}{_hint(name)}")
        if code == _raw.PARAM_ALLOC_FAILED:
            raise CodecError(f"out of memory while setting the x264 option {name}={value}")
        if code:
            raise InputError(f"x264 option {name} does not take the value {text!r}")


def build_params(library: X264Library, settings: Settings) -> Params:
    """Return the parameters that FFmpeg's libx264 wrapper would hand to x264.

    Raises
    ------
    InputError
        A setting is unknown, unreadable, or contradicts another one; or the CRF is no number, or
        below the lowest of this bit depth, which x264 would take instead: that is coding without
        loss.
    """
    picture = PictureFormat(width=settings.width, height=settings.height, pix_fmt=settings.pix_fmt)
    params = Params(library, settings.preset, settings.tune)
    struct = params.struct
    struct.i_csp = _CSP[picture.subsampling]
    struct.i_bitdepth = picture.bit_depth
    struct.vui.b_fullrange = int(settings.pix_fmt.startswith("yuvj"))
    slow_first_pass = False
    for name, value in settings.options.items():
        # The x264 tool's own option, not the library's.
        if name.replace("_", "-") == "slow-firstpass":
            slow_first_pass = str(value) != "0"
        else:
            params.parse(name, value)
    _check_crf(struct)
    if not slow_first_pass:
        library.functions.x264_param_apply_fastfirstpass(struct)
    if settings.profile is not None:
        _apply_profile(library, params, settings)
    if _has_place_for_matrices(struct):
        for name, value in settings.matrices.items():
            params.parse(name, value)
    struct.i_width, struct.i_height = _coded_size(struct, settings, picture.subsampling)
    struct.i_fps_num, struct.i_fps_den = _ratio("fps", settings.fps)
    struct.i_timebase_num, struct.i_timebase_den = _ratio("time_base", settings.time_base)
    struct.b_repeat_headers = int(settings.repeat_headers)
    return params


def effective(struct: _param_raw.Param, summary: str) -> Parameters:
    """Return what ``x264_encoder_parameters`` wrote into ``struct`` as ``Parameters``."""
    rc, analyse = struct.rc, struct.analyse
    methods = {_raw.RC_CQP: "cqp", _raw.RC_CRF: "crf", _raw.RC_ABR: "abr"}
    return Parameters(
        rc_method="2pass" if rc.b_stat_read else methods[rc.i_rc_method],
        crf=round(float(rc.f_rf_constant), 4),
        qp=rc.i_qp_constant,
        bitrate=rc.i_bitrate,
        vbv_maxrate=rc.i_vbv_max_bitrate,
        vbv_bufsize=rc.i_vbv_buffer_size,
        qcomp=round(float(rc.f_qcompress), 6),
        ipratio=round(float(rc.f_ip_factor), 6),
        pbratio=round(float(rc.f_pb_factor), 6),
        qp_min=rc.i_qp_min,
        qp_max=rc.i_qp_max,
        aq_mode=rc.i_aq_mode,
        aq_strength=float(rc.f_aq_strength),
        mbtree=bool(rc.b_mb_tree),
        lookahead=rc.i_lookahead,
        keyint=struct.i_keyint_max,
        keyint_min=struct.i_keyint_min,
        scenecut=struct.i_scenecut_threshold,
        open_gop=bool(struct.b_open_gop),
        bframes=struct.i_bframe,
        b_pyramid=struct.i_bframe_pyramid,
        ref=struct.i_frame_reference,
        subme=analyse.i_subpel_refine,
        trellis=analyse.i_trellis,
        psy=bool(analyse.b_psy),
        matrices=bool(struct.i_cqm_preset or struct.psz_cqm_file),
        threads=struct.i_threads,
        sliced_threads=bool(struct.b_sliced_threads),
        sync_lookahead=struct.i_sync_lookahead,
        interlaced=bool(struct.b_interlaced),
        pass_=bool(rc.b_stat_write) + 2 * bool(rc.b_stat_read),
        options=summary,
    )


def check_choice(what: str, value: str, choices: Iterable[str], names: Iterable[str]) -> None:
    """Raise InputError unless every one of ``names`` (the parts of ``value``) is a choice."""
    known = tuple(choices)
    if not all(name in known for name in names):
        raise InputError(f"{what} {value!r} is not one of {', '.join(known)}")


def _hint(name: str) -> str:
    """Return "; did you mean ..." for a misspelt or FFmpeg-style option name, or nothing."""
    ours = _FFMPEG_NAMES.get(name) or _FFMPEG_NAMES.get(name.replace("_", "-"))
    if ours is not None:
        return f"; x264 calls it {ours}"
    close = difflib.get_close_matches(name.replace("_", "-"), OPTION_NAMES, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _coded_size(
    struct: _param_raw.Param, settings: Settings, subsampling: tuple[int, int]
) -> tuple[int, int]:
    """Return width and height rounded up to what H.264 can crop to (ITU-T H.264, 7.4.2.1.1).

    The cropping unit is one chroma sample, and one of each field in interlaced streams.
    """
    interlaced = int(bool(struct.b_interlaced or struct.b_fake_interlaced))
    unit_x, unit_y = 1 << subsampling[0], 1 << (subsampling[1] + interlaced)
    return -(-settings.width // unit_x) * unit_x, -(-settings.height // unit_y) * unit_y


def _ratio(what: str, value: Fraction) -> tuple[int, int]:
    """Return numerator and denominator, checked for x264's 32-bit fields."""
    ratio = Fraction(value)
    if ratio <= 0 or max(ratio.numerator, ratio.denominator) > _MAX_UINT32:
        raise InputError(f"{what}={value} must be positive and fit two 32-bit numbers")
    return ratio.numerator, ratio.denominator


def _check_crf(struct: _param_raw.Param) -> None:
    """Refuse a CRF below the lowest: -QpBdOffset_Y, 6 less for each bit more (H.264, 7.4.2.1.1)."""
    rc, depth = struct.rc, struct.i_bitdepth
    lowest = -6 * (depth - 8)
    if rc.i_rc_method != _raw.RC_CRF:
        return
    if not math.isfinite(rc.f_rf_constant):
        raise InputError(f"CRF {rc.f_rf_constant} is no number: give one from {lowest} to 51")
    if rc.f_rf_constant < lowest:
        raise InputError(
            f"CRF {rc.f_rf_constant:g} is below the lowest of {depth}-bit samples: give a number "
            f"from {lowest}, which loses nothing, to 51"
        )


def _is_lossless(struct: _param_raw.Param) -> bool:
    rc = struct.rc
    return (rc.i_rc_method == _raw.RC_CQP and rc.i_qp_constant <= 0) or (
        rc.i_rc_method == _raw.RC_CRF and int(rc.f_rf_constant + 6 * (struct.i_bitdepth - 8)) <= 0
    )


def _has_place_for_matrices(struct: _param_raw.Param) -> bool:
    """Return whether matrices can be added and leave everything else about the stream alone.

    A stream of the Baseline or Main profile would become one of the High profile, which what plays
    it may not know; one without loss has no quantiser; and what the user chose stays.
    """
    high = struct.analyse.b_transform_8x8 or struct.i_bitdepth > 8 or struct.i_csp != _raw.CSP_I420
    chosen = struct.i_cqm_preset or struct.psz_cqm_file
    return bool(high) and not chosen and not _is_lossless(struct)


def _apply_profile(library: X264Library, params: Params, settings: Settings) -> None:
    """Restrict ``params`` to a profile, after the checks that x264 would report on stderr only."""
    profile = str(settings.profile)
    check_choice("profile", profile, _raw.PROFILES, [profile])
    rank, struct = _raw.PROFILES.index(profile), params.struct
    needed = "baseline", "any profile"
    if _is_lossless(struct):
        needed = "high444", "lossless coding"
    elif struct.i_csp == _raw.CSP_I444:
        needed = "high444", f"pixel format {settings.pix_fmt}"
    elif struct.i_csp == _raw.CSP_I422:
        needed = "high422", f"pixel format {settings.pix_fmt}"
    elif struct.i_bitdepth > 8:
        needed = "high10", f"pixel format {settings.pix_fmt}"
    elif struct.b_interlaced or struct.b_fake_interlaced:
        needed = "main", "interlaced coding"
    if rank < _raw.PROFILES.index(needed[0]):
        raise InputError(f"profile {profile!r} has no {needed[1]}: it needs {needed[0]} or higher")
    if library.functions.x264_param_apply_profile(struct, profile.encode()):
        raise InputError(
            f"x264 {library.version} cannot apply profile {profile!r} to these options"
        )
