"""The C interface of libx264, declared once: structures, constants and prototypes.

What an encoder is told, ``x264_param_t``, has a module of its own: `_param_raw`.

Everything here says what ``x264.h`` says and does nothing. Callers outside this package use
``Encoder`` and ``load_library``.

Rules of the library that the layer above keeps:

- One encoder handle belongs to one thread at a time; different handles are independent.
- ``x264_encoder_encode`` copies the picture and reads ``quant_offsets`` before it returns, with
  frame threads and a threaded lookahead too, so both may be reused or freed afterwards.
- NAL units that a call returns live until the next call on the same handle.
- The log function is called from the calling thread and from x264's own threads, until
  ``x264_encoder_close`` has returned.
- ``x264_param_default_preset`` and ``x264_param_apply_profile`` report mistakes to stderr whatever
  log function is set: their arguments must be checked before.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_uint8,
    c_void_p,
)

from idse.codecs.x264._param_raw import Param

RC_CQP, RC_CRF, RC_ABR = 0, 1, 2

CSP_I420, CSP_I422, CSP_I444 = 0x0002, 0x0006, 0x000C
CSP_HIGH_DEPTH = 0x2000  # input samples are 16 bits wide

LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG = 0, 1, 2, 3

NAL_SEI, NAL_SPS, NAL_PPS = 6, 7, 8

PARAM_BAD_NAME, PARAM_BAD_VALUE, PARAM_ALLOC_FAILED = -1, -2, -3

# Picture types, in and out ("keyframe" is an input only: IDR, or I with open GOPs).
PICTURE_TYPES = {"auto": 0, "idr": 1, "i": 2, "p": 3, "bref": 4, "b": 5, "keyframe": 6}

PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
TUNES = ("film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode", "zerolatency")
PROFILES = ("baseline", "main", "high", "high10", "high422", "high444")


class Nal(Structure):
    """``x264_nal_t``: one NAL unit, start code included."""

    _fields_ = (
        ("i_ref_idc", c_int),
        ("i_type", c_int),
        ("b_long_startcode", c_int),
        ("i_first_mb", c_int),
        ("i_last_mb", c_int),
        ("i_payload", c_int),
        ("p_payload", c_void_p),
        ("i_padding", c_int),
    )


class Image(Structure):
    """``x264_image_t``: planes of the picture; strides are in bytes."""

    _fields_ = (
        ("i_csp", c_int),
        ("i_plane", c_int),
        ("i_stride", c_int * 4),
        ("plane", c_void_p * 4),
    )


class ImageProperties(Structure):
    """``x264_image_properties_t``: per-macroblock inputs, quality figures out."""

    _fields_ = (
        ("quant_offsets", c_void_p),
        ("quant_offsets_free", c_void_p),
        ("mb_info", c_void_p),
        ("mb_info_free", c_void_p),
        ("f_ssim", c_double),
        ("f_psnr_avg", c_double),
        ("f_psnr", c_double * 3),
        ("f_crf_avg", c_double),
    )


class Hrd(Structure):
    """``x264_hrd_t``."""

    _fields_ = (
        ("cpb_initial_arrival_time", c_double),
        ("cpb_final_arrival_time", c_double),
        ("cpb_removal_time", c_double),
        ("dpb_output_time", c_double),
    )


class Sei(Structure):
    """``x264_sei_t``."""

    _fields_ = (("num_payloads", c_int), ("payloads", c_void_p), ("sei_free", c_void_p))


class Picture(Structure):
    """``x264_picture_t``."""

    _fields_ = (
        ("i_type", c_int),
        ("i_qpplus1", c_int),
        ("i_pic_struct", c_int),
        ("b_keyframe", c_int),
        ("i_pts", c_int64),
        ("i_dts", c_int64),
        ("param", POINTER(Param)),
        ("img", Image),
        ("prop", ImageProperties),
        ("hrd_timing", Hrd),
        ("extra_sei", Sei),
        ("opaque", c_void_p),
    )


class Distortion(Structure):
    """``x264_distortion_t`` of ``native/x264-gpl/idse_x264.h``; stock libx264 has none."""

    _fields_ = (
        ("i_size", c_int),
        ("i_mb_columns", c_int),
        ("i_mb_rows", c_int),
        ("i_sketches", c_int),
        ("i_cells", c_int),
        ("weights", c_void_p),
        ("sketches", c_void_p),
        ("shares", c_void_p),
    )


_HANDLE = c_void_p  # x264_t *
_NALS = POINTER(POINTER(Nal))

# The name of the function that opens an encoder ends in the build number.
OPEN_PREFIX = "x264_encoder_open_"
OPEN_PROTOTYPE: tuple[type | None, tuple[type, ...]] = (_HANDLE, (POINTER(Param),))

PROTOTYPES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "x264_nal_encode": (None, (_HANDLE, POINTER(c_uint8), POINTER(Nal))),
    "x264_param_default": (None, (POINTER(Param),)),
    "x264_param_parse": (c_int, (POINTER(Param), c_char_p, c_char_p)),
    "x264_param_cleanup": (None, (POINTER(Param),)),
    "x264_param_default_preset": (c_int, (POINTER(Param), c_char_p, c_char_p)),
    "x264_param_apply_fastfirstpass": (None, (POINTER(Param),)),
    "x264_param_apply_profile": (c_int, (POINTER(Param), c_char_p)),
    "x264_picture_init": (None, (POINTER(Picture),)),
    "x264_picture_alloc": (c_int, (POINTER(Picture), c_int, c_int, c_int)),
    "x264_picture_clean": (None, (POINTER(Picture),)),
    "x264_encoder_reconfig": (c_int, (_HANDLE, POINTER(Param))),
    "x264_encoder_parameters": (None, (_HANDLE, POINTER(Param))),
    "x264_encoder_headers": (c_int, (_HANDLE, _NALS, POINTER(c_int))),
    "x264_encoder_encode": (
        c_int,
        (_HANDLE, _NALS, POINTER(c_int), POINTER(Picture), POINTER(Picture)),
    ),
    "x264_encoder_close": (None, (_HANDLE,)),
    "x264_encoder_delayed_frames": (c_int, (_HANDLE,)),
    "x264_encoder_maximum_delayed_frames": (c_int, (_HANDLE,)),
    "x264_encoder_intra_refresh": (None, (_HANDLE,)),
    "x264_encoder_invalidate_reference": (c_int, (_HANDLE, c_int64)),
}

# What only the library that ``idse build-x264`` makes exports.
WEIGHTS_FUNCTION = "x264_encoder_set_distortion_weights"
WEIGHTS_PROTOTYPE: tuple[type | None, tuple[type, ...]] = (
    c_int,
    (_HANDLE, c_int64, POINTER(Distortion)),
)

# int vsnprintf(char *buffer, size_t size, const char *format, va_list arguments)
VSNPRINTF = CFUNCTYPE(c_int, c_void_p, ctypes.c_size_t, c_char_p, c_void_p)
