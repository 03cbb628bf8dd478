/* CABAC binarisations and contexts of macroblock-level elements: clauses 9.3.2.5 and 9.3.3.1.1. */
#include "macroblock.h"

bool cabac_read_skip(slice_reader *reader)
{
    const mb_state *left = reader->left[0];
    const mb_state *above = reader->above;
    const unsigned increment =
        (left && left->kind != MB_SKIP) + (above && above->kind != MB_SKIP);
    return cabac_bin(&reader->cabac, (reader->header->type == SLICE_B ? 24 : 11) + increment);
}

bool cabac_read_field(slice_reader *reader)
{
    const uint32_t pair = reader->address / 2;
    const mb_state *left = pair % reader->mb_width ? &reader->mbs[2 * (pair - 1)] : NULL;
    const mb_state *above =
        pair >= reader->mb_width ? &reader->mbs[2 * (pair - reader->mb_width)] : NULL;
    const unsigned increment = (left && left->slice == reader->number && left->field) +
                               (above && above->slice == reader->number && above->field);
    return cabac_bin(&reader->cabac, 70 + increment);
}

/* An intra mb_type behind its first bin; `c` holds the contexts of the five bins that follow. */
static unsigned read_intra_tail(cabac_decoder *cabac, const uint8_t c[5])
{
    if (cabac_terminate(cabac)) {
        return 25;
    }
    unsigned type = 1 + 12 * cabac_bin(cabac, c[0]);
    if (cabac_bin(cabac, c[1])) {
        type += 4 + 4 * cabac_bin(cabac, c[2]);
    }
    type += 2 * cabac_bin(cabac, c[3]);
    return type + cabac_bin(cabac, c[4]);
}

/* In P slices (prefix context 17) and B slices (32) no neighbour matters. */
static unsigned read_intra_in_inter(cabac_decoder *cabac, uint8_t first)
{
    const uint8_t c[5] = {first + 1, first + 2, first + 2, first + 3, first + 3};
    return cabac_bin(cabac, first) ? read_intra_tail(cabac, c) : 0;
}

static unsigned read_type_i(slice_reader *reader)
{
    static const uint8_t c[5] = {6, 7, 8, 9, 10};
    const mb_state *left = reader->left[0];
    const mb_state *above = reader->above;
    const unsigned increment =
        (left && left->kind != MB_INTRA_NXN) + (above && above->kind != MB_INTRA_NXN);
    return cabac_bin(&reader->cabac, 3 + increment) ? read_intra_tail(&reader->cabac, c) : 0;
}

static unsigned read_type_p(slice_reader *reader)
{
    cabac_decoder *cabac = &reader->cabac;
    if (cabac_bin(cabac, 14)) {
        return 5 + read_intra_in_inter(cabac, 17);
    }
    if (cabac_bin(cabac, 15)) {
        return cabac_bin(cabac, 17) ? 1 : 2;
    }
    return cabac_bin(cabac, 16) ? 3 : 0;
}

static bool is_predicted_otherwise(const mb_state *mb)
{
    return mb && mb->kind != MB_SKIP && mb->kind != MB_DIRECT;
}

static unsigned read_type_b(slice_reader *reader)
{
    cabac_decoder *cabac = &reader->cabac;
    const unsigned increment =
        is_predicted_otherwise(reader->left[0]) + is_predicted_otherwise(reader->above);
    if (!cabac_bin(cabac, 27 + increment)) {
        return 0;
    }
    if (!cabac_bin(cabac, 30)) {
        return 1 + cabac_bin(cabac, 32);
    }
    unsigned code = cabac_bin(cabac, 31);
    for (unsigned i = 0; i < 3; i++) {
        code = code << 1 | cabac_bin(cabac, 32);
    }
    if (code < 8) {
        return code + 3;
    }
    switch (code) {
    case 13:
        return 23 + read_intra_in_inter(cabac, 32);
    case 14:
        return 11;
    case 15:
        return 22;
    default:
        return (code << 1 | cabac_bin(cabac, 32)) - 4;
    }
}

unsigned cabac_read_mb_type(slice_reader *reader)
{
    switch (reader->header->type) {
    case SLICE_I:
        return read_type_i(reader);
    case SLICE_P:
        return read_type_p(reader);
    default:
        return read_type_b(reader);
    }
}

unsigned cabac_read_sub_type(slice_reader *reader)
{
    cabac_decoder *cabac = &reader->cabac;
    if (reader->header->type == SLICE_P) {
        if (cabac_bin(cabac, 21)) {
            return 0;
        }
        if (!cabac_bin(cabac, 22)) {
            return 1;
        }
        return cabac_bin(cabac, 23) ? 2 : 3;
    }
    if (!cabac_bin(cabac, 36)) {
        return 0;
    }
    if (!cabac_bin(cabac, 37)) {
        return 1 + cabac_bin(cabac, 39);
    }
    unsigned type = 3;
    if (cabac_bin(cabac, 38)) {
        if (cabac_bin(cabac, 39)) {
            return 11 + cabac_bin(cabac, 39);
        }
        type = 7;
    }
    type += 2 * cabac_bin(cabac, 39);
    return type + cabac_bin(cabac, 39);
}

/* refIdxZeroFlagN: a frame macroblock counts a field neighbour's fields in pairs. */
static bool ref_idx_counts(const slice_reader *reader, const mb_state *mb, unsigned ref_idx)
{
    return ref_idx > (mb->field && !reader->mb->field ? 1u : 0u);
}

