/* Which macroblocks lie left of and above the current one: clauses 6.4.8 to 6.4.12. */
#include "macroblock.h"

static const mb_state *if_in_slice(const slice_reader *reader, uint32_t address)
{
    const mb_state *mb = &reader->mbs[address];
    return mb->slice == reader->number ? mb : NULL;
}

static void find_in_uniform_picture(slice_reader *reader)
{
    const uint32_t width = reader->mb_width;
    const uint32_t address = reader->address;
    reader->above = address >= width ? if_in_slice(reader, address - width) : NULL;
    const mb_state *left = address % width ? if_in_slice(reader, address - 1) : NULL;
    for (uint8_t row = 0; row < 4; row++) {
        reader->left[row] = left;
        reader->left_row[row] = row;
        reader->chroma_left[row] = left;
        reader->chroma_left_row[row] = row;
    }
}

/* Table 6-4 for xN < 0. `pair` is the top macroblock of the pair on the left; y and the result
 * count lines in macroblocks of `height` lines. */
static const mb_state *left_in_mbaff(const slice_reader *reader, const mb_state *pair, unsigned y,
                                     unsigned height, unsigned *y_left)
{
    const unsigned bottom = reader->address & 1;
    const bool field = reader->mb->field;
    if (field == pair->field) {
        *y_left = y;
        return pair + bottom;
    }
    if (field) { /* our line y is line 2y + bottom of the frame pair */
        const unsigned line = 2 * y + bottom;
        *y_left = line % height;
        return pair + line / height;
    }
    const unsigned line = y + bottom * height; /* of the pair, whose lines the fields share */
    *y_left = line / 2;
    return pair + line % 2;
}

static const mb_state *above_in_mbaff(const slice_reader *reader)
{
    const uint32_t address = reader->address;
    const bool bottom = address & 1;
    const uint32_t pair = address / 2;
    if (bottom && !reader->mb->field) {
        return &reader->mbs[address - 1];
    }
    if (pair < reader->mb_width) {
        return NULL;
    }
    const uint32_t top = 2 * (pair - reader->mb_width);
    const mb_state *above = if_in_slice(reader, top);
    if (!above) {
        return NULL;
    }
    const bool same_parity_top = reader->mb->field && !bottom && above->field;
    return same_parity_top ? above : above + 1;
}

static void find_in_mbaff_frame(slice_reader *reader)
{
    const uint32_t pair = reader->address / 2;
    const mb_state *left =
        pair % reader->mb_width ? if_in_slice(reader, 2 * (pair - 1)) : NULL;
    reader->above = above_in_mbaff(reader);
    for (unsigned row = 0; row < 4; row++) {
        unsigned y = 0;
        reader->left[row] = left ? left_in_mbaff(reader, left, 4 * row, 16, &y) : NULL;
        reader->left_row[row] = (uint8_t)(y / 4);
    }
    for (unsigned row = 0; row < reader->chroma_rows; row++) {
        unsigned y = 0;
        reader->chroma_left[row] =
            left ? left_in_mbaff(reader, left, 4 * row, 4 * reader->chroma_rows, &y) : NULL;
        reader->chroma_left_row[row] = (uint8_t)(y / 4);
    }
}

void find_neighbours(slice_reader *reader)
{
    if (reader->header->mbaff) {
        find_in_mbaff_frame(reader);
    } else {
        find_in_uniform_picture(reader);
    }
}

static int count_at(const mb_state *mb, block_kind kind, unsigned component, unsigned block)
{
    if (!mb) {
        return -1;
    }
    /* An 8x8 block's coded_block_flag looks at 8x8 blocks only (clause 9.3.3.1.1.9). */
    if (kind == BLOCK_8X8 && !mb->transform_8x8 && mb->kind != MB_PCM) {
        return 0;
    }
    return mb->coefficients[component][block];
}

void neighbour_coefficients(const slice_reader *reader, block_kind kind, unsigned component,
                            unsigned block, int *left, int *above)
{
    const unsigned x = block % 4;
    const unsigned y = block / 4;
    const bool chroma = kind == BLOCK_CHROMA_AC;
    if (x > 0) {
        *left = reader->mb->coefficients[component][block - 1];
    } else {
        const mb_state *mb = chroma ? reader->chroma_left[y] : reader->left[y];
        const unsigned row = chroma ? reader->chroma_left_row[y] : reader->left_row[y];
        *left = count_at(mb, kind, component, 4 * row + (chroma ? 1 : 3));
    }
    if (y > 0) {
        *above = reader->mb->coefficients[component][block - 4];
    } else {
        const unsigned last_row = chroma ? reader->chroma_rows - 1 : 3;
        *above = count_at(reader->above, kind, component, 4 * last_row + x);
    }
}
