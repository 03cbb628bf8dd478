"""``x264_param_t`` and its parts: what an encoder of libx264 is told, as ``x264.h`` declares it."""

from __future__ import annotations

from ctypes import (
    CFUNCTYPE,
    Structure,
    c_char_p,
    c_float,
    c_int,
    c_int64,
    c_uint,
    c_uint8,
    c_uint32,
    c_void_p,
)

# void log(void *private, int level, const char *format, va_list arguments). On x86-64 and AArch64 a
# va_list argument arrives as a pointer, and is handed to vsnprintf as one.
LogFunction = CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_void_p)


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