unsigned cabac_read_ref_idx(slice_reader *reader, unsigned list, unsigned block8)
{
    const unsigned x = block8 % 2;
    const unsigned y = block8 / 2;
    const mb_state *left = x ? reader->mb : reader->left[2 * y];
    const mb_state *above = y ? reader->mb : reader->above;
    const unsigned left_row = x ? y : reader->left_row[2 * y] / 2;
    unsigned context = 54;
    context += left && ref_idx_counts(reader, left, left->ref_idx[list][2 * left_row + 1 - x]);
    if (above && ref_idx_counts(reader, above, above->ref_idx[list][2 * (1 - y) + x])) {
        context += 2;
    }
    unsigned value = 0;
    while (cabac_bin(&reader->cabac, context)) {
        context = value == 0 ? 58 : 59;
        if (++value > 63) {
            fail(reader, "a reference index is too large");
            return 0;
        }
    }
    return value;
}

/* absMvdCompN in the units of the current macroblock. */
static unsigned mvd_of(const slice_reader *reader, const mb_state *mb, unsigned list,
                       unsigned block4, unsigned component)
{
    if (!mb) {
        return 0;
    }
    const unsigned value = mb->mvd[list][block4][component];
    if (component == 0 || mb->field == reader->mb->field) {
        return value;
    }
    return mb->field ? 2 * value : value / 2;
}

unsigned cabac_read_mvd(slice_reader *reader, unsigned list, unsigned block4, unsigned component)
{
    cabac_decoder *cabac = &reader->cabac;
    const unsigned x = block4 % 4;
    const unsigned y = block4 / 4;
    const unsigned sum =
        (x ? mvd_of(reader, reader->mb, list, block4 - 1, component)
           : mvd_of(reader, reader->left[y], list, 4u * reader->left_row[y] + 3, component)) +
        (y ? mvd_of(reader, reader->mb, list, block4 - 4, component)
           : mvd_of(reader, reader->above, list, 12 + x, component));
    const unsigned base = component ? 47 : 40;
    if (!cabac_bin(cabac, base + (sum < 3 ? 0 : sum <= 32 ? 1 : 2))) {
        return 0;
    }
    unsigned value = 1;
    while (value < 9 && cabac_bin(cabac, base + (value < 4 ? 2 + value : 6))) {
        value++;
    }
    if (value == 9) { /* Exp-Golomb suffix of order 3 */
        unsigned order = 3;
        while (cabac_bypass(cabac)) {
            value += 1u << order;
            if (++order > 24) {
                fail(reader, "a motion vector is too long");
                return 0;
            }
        }
        while (order-- > 0) {
            value += cabac_bypass(cabac) << order;
        }
    }
    cabac_bypass(cabac); /* sign */
    return value;
}

void cabac_skip_intra_modes(slice_reader *reader, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!cabac_bin(&reader->cabac, 68)) {
            cabac_bin(&reader->cabac, 69);
            cabac_bin(&reader->cabac, 69);
            cabac_bin(&reader->cabac, 69);
        }
    }
}

unsigned cabac_read_chroma_mode(slice_reader *reader)
{
    const mb_state *left = reader->left[0];
    const mb_state *above = reader->above;
    const unsigned increment =
        (left && left->intra_chroma_mode != 0) + (above && above->intra_chroma_mode != 0);
    unsigned mode = cabac_bin(&reader->cabac, 64 + increment);
    while (mode > 0 && mode < 3 && cabac_bin(&reader->cabac, 67)) {
        mode++;
    }
    return mode;
}

bool cabac_read_transform_8x8(slice_reader *reader)
{
    const unsigned increment = (reader->left[0] && reader->left[0]->transform_8x8) +
                               (reader->above && reader->above->transform_8x8);
    return cabac_bin(&reader->cabac, 399 + increment);
}

static unsigned read_cbp_luma(slice_reader *reader)
{
    unsigned cbp = 0;
    for (unsigned block = 0; block < 4; block++) {
        const unsigned x = block % 2;
        const unsigned y = block / 2;
        const mb_state *left = reader->left[2 * y];
        const unsigned left_bit = 2u * (reader->left_row[2 * y] / 2) + 1;
        const bool left_empty =
            x ? !(cbp >> (block - 1) & 1) : left && !(left->cbp >> left_bit & 1);
        const bool above_empty = y ? !(cbp >> (block - 2) & 1)
                                   : reader->above && !(reader->above->cbp >> (2 + x) & 1);
        cbp |= cabac_bin(&reader->cabac, 73 + left_empty + 2 * above_empty) << block;
    }
    return cbp;
}

unsigned cabac_read_cbp(slice_reader *reader)
{
    unsigned cbp = read_cbp_luma(reader);
    if (reader->chroma_rows == 0) {
        return cbp;
    }
    const unsigned left = reader->left[0] ? reader->left[0]->cbp >> 4 : 0;
    const unsigned above = reader->above ? reader->above->cbp >> 4 : 0;
    if (cabac_bin(&reader->cabac, 77 + (left != 0) + 2 * (above != 0))) {
        cbp |= 16u << cabac_bin(&reader->cabac, 81 + (left == 2) + 2 * (above == 2));
    }
    return cbp;
}

int cabac_read_delta_qp(slice_reader *reader)
{
    cabac_decoder *cabac = &reader->cabac;
    unsigned context = reader->delta_qp_before ? 61 : 60;
    int code = 0;
    while (cabac_bin(cabac, context)) {
        context = code == 0 ? 62 : 63;
        if (++code > 200) { /* 2 (26 + 3 (14 - 8)) + 1 at most */
            fail(reader, "mb_qp_delta is out of range");
            return 0;
        }
    }
    return code % 2 ? (code + 1) / 2 : -(code / 2);
}
