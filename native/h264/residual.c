/* residual(): which blocks a macroblock carries, clause 7.3.5.3. */
#include "macroblock.h"

static void read_block(slice_reader *reader, block_kind kind, unsigned component, unsigned block,
                       unsigned size)
{
    if (reader->problem) {
        return;
    }
    if (reader->pps->cabac) {
        cabac_read_block(reader, kind, component, block, size);
    } else {
        cavlc_read_block(reader, kind, component, block, size);
    }
}

/* residual_luma(), also for Cb and Cr of 4:4:4. */
static void read_like_luma(slice_reader *reader, unsigned component)
{
    static const uint8_t inside[4] = {0, 1, 4, 5};
    const mb_state *mb = reader->mb;
    const bool is_16x16 = mb->kind == MB_INTRA_16X16;
    if (is_16x16) {
        read_block(reader, BLOCK_DC_16X16, component, 0, 16);
    }
    for (unsigned block8 = 0; block8 < 4; block8++) {
        if (!(mb->cbp >> block8 & 1)) {
            continue;
        }
        const unsigned first = 8 * (block8 / 2) + 2 * (block8 % 2);
        if (mb->transform_8x8 && reader->pps->cabac) {
            read_block(reader, BLOCK_8X8, component, first, 64);
            continue;
        }
        for (unsigned i = 0; i < 4; i++) {
            read_block(reader, is_16x16 ? BLOCK_AC_16X16 : BLOCK_4X4, component,
                       first + inside[i], is_16x16 ? 15 : 16);
        }
    }
}

static void read_chroma(slice_reader *reader)
{
    const unsigned pattern = reader->mb->cbp >> 4;
    for (unsigned component = 1; component < 3 && pattern; component++) {
        read_block(reader, BLOCK_CHROMA_DC, component, 0, 2 * reader->chroma_rows);
    }
    for (unsigned component = 1; component < 3 && pattern == 2; component++) {
        for (unsigned i = 0; i < 2 * reader->chroma_rows; i++) {
            read_block(reader, BLOCK_CHROMA_AC, component, 4 * (i / 2) + i % 2, 15);
        }
    }
}

void residual_read(slice_reader *reader)
{
    read_like_luma(reader, 0);
    if (reader->sps->chroma_format_idc == 3) {
        read_like_luma(reader, 1);
        read_like_luma(reader, 2);
    } else if (reader->chroma_rows) {
        read_chroma(reader);
    }
}
