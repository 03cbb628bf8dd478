/* CAVLC elements and residual_block_cavlc(): clauses 7.3.5.3.2, 9.1.2 and 9.2. */
#include "cavlc.h"

#include "macroblock.h"

void cavlc_skip_intra_modes(slice_reader *reader, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!bits_flag(&reader->bits)) {
            bits_skip(&reader->bits, 3);
        }
    }
}

unsigned cavlc_read_ref_idx(slice_reader *reader, unsigned count)
{
    return count == 2 ? !bits_flag(&reader->bits) : bits_ue(&reader->bits);
}

unsigned cavlc_read_cbp(slice_reader *reader)
{
    /* Table 9-4, inter then intra: with chroma, then without. */
    static const uint8_t with_chroma[2][48] = {
        {0,  16, 1,  2,  4,  8,  32, 3,  5,  10, 12, 15, 47, 7,  11, 13,
         14, 6,  9,  31, 35, 37, 42, 44, 33, 34, 36, 40, 39, 43, 45, 46,
         17, 18, 20, 24, 19, 21, 26, 28, 23, 27, 29, 30, 22, 25, 38, 41},
        {47, 31, 15, 0,  23, 27, 29, 30, 7,  11, 13, 14, 39, 43, 45, 46,
         16, 3,  5,  10, 12, 19, 21, 26, 28, 35, 37, 42, 44, 1,  2,  4,
         8,  17, 18, 20, 24, 6,  9,  22, 25, 32, 33, 34, 36, 40, 38, 41}};
    static const uint8_t without_chroma[2][16] = {
        {0, 1, 2, 4, 8, 3, 5, 10, 12, 15, 7, 11, 13, 14, 6, 9},
        {15, 0, 7, 11, 13, 14, 3, 5, 10, 12, 1, 2, 4, 8, 6, 9}};
    const bool intra = mb_is_intra(reader->mb);
    const uint32_t code = bits_ue(&reader->bits);
    if (code >= (reader->chroma_rows ? 48 : 16)) {
        fail(reader, "coded_block_pattern is out of range");
        return 0;
    }
    return reader->chroma_rows ? with_chroma[intra][code] : without_chroma[intra][code];
}

/* The index of the code that comes next. */
static unsigned read_code(slice_reader *reader, const vlc *codes, unsigned count)
{
    const uint32_t window = bits_peek(&reader->bits, 16);
    for (unsigned i = 0; i < count; i++) {
        const unsigned length = codes[i].length;
        if (length && window >> (16 - length) == codes[i].code) {
            bits_skip(&reader->bits, length);
            return i;
        }
    }
    fail(reader, "a coefficient code is invalid");
    return 0;
}

/* coeff_token as 4 * TotalCoeff + TrailingOnes. */
static unsigned read_coeff_token(slice_reader *reader, block_kind kind, unsigned component,
                                 unsigned block)
{
    if (kind == BLOCK_CHROMA_DC) {
        return reader->chroma_rows == 2 ? read_code(reader, cavlc_coeff_token[3], 20)
                                        : read_code(reader, cavlc_coeff_token[4], 36);
    }
    int left;
    int above;
    neighbour_coefficients(reader, kind, component, block, &left, &above);
    int expected = 0; /* nC */
    if (left >= 0 && above >= 0) {
        expected = (left + above + 1) / 2;
    } else if (left >= 0 || above >= 0) {
        expected = left >= 0 ? left : above;
    }
    if (expected >= 8) {
        const uint32_t code = bits_u(&reader->bits, 6);
        return code == 3 ? 0 : code + 4;
    }
    return read_code(reader, cavlc_coeff_token[expected < 2 ? 0 : expected < 4 ? 1 : 2], 68);
}

/* level_prefix and level_suffix of one level; returns levelCode (clause 9.2.2.1). */
static uint32_t read_level_code(slice_reader *reader, unsigned suffix_length)
{
    bit_reader *bits = &reader->bits;
    unsigned prefix = 0;
    while (!bits_flag(bits)) {
        if (++prefix > 25 || bits->overrun) { /* 15 + bit depth - 8 would do */
            fail(reader, "a coefficient is too large");
            return 0;
        }
    }
    uint32_t code = (prefix < 15 ? prefix : 15) << suffix_length;
    const unsigned size = prefix == 14 && suffix_length == 0 ? 4
                          : prefix >= 15                     ? prefix - 3
                                                             : suffix_length;
    code += bits_u(bits, size);
    if (prefix >= 15 && suffix_length == 0) {
        code += 15;
    }
    if (prefix >= 16) {
        code += (1u << (prefix - 3)) - 4096;
    }
    return code;
}

static void skip_levels(slice_reader *reader, unsigned total, unsigned trailing_ones)
{
    bits_skip(&reader->bits, trailing_ones); /* signs */
    unsigned suffix_length = total > 10 && trailing_ones < 3 ? 1 : 0;
    for (unsigned i = trailing_ones; i < total && !reader->problem; i++) {
        uint32_t code = read_level_code(reader, suffix_length);
        if (i == trailing_ones && trailing_ones < 3) {
            code += 2;
        }
        const uint32_t magnitude = code / 2 + 1;
        if (suffix_length == 0) {
            suffix_length = 1;
        }
        if (magnitude > 3u << (suffix_length - 1) && suffix_length < 6) {
            suffix_length++;
        }
    }
}

static void skip_runs(slice_reader *reader, block_kind kind, unsigned total, unsigned size)
{
    unsigned zeros = 0;
    if (total < size) {
        if (size == 4 && kind == BLOCK_CHROMA_DC) {
            zeros = read_code(reader, cavlc_total_zeros_dc[total - 1], 5 - total);
        } else if (kind == BLOCK_CHROMA_DC) {
            zeros = read_code(reader, cavlc_total_zeros_dc422[total - 1], 9 - total);
        } else {
            zeros = read_code(reader, cavlc_total_zeros[total - 1], 17 - total);
        }
    }
    if (zeros > size - total) {
        fail(reader, "total_zeros is too large");
        return;
    }
    for (unsigned i = 1; i < total && zeros > 0 && !reader->problem; i++) {
        const unsigned row = zeros < 7 ? zeros - 1 : 6;
        const unsigned run = read_code(reader, cavlc_run_before[row], zeros < 7 ? zeros + 1 : 15);
        if (run > zeros) {
            fail(reader, "run_before is too large");
            return;
        }
        zeros -= run;
    }
}

void cavlc_read_block(slice_reader *reader, block_kind kind, unsigned component, unsigned block,
                      unsigned size)
{
    const unsigned token = read_coeff_token(reader, kind, component, block);
    const unsigned total = token / 4;
    const unsigned trailing_ones = token % 4;
    if (total > size || trailing_ones > total) {
        fail(reader, "a block holds more coefficients than fit");
    }
    if (total == 0 || reader->problem) {
        return;
    }
    if (kind != BLOCK_DC_16X16 && kind != BLOCK_CHROMA_DC) {
        reader->mb->coefficients[component][block] = (uint8_t)total;
    }
    skip_levels(reader, total, trailing_ones);
    skip_runs(reader, kind, total, size);
}
