"""The C interface of libx264, declared once: structures, constants and prototypes.

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
    c_float,
    c_int,
    c_int64,
    c_uint,
    c_uint8,
    c_uint32,
    c_void_p,
)

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

# void log(void *private, int level, const char *format, va_list arguments). On x86-64 and AArch64 a
# va_list argument arrives as a pointer, and is handed to vsnprintf as one.
LogFunction = CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_void_p)


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


class Vui(Structure):
    """``x264_param_t.vui``."""

    _fields_ = (
        ("i_sar_height", c_int),
        ("i_sar_width", c_int),
        ("i_overscan", c_int),
        ("i_vidformat", c_int),
        ("b_fullrange", c_int),
        ("i_colorprim", c_int),
        ("i_transfer", c_int),
        ("i_colmatrix", c_int),
        ("i_chroma_loc", c_int),
    )


class Analyse(Structure):
    """``x264_param_t.analyse``."""

    _fields_ = (
        ("intra", c_uint),
        ("inter", c_uint),
        ("b_transform_8x8", c_int),
        ("i_weighted_pred", c_int),
        ("b_weighted_bipred", c_int),
        ("i_direct_mv_pred", c_int),
        ("i_chroma_qp_offset", c_int),
        ("i_me_method", c_int),
        ("i_me_range", c_int),
        ("i_mv_range", c_int),
        ("i_mv_range_thread", c_int),
        ("i_subpel_refine", c_int),
        ("b_chroma_me", c_int),
        ("b_mixed_references", c_int),
        ("i_trellis", c_int),
        ("b_fast_pskip", c_int),
        ("b_dct_decimate", c_int),
        ("i_noise_reduction", c_int),
        ("f_psy_rd", c_float),
        ("f_psy_trellis", c_float),
        ("b_psy", c_int),
        ("b_mb_info", c_int),
        ("b_mb_info_update", c_int),
        ("i_luma_deadzone", c_int * 2),
        ("b_psnr", c_int),
        ("b_ssim", c_int),
    )


class RateControl(Structure):
    """``x264_param_t.rc``."""

    _fields_ = (
        ("i_rc_method", c_int),
        ("i_qp_constant", c_int),
        ("i_qp_min", c_int),
        ("i_qp_max", c_int),
        ("i_qp_step", c_int),
        ("i_bitrate", c_int),
        ("f_rf_constant", c_float),
        ("f_rf_constant_max", c_float),
        ("f_rate_tolerance", c_float),
        ("i_vbv_max_bitrate", c_int),
        ("i_vbv_buffer_size", c_int),
        ("f_vbv_buffer_init", c_float),
        ("f_ip_factor", c_float),
        ("f_pb_factor", c_float),
        ("b_filler", c_int),
        ("i_aq_mode", c_int),
        ("f_aq_strength", c_float),
        ("b_mb_tree", c_int),
        ("i_lookahead", c_int),
        ("b_stat_write", c_int),
        ("psz_stat_out", c_char_p),
        ("b_stat_read", c_int),
        ("psz_stat_in", c_char_p),
        ("f_qcompress", c_float),
        ("f_qblur", c_float),
        ("f_complexity_blur", c_float),
        ("zones", c_void_p),
        ("i_zones", c_int),
        ("psz_zones", c_char_p),
    )


class CropRect(Structure):
    """``x264_param_t.crop_rect``."""

    _fields_ = (("i_left", c_int), ("i_top", c_int), ("i_right", c_int), ("i_bottom", c_int))


class MasteringDisplay(Structure):
    """``x264_param_t.mastering_display``."""

    _fields_ = (
        ("b_mastering_display", c_int),
        ("i_green_x", c_int),
        ("i_green_y", c_int),
        ("i_blue_x", c_int),
        ("i_blue_y", c_int),
        ("i_red_x", c_int),
        ("i_red_y", c_int),
        ("i_white_x", c_int),
        ("i_white_y", c_int),
        ("i_display_max", c_int64),
        ("i_display_min", c_int64),
    )


class ContentLightLevel(Structure):
    """``x264_param_t.content_light_level``."""

    _fields_ = (("b_cll", c_int), ("i_max_cll", c_int), ("i_max_fall", c_int))


class Param(Structure):
    """``x264_param_t`` of the builds whose layout ``library.py`` has checked."""

    _fields_ = (
        ("cpu", c_uint32),
        ("i_threads", c_int),
        ("i_lookahead_threads", c_int),
        ("b_sliced_threads", c_int),
        ("b_deterministic", c_int),
        ("b_cpu_independent", c_int),
        ("i_sync_lookahead", c_int),
        ("i_width", c_int),
        ("i_height", c_int),
        ("i_csp", c_int),
        ("i_bitdepth", c_int),
        ("i_level_idc", c_int),
        ("i_frame_total", c_int),
        ("i_nal_hrd", c_int),
        ("vui", Vui),
        ("i_frame_reference", c_int),
        ("i_dpb_size", c_int),
        ("i_keyint_max", c_int),
        ("i_keyint_min", c_int),
        ("i_scenecut_threshold", c_int),
        ("b_intra_refresh", c_int),
        ("i_bframe", c_int),
        ("i_bframe_adaptive", c_int),
        ("i_bframe_bias", c_int),
        ("i_bframe_pyramid", c_int),
        ("b_open_gop", c_int),
        ("b_bluray_compat", c_int),
        ("i_avcintra_class", c_int),
        ("i_avcintra_flavor", c_int),
        ("b_deblocking_filter", c_int),
        ("i_deblocking_filter_alphac0", c_int),
        ("i_deblocking_filter_beta", c_int),
        ("b_cabac", c_int),
        ("i_cabac_init_idc", c_int),
        ("b_interlaced", c_int),
        ("b_constrained_intra", c_int),
        ("i_cqm_preset", c_int),
        ("psz_cqm_file", c_char_p),
        ("cqm_4iy", c_uint8 * 16),
        ("cqm_4py", c_uint8 * 16),
        ("cqm_4ic", c_uint8 * 16),
        ("cqm_4pc", c_uint8 * 16),
        ("cqm_8iy", c_uint8 * 64),
        ("cqm_8py", c_uint8 * 64),
        ("cqm_8ic", c_uint8 * 64),
        ("cqm_8pc", c_uint8 * 64),
        ("pf_log", LogFunction),
        ("p_log_private", c_void_p),
        ("i_log_level", c_int),
        ("b_full_recon", c_int),
        ("psz_dump_yuv", c_char_p),
        ("analyse", Analyse),
        ("rc", RateControl),
        ("crop_rect", CropRect),
        ("i_frame_packing", c_int),
        ("mastering_display", MasteringDisplay),
        ("content_light_level", ContentLightLevel),
        ("i_alternative_transfer", c_int),
        ("b_aud", c_int),
        ("b_repeat_headers", c_int),
        ("b_annexb", c_int),
        ("i_sps_id", c_int),
        ("b_vfr_input", c_int),
        ("b_pulldown", c_int),
        ("i_fps_num", c_uint32),
        ("i_fps_den", c_uint32),
        ("i_timebase_num", c_uint32),
        ("i_timebase_den", c_uint32),
        ("b_tff", c_int),
        ("b_pic_struct", c_int),
        ("b_fake_interlaced", c_int),
        ("b_stitchable", c_int),
        ("b_opencl", c_int),
        ("i_opencl_device", c_int),
        ("opencl_device_id", c_void_p),
        ("psz_clbin_file", c_char_p),
        ("i_slice_max_size", c_int),
        ("i_slice_max_mbs", c_int),
        ("i_slice_min_mbs", c_int),
        ("i_slice_count", c_int),
        ("i_slice_count_max", c_int),
        ("param_free", c_void_p),
        ("nalu_process", c_void_p),
        ("opaque", c_void_p),
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
