#include "headers.h"

#include <string.h>

static void skip_scaling_list(bit_reader *bits, unsigned size)
{
    int last = 8;
    int next = 8;
    for (unsigned i = 0; i < size && !bits->overrun; i++) {
        if (next != 0) {
            /* int64_t: a damaged delta must not overflow. */
            next = (int)((((int64_t)last + bits_se(bits)) % 256 + 256) % 256);
        }
        last = next == 0 ? last : next;
    }
}

static bool has_chroma_fields(unsigned profile)
{
    static const uint8_t profiles[] = {100, 110, 122, 244, 44,  83, 86,
                                       118, 128, 138, 139, 134, 135};
    return memchr(profiles, (int)profile, sizeof(profiles)) != NULL;
}

static const char *parse_sample_format(bit_reader *bits, sps_t *sps)
{
    sps->chroma_format_idc = 1;
    sps->bit_depth_luma = 8;
    sps->bit_depth_chroma = 8;
    if (!has_chroma_fields(sps->profile_idc)) {
        return NULL;
    }
    const uint32_t format = bits_ue(bits);
    if (format > 3) {
        return "chroma_format_idc is above 3";
    }
    sps->chroma_format_idc = (uint8_t)format;
    if (format == 3) {
        sps->separate_colour_planes = bits_flag(bits);
    }
    const uint32_t luma = bits_ue(bits);
    const uint32_t chroma = bits_ue(bits);
    if (luma > 6 || chroma > 6) {
        return "a bit depth is above 14";
    }
    sps->bit_depth_luma = (uint8_t)(8 + luma);
    sps->bit_depth_chroma = (uint8_t)(8 + chroma);
    sps->transform_bypass = bits_flag(bits);
    if (bits_flag(bits)) {
        const unsigned lists = format == 3 ? 12 : 8;
        for (unsigned i = 0; i < lists; i++) {
            if (bits_flag(bits)) {
                skip_scaling_list(bits, i < 6 ? 16 : 64);
            }
        }
    }
    return NULL;
}

static const char *parse_order_count(bit_reader *bits, sps_t *sps)
{
    const uint32_t type = bits_ue(bits);
    if (type > 2) {
        return "pic_order_cnt_type is above 2";
    }
    sps->poc_type = (uint8_t)type;
    if (type == 0) {
        const uint32_t log2_minus4 = bits_ue(bits);
        if (log2_minus4 > 12) {
            return "log2_max_pic_order_cnt_lsb is above 16";
        }
        sps->log2_max_poc_lsb = (uint8_t)(log2_minus4 + 4);
    } else if (type == 1) {
        sps->delta_pic_order_always_zero = bits_flag(bits);
        sps->offset_for_non_ref_pic = bits_se(bits);
        sps->offset_for_top_to_bottom = bits_se(bits);
        const uint32_t length = bits_ue(bits);
        if (length > 255) {
            return "num_ref_frames_in_pic_order_cnt_cycle is above 255";
        }
        sps->poc_cycle_length = (uint8_t)length;
        for (uint32_t i = 0; i < length; i++) {
            sps->offset_for_ref_frame[i] = bits_se(bits);
        }
    }
    return NULL;
}

const char *sps_parse(bit_reader *bits, sps_t *sps, uint32_t *id)
{
    memset(sps, 0, sizeof(*sps));
    sps->profile_idc = (uint8_t)bits_u(bits, 8);
    bits_skip(bits, 16); /* constraint flags, level_idc */
    *id = bits_ue(bits);
    if (*id >= MAX_SPS) {
        return "seq_parameter_set_id is above 31";
    }
    const char *problem = parse_sample_format(bits, sps);
    if (problem) {
        return problem;
    }
    const uint32_t log2_minus4 = bits_ue(bits);
    if (log2_minus4 > 12) {
        return "log2_max_frame_num is above 16";
    }
    sps->log2_max_frame_num = (uint8_t)(log2_minus4 + 4);
    problem = parse_order_count(bits, sps);
    if (problem) {
        return problem;
    }
    bits_ue(bits);      /* max_num_ref_frames */
    bits_skip(bits, 1); /* gaps_in_frame_num_value_allowed_flag */
    const uint32_t width = bits_ue(bits);
    const uint32_t map_height = bits_ue(bits);
    sps->frame_mbs_only = bits_flag(bits);
    if (width >= MAX_MB_SIDE || map_height >= MAX_MB_SIDE) {
        return "the picture is larger than level 6.2 allows";
    }
    const uint32_t height = (map_height + 1) * (sps->frame_mbs_only ? 1 : 2);
    if (height > MAX_MB_SIDE || (width + 1) * height > MAX_MB_COUNT) {
        return "the picture is larger than level 6.2 allows";
    }
    sps->mb_width = (uint16_t)(width + 1);
    sps->frame_mb_height = (uint16_t)height;
    if (!sps->frame_mbs_only) {
        sps->mbaff = bits_flag(bits);
    }
    sps->direct_8x8_inference = bits_flag(bits);
    /* Cropping and video usability information change nothing here. */
    if (bits->overrun) {
        return "the sequence parameter set is cut off";
    }
    sps->valid = true;
    return NULL;
}

const char *pps_parse(bit_reader *bits, pps_t *pps, uint32_t *id)
{
    memset(pps, 0, sizeof(*pps));
    *id = bits_ue(bits);
    const uint32_t sps_id = bits_ue(bits);
    if (*id >= MAX_PPS || sps_id >= MAX_SPS) {
        return "a parameter set's number is out of range";
    }
    pps->sps_id = (uint8_t)sps_id;
    pps->cabac = bits_flag(bits);
    pps->bottom_field_poc_present = bits_flag(bits);
    pps->slice_groups = bits_ue(bits) > 0;
    if (pps->slice_groups) { /* refused when a slice uses it: the rest need not be known */
        pps->valid = true;
        return NULL;
    }
    for (unsigned list = 0; list < 2; list++) {
        const uint32_t count = bits_ue(bits);
        if (count > 31) {
            return "num_ref_idx_default_active_minus1 is above 31";
        }
        pps->num_ref_idx[list] = (uint8_t)(count + 1);
    }
    pps->weighted_pred = bits_flag(bits);
    pps->weighted_bipred_idc = (uint8_t)bits_u(bits, 2);
    const int32_t init_qp = bits_se(bits);
    if (init_qp < -62 || init_qp > 25) {
        return "pic_init_qp_minus26 is out of range";
    }
    pps->init_qp = (int16_t)(26 + init_qp);
    bits_se(bits); /* pic_init_qs_minus26 */
    bits_se(bits); /* chroma_qp_index_offset */
    pps->deblocking_control_present = bits_flag(bits);
    bits_skip(bits, 1); /* constrained_intra_pred_flag */
    pps->redundant_pic_cnt_present = bits_flag(bits);
    if (bits->overrun) {
        return "the picture parameter set is cut off";
    }
    /* Nothing behind this flag changes how slice data is read. */
    pps->transform_8x8_mode = bits_more(bits) && bits_flag(bits);
    pps->valid = true;
    return NULL;
}
