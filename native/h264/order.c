#include "order.h"

/* Counts of damaged streams may leave 32 bits: everything is computed in 64. */
typedef struct {
    int64_t top, bottom;
} field_counts;

static field_counts counts_type_0(order_state *state, const sps_t *sps, const slice_header *slice)
{
    const int32_t range = (int32_t)1 << sps->log2_max_poc_lsb;
    const int32_t lsb = (int32_t)slice->poc_lsb;
    int64_t msb = state->prev_msb;
    if (lsb < state->prev_lsb && state->prev_lsb - lsb >= range / 2) {
        msb += range;
    } else if (lsb > state->prev_lsb && lsb - state->prev_lsb > range / 2) {
        msb -= range;
    }
    if (slice->nal_ref_idc) {
        /* Wraps instead of overflowing in streams that no encoder writes. */
        state->prev_msb = (int32_t)(msb & 0x3fffffff);
        state->prev_lsb = lsb;
    }
    const int64_t top = msb + lsb;
    return (field_counts){top, top + slice->delta_poc_bottom};
}

static field_counts counts_type_1(const sps_t *sps, const slice_header *slice, int64_t number)
{
    int64_t absolute = sps->poc_cycle_length ? number : 0;
    if (slice->nal_ref_idc == 0 && absolute > 0) {
        absolute--;
    }
    int64_t expected = 0;
    if (absolute > 0) {
        int64_t cycle = 0;
        for (unsigned i = 0; i < sps->poc_cycle_length; i++) {
            cycle += sps->offset_for_ref_frame[i];
        }
        const int64_t in_cycle = (absolute - 1) % sps->poc_cycle_length;
        /* 2^20 cycles of 2^39 still fit. */
        expected = (absolute - 1) / sps->poc_cycle_length % (1 << 20) * cycle;
        for (int64_t i = 0; i <= in_cycle; i++) {
            expected += sps->offset_for_ref_frame[i];
        }
    }
    if (slice->nal_ref_idc == 0) {
        expected += sps->offset_for_non_ref_pic;
    }
    const int64_t top = expected + slice->delta_poc[0];
    const int64_t bottom = top + sps->offset_for_top_to_bottom;
    return (field_counts){top, slice->field ? bottom : bottom + slice->delta_poc[1]};
}

/* Types 1 and 2 count frames. */
static int64_t unwrapped_frame_num(order_state *state, const sps_t *sps, const slice_header *slice)
{
    const uint32_t prev = state->prev_reset ? 0 : state->prev_frame_num;
    int64_t offset = state->prev_reset ? 0 : state->prev_frame_num_offset;
    if (slice->nal_unit_type == NAL_IDR) {
        offset = 0;
    } else if (prev > slice->frame_num) {
        offset += (int64_t)1 << sps->log2_max_frame_num;
    }
    state->prev_frame_num_offset = offset;
    state->prev_frame_num = slice->frame_num;
    return offset + slice->frame_num;
}

static int64_t count_of(const slice_header *slice, field_counts counts)
{
    if (slice->field) {
        return slice->bottom ? counts.bottom : counts.top;
    }
    return counts.top < counts.bottom ? counts.top : counts.bottom;
}

int64_t order_next(order_state *state, const sps_t *sps, const slice_header *slice)
{
    if (slice->nal_unit_type == NAL_IDR) {
        state->epoch++;
        state->prev_msb = 0;
        state->prev_lsb = 0;
    }
    const int64_t number = unwrapped_frame_num(state, sps, slice);
    field_counts counts;
    if (sps->poc_type == 0) {
        counts = counts_type_0(state, sps, slice);
    } else if (sps->poc_type == 1) {
        counts = counts_type_1(sps, slice, number);
    } else {
        const int64_t count = 2 * number - (slice->nal_ref_idc == 0);
        counts = (field_counts){count, count};
    }
    int64_t count = count_of(slice, counts);
    state->prev_reset = slice->resets_order;
    if (slice->resets_order) { /* counts start again at this picture: clauses 8.2.1, C.4.4 */
        state->epoch++;
        state->prev_msb = 0;
        state->prev_lsb =
            slice->field && slice->bottom ? 0 : (int32_t)((counts.top - count) & 0xffff);
        state->prev_frame_num = 0;
        count = 0;
    }
    const int64_t low = (int64_t)1 << 31;
    count = count < -low ? -low : count >= low ? low - 1 : count;
    return (int64_t)(state->epoch & 0x3fffffff) * 2 * low + low + count;
}
