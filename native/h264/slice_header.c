#include "headers.h"

#include <string.h>

#define TOO_MANY "the slice header holds more entries than the specification allows"

static const char *skip_ref_list_modification(bit_reader *bits, unsigned type)
{
    const unsigned lists = type == SLICE_I ? 0 : type == SLICE_B ? 2 : 1;
    for (unsigned list = 0; list < lists; list++) {
        if (!bits_flag(bits)) {
            continue;
        }
        for (unsigned i = 0;; i++) {
            const uint32_t operation = bits_ue(bits);
            if (operation == 3) {
                break;
            }
            if (operation > 5 || i > 66 || bits->overrun) {
                return TOO_MANY;
            }
            bits_ue(bits);
        }
    }
    return NULL;
}

static void skip_weights(bit_reader *bits, const sps_t *sps, const slice_header *slice)
{
    const bool chroma = sps->chroma_format_idc != 0;
    bits_ue(bits); /* luma_log2_weight_denom */
    if (chroma) {
        bits_ue(bits);
    }
    for (unsigned list = 0; list < (slice->type == SLICE_B ? 2u : 1u); list++) {
        for (unsigned i = 0; i < slice->num_ref_idx[list]; i++) {
            if (bits_flag(bits)) {
                bits_se(bits);
                bits_se(bits);
            }
            if (chroma && bits_flag(bits)) {
                for (unsigned j = 0; j < 4; j++) {
                    bits_se(bits);
                }
            }
        }
    }
}

static const char *parse_ref_pic_marking(bit_reader *bits, slice_header *slice)
{
    if (slice->nal_unit_type == NAL_IDR) {
        bits_skip(bits, 2);
        return NULL;
    }
    if (!bits_flag(bits)) { /* adaptive_ref_pic_marking_mode_flag */
        return NULL;
    }
    for (unsigned i = 0;; i++) {
        const uint32_t operation = bits_ue(bits);
        if (operation == 0) {
            return NULL;
        }
        if (operation > 6 || i > 66 || bits->overrun) {
            return TOO_MANY;
        }
        if (operation == 5) {
            slice->resets_order = true;
        } else {
            bits_ue(bits);
            if (operation == 3) {
                bits_ue(bits);
            }
        }
    }
}

static void parse_order_count(bit_reader *bits, const sps_t *sps, const pps_t *pps,
                              slice_header *slice)
{
    const bool both_fields = pps->bottom_field_poc_present && !slice->field;
    if (sps->poc_type == 0) {
        slice->poc_lsb = bits_u(bits, sps->log2_max_poc_lsb);
        slice->delta_poc_bottom = both_fields ? bits_se(bits) : 0;
    } else if (sps->poc_type == 1 && !sps->delta_pic_order_always_zero) {
        slice->delta_poc[0] = bits_se(bits);
        slice->delta_poc[1] = both_fields ? bits_se(bits) : 0;
    }
}

static const char *parse_references(bit_reader *bits, const sps_t *sps, const pps_t *pps,
                                    slice_header *slice)
{
    memcpy(slice->num_ref_idx, pps->num_ref_idx, sizeof(slice->num_ref_idx));
    if (slice->type == SLICE_B) {
        bits_skip(bits, 1); /* direct_spatial_mv_pred_flag */
    }
    if (slice->type != SLICE_I && bits_flag(bits)) { /* num_ref_idx_active_override_flag */
        for (unsigned list = 0; list < (slice->type == SLICE_B ? 2u : 1u); list++) {
            const uint32_t count = bits_ue(bits);
            if (count > 31) {
                return "num_ref_idx_active_minus1 is above 31";
            }
            slice->num_ref_idx[list] = (uint8_t)(count + 1);
        }
    }
    const char *problem = skip_ref_list_modification(bits, slice->type);
    if (problem) {
        return problem;
    }
    if ((pps->weighted_pred && slice->type == SLICE_P) ||
        (pps->weighted_bipred_idc == 1 && slice->type == SLICE_B)) {
        skip_weights(bits, sps, slice);
    }
    return slice->nal_ref_idc != 0 ? parse_ref_pic_marking(bits, slice) : NULL;
}

static const char *parse_coding(bit_reader *bits, const sps_t *sps, const pps_t *pps,
                                slice_header *slice)
{
    if (pps->cabac && slice->type != SLICE_I) {
        const uint32_t idc = bits_ue(bits);
        if (idc > 2) {
            return "cabac_init_idc is above 2";
        }
        slice->cabac_init_idc = (uint8_t)idc;
    }
    const int64_t qp = (int64_t)pps->init_qp + bits_se(bits);
    if (qp < -6 * (sps->bit_depth_luma - 8) || qp > 51) {
        return "the slice QP is out of range";
    }
    slice->qp = (int16_t)qp;
    if (pps->deblocking_control_present && bits_ue(bits) != 1) {
        bits_se(bits);
        bits_se(bits);
    }
    return NULL;
}

static const char *parse_type(bit_reader *bits, slice_header *slice)
{
    slice->first_mb = bits_ue(bits);
    const uint32_t type = bits_ue(bits);
    if (type > 9) {
        return "slice_type is above 9";
    }
    slice->type = (uint8_t)(type % 5);
    const uint32_t pps_id = bits_ue(bits);
    if (pps_id >= MAX_PPS) {
        return "pic_parameter_set_id is above 255";
    }
    slice->pps_id = (uint8_t)pps_id;
    return NULL;
}

static const char *find_unsupported(const sps_t *sps, const pps_t *pps, const slice_header *slice)
{
    if (slice->type == SLICE_SP || slice->type == SLICE_SI) {
        return "SP and SI slices (Extended profile) are not supported";
    }
    if (pps->slice_groups) {
        return "slice groups (flexible macroblock ordering) are not supported";
    }
    if (sps->separate_colour_planes) {
        return "separately coded colour planes are not supported";
    }
    return NULL;
}

const char *slice_header_parse(bit_reader *bits, unsigned nal_header, const sps_t spss[MAX_SPS],
                               const pps_t ppss[MAX_PPS], slice_header *slice)
{
    memset(slice, 0, sizeof(*slice));
    slice->nal_unit_type = nal_header & 31;
    slice->nal_ref_idc = nal_header >> 5 & 3;
    const char *problem = parse_type(bits, slice);
    if (problem) {
        return problem;
    }
    const pps_t *pps = &ppss[slice->pps_id];
    const sps_t *sps = &spss[pps->sps_id];
    if (!pps->valid || !sps->valid) {
        return "a slice comes before its parameter sets";
    }
    problem = find_unsupported(sps, pps, slice);
    if (problem) {
        slice->unsupported = true;
        return problem;
    }
    slice->frame_num = bits_u(bits, sps->log2_max_frame_num);
    if (!sps->frame_mbs_only) {
        slice->field = bits_flag(bits);
        slice->bottom = slice->field && bits_flag(bits);
    }
    slice->mbaff = sps->mbaff && !slice->field;
    if (slice->nal_unit_type == NAL_IDR) {
        slice->idr_pic_id = bits_ue(bits);
    }
    parse_order_count(bits, sps, pps, slice);
    if (pps->redundant_pic_cnt_present) {
        slice->redundant_pic_cnt = bits_ue(bits);
    }
    problem = parse_references(bits, sps, pps, slice);
    if (!problem) {
        problem = parse_coding(bits, sps, pps, slice);
    }
    return problem                ? problem
           : bits->overrun        ? "the slice header is cut off"
           : slice->first_mb > MAX_MB_COUNT ? "first_mb_in_slice is outside the picture"
                                  : NULL;
}
