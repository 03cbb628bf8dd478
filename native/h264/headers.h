/* Sequence and picture parameter sets, slice headers: what slice data and output order need. */
#ifndef IDSE_H264_HEADERS_H
#define IDSE_H264_HEADERS_H

#include "bits.h"

#define MAX_SPS 32
#define MAX_PPS 256
#define MAX_MB_SIDE 1055   /* level 6.2: sqrt(8 MaxFS) */
#define MAX_MB_COUNT 139264 /* level 6.2: MaxFS */

enum {
    NAL_SLICE = 1,
    NAL_PARTITION_A = 2,
    NAL_PARTITION_C = 4,
    NAL_IDR = 5,
    NAL_SPS = 7,
    NAL_PPS = 8,
};

/* slice_type modulo 5 */
enum { SLICE_P, SLICE_B, SLICE_I, SLICE_SP, SLICE_SI };

typedef struct {
    bool valid;
    uint8_t profile_idc;
    uint8_t chroma_format_idc; /* 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4 */
    uint8_t bit_depth_luma, bit_depth_chroma;
    bool separate_colour_planes;
    bool transform_bypass;
    uint8_t log2_max_frame_num;
    uint8_t poc_type;
    uint8_t log2_max_poc_lsb;
    bool delta_pic_order_always_zero;
    int32_t offset_for_non_ref_pic, offset_for_top_to_bottom;
    uint8_t poc_cycle_length;
    int32_t offset_for_ref_frame[255];
    uint16_t mb_width;
    uint16_t frame_mb_height; /* of a frame, whatever frame_mbs_only says */
    bool frame_mbs_only, mbaff;
    bool direct_8x8_inference;
} sps_t;

typedef struct {
    bool valid;
    uint8_t sps_id;
    bool cabac;
    bool bottom_field_poc_present;
    bool slice_groups;
    uint8_t num_ref_idx[2];
    bool weighted_pred;
    uint8_t weighted_bipred_idc;
    int16_t init_qp;
    bool redundant_pic_cnt_present;
    bool deblocking_control_present;
    bool transform_8x8_mode;
} pps_t;

typedef struct {
    bool unsupported; /* the header is valid, but says what this parser does not know */
    uint8_t nal_unit_type, nal_ref_idc;
    uint32_t first_mb;
    uint8_t type; /* SLICE_P, SLICE_B or SLICE_I */
    uint8_t pps_id;
    uint32_t frame_num;
    bool field, bottom, mbaff;
    uint32_t idr_pic_id;
    uint32_t poc_lsb;
    int32_t delta_poc_bottom;
    int32_t delta_poc[2];
    uint32_t redundant_pic_cnt;
    uint8_t num_ref_idx[2];
    bool resets_order; /* memory_management_control_operation 5 */
    uint8_t cabac_init_idc;
    int16_t qp; /* SliceQP_Y */
} slice_header;

/* NULL, or why the structure cannot be used, in words for the user. */
const char *sps_parse(bit_reader *bits, sps_t *sps, uint32_t *id);
const char *pps_parse(bit_reader *bits, pps_t *pps, uint32_t *id);

/* Leaves bits at the first bit of slice_data(). */
const char *slice_header_parse(bit_reader *bits, unsigned nal_header, const sps_t spss[MAX_SPS],
                               const pps_t ppss[MAX_PPS], slice_header *slice);

#endif
