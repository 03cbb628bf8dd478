/* Picture order count (clause 8.2.1) and output order. */
#ifndef IDSE_H264_ORDER_H
#define IDSE_H264_ORDER_H

#include "headers.h"

typedef struct {
    uint32_t epoch; /* counts IDR pictures and memory_management_control_operation 5 */
    int32_t prev_msb;
    int32_t prev_lsb;
    uint32_t prev_frame_num;
    int64_t prev_frame_num_offset;
    bool prev_reset;
} order_state;

/* A number that rises in output order, of the frame or field that `slice` starts. */
int64_t order_next(order_state *state, const sps_t *sps, const slice_header *slice);

#endif
