/* slice_data(): clause 7.3.4. */
#include "macroblock.h"

#include <string.h>

static size_t position(const slice_reader *reader)
{
    return reader->pps->cabac ? cabac_position(&reader->cabac) : reader->bits.position;
}

/* Ends the slice with an error when more was read than there is. */
static void check_end(slice_reader *reader)
{
    const bool past = reader->bits.overrun ||
                      (reader->pps->cabac &&
                       cabac_position(&reader->cabac) > reader->bits.size_bits + 1);
    if (past) {
        reader->problem = "the data ends in the middle of a macroblock";
    }
}

/* Makes reader->address the current macroblock, empty, with its pair's field flag. */
static void begin_macroblock(slice_reader *reader, bool field)
{
    reader->mb = &reader->mbs[reader->address];
    memset(reader->mb, 0, sizeof(*reader->mb));
    reader->mb->slice = reader->number;
    reader->mb->field = field;
    reader->has_delta_qp = false;
    find_neighbours(reader);
}

/* mb_field_decoding_flag of a pair that does not (yet) carry it: clause 7.4.4. */
static bool inferred_field(const slice_reader *reader)
{
    const uint32_t pair = reader->address / 2;
    if (pair % reader->mb_width) {
        const mb_state *left = &reader->mbs[2 * (pair - 1)];
        if (left->slice == reader->number) {
            return left->field;
        }
    }
    if (pair >= reader->mb_width) {
        const mb_state *above = &reader->mbs[2 * (pair - reader->mb_width)];
        if (above->slice == reader->number) {
            return above->field;
        }
    }
    return false;
}

/* Reads mb_field_decoding_flag; it holds for both macroblocks of the pair. */
static void read_field_flag(slice_reader *reader)
{
    const bool field = reader->pps->cabac ? cabac_read_field(reader) : bits_flag(&reader->bits);
    reader->mb->field = field;
    reader->mbs[reader->address & ~1u].field = field;
    find_neighbours(reader);
}

static void store(const slice_reader *reader, const mb_output *output, size_t bits)
{
    const uint32_t width = output->mb_width;
    uint32_t row = reader->address / width;
    uint32_t column = reader->address % width;
    if (output->mbaff) {
        const uint32_t pair = reader->address / 2;
        row = 2 * (pair / width) + (reader->address & 1);
        column = pair % width;
    } else if (output->field) {
        row = 2 * row + output->bottom;
    }
    const size_t index = (size_t)row * width + column;
    const mb_state *mb = reader->mb;
    output->qp[index] = (int8_t)reader->qp;
    output->bits[index] = (int32_t)bits;
    output->flags[index] = (uint8_t)(MB_PRESENT | (reader->has_delta_qp ? MB_CODED : 0) |
                                     (mb->kind == MB_SKIP ? MB_SKIPPED : 0) |
                                     (mb_is_intra(mb) ? MB_INTRA : 0) |
                                     (mb->kind == MB_PCM ? MB_IS_PCM : 0));
}

static void skip_macroblock(slice_reader *reader)
{
    reader->mb->kind = MB_SKIP;
    reader->delta_qp_before = false;
}

/* Whether the current macroblock is skipped. In CAVLC `run` counts those still to come, -1 before
 * mb_skip_run is read. */
static bool read_skip(slice_reader *reader, int64_t *run)
{
    if (reader->header->type == SLICE_I) {
        return false;
    }
    if (reader->pps->cabac) {
        return cabac_read_skip(reader);
    }
    if (*run < 0) {
        *run = bits_ue(&reader->bits);
        if (*run > reader->mb_count - reader->address) {
            fail(reader, "mb_skip_run leads out of the picture");
        }
    }
    return (*run)-- > 0;
}

/* Whether the slice goes on behind the current macroblock. */
static bool read_more(slice_reader *reader, int64_t run)
{
    if (!reader->pps->cabac) {
        return run > 0 || bits_more(&reader->bits);
    }
    if (reader->header->mbaff && reader->address % 2 == 0) {
        return true; /* slices hold whole pairs */
    }
    return !cabac_terminate(&reader->cabac);
}

static void read_macroblocks(slice_reader *reader, const mb_output *output)
{
    const bool mbaff = reader->header->mbaff;
    int64_t run = -1;
    bool skipped_before = false;
    for (bool more = true; more; reader->address++) {
        if (reader->address >= reader->mb_count) {
            fail(reader, "there are more macroblocks than the picture holds");
            return;
        }
        const size_t start = position(reader);
        const bool bottom = mbaff && reader->address % 2;
        const bool known = bottom && !skipped_before;
        const bool field = mbaff && (known ? reader->mb->field : inferred_field(reader));
        begin_macroblock(reader, field);
        const bool skipped = read_skip(reader, &run);
        if (skipped) {
            skip_macroblock(reader);
        } else if (!reader->problem) {
            if (mbaff && !known) {
                read_field_flag(reader);
            }
            macroblock_read(reader);
        }
        more = read_more(reader, run);
        check_end(reader);
        if (reader->problem) {
            return;
        }
        store(reader, output, position(reader) - start);
        skipped_before = skipped;
    }
}

/* Whether everything up to rbsp_stop_one_bit was read. The arithmetic decoder swallows that bit with
 * its last ones; behind it x264 may set one more bit in the same byte, as padding. */
static bool ends_properly(const slice_reader *reader)
{
    const bit_reader *bits = &reader->bits;
    if (!reader->pps->cabac) {
        return bits->position == bits->size_bits;
    }
    const size_t stop = cabac_position(&reader->cabac) - 1;
    return stop <= bits->size_bits && stop / 8 == bits->size_bits / 8 &&
           bits->data[stop / 8] >> (7 - stop % 8) & 1;
}

bool slice_data_read(slice_reader *reader, const mb_output *output)
{
    const slice_header *header = reader->header;
    bit_reader *bits = &reader->bits;
    reader->problem = NULL;
    reader->qp = header->qp;
    reader->delta_qp_before = false;
    reader->address = header->first_mb << header->mbaff;
    reader->chroma_rows = (unsigned[]){0, 2, 4, 0}[reader->sps->chroma_format_idc];
    if (reader->pps->cabac) {
        while (bits->position % 8) {
            if (!bits_flag(bits)) {
                fail(reader, "cabac_alignment_one_bit is not one");
                return false;
            }
        }
        cabac_init_contexts(&reader->cabac,
                            header->type == SLICE_I ? 0 : 1u + header->cabac_init_idc, header->qp);
        cabac_start(&reader->cabac, bits->data, bits->size_bits / 8 + 1, bits->position / 8);
    }
    read_macroblocks(reader, output);
    if (!reader->problem && !ends_properly(reader)) {
        fail(reader, "the slice does not end where its data does");
    }
    return !reader->problem;
}
