/* residual_block_cabac(): clause 7.3.5.3.3 with the contexts of 9.3.3.1.1.9 and 9.3.3.1.3. */
#include "macroblock.h"

/* First context per ctxBlockCat (tables 9-34 and 9-40 added up): coded_block_flag,
 * significant_coeff_flag and last_significant_coeff_flag of frame and of field macroblocks,
 * coeff_abs_level_minus1. */
typedef struct {
    uint16_t coded, significant[2], last[2], level;
} category_contexts;

static const category_contexts contexts[14] = {
    {85, {105, 277}, {166, 338}, 227},    {89, {120, 292}, {181, 353}, 237},
    {93, {134, 306}, {195, 367}, 247},    {97, {149, 321}, {210, 382}, 257},
    {101, {152, 324}, {213, 385}, 266},   {1012, {402, 436}, {417, 451}, 426},
    {460, {484, 776}, {572, 864}, 952},   {464, {499, 791}, {587, 879}, 962},
    {468, {513, 805}, {601, 893}, 972},   {1016, {660, 675}, {690, 699}, 708},
    {472, {528, 820}, {616, 908}, 982},   {476, {543, 835}, {631, 923}, 992},
    {480, {557, 849}, {645, 937}, 1002},  {1020, {718, 733}, {748, 757}, 766},
};

static unsigned category_of(block_kind kind, unsigned component)
{
    static const uint8_t of_cb_and_cr[2] = {6, 10};
    if (component == 0 || kind == BLOCK_CHROMA_DC || kind == BLOCK_CHROMA_AC) {
        return kind;
    }
    return of_cb_and_cr[component - 1] + (kind == BLOCK_8X8 ? 3u : (unsigned)kind);
}

static bool read_coded_flag(slice_reader *reader, block_kind kind, unsigned component,
                            unsigned block, unsigned context)
{
    int left;
    int above;
    if (kind == BLOCK_DC_16X16 || kind == BLOCK_CHROMA_DC) {
        left = reader->left[0] ? reader->left[0]->dc_coded >> component & 1 : -1;
        above = reader->above ? reader->above->dc_coded >> component & 1 : -1;
    } else {
        neighbour_coefficients(reader, kind, component, block, &left, &above);
    }
    const int absent = mb_is_intra(reader->mb);
    const bool left_coded = left < 0 ? absent : left > 0;
    const bool above_coded = above < 0 ? absent : above > 0;
    return cabac_bin(&reader->cabac, context + left_coded + 2 * above_coded);
}

/* The significance map; returns the number of coefficients. */
static unsigned read_map(slice_reader *reader, block_kind kind, const category_contexts *c,
                         unsigned size)
{
    cabac_decoder *cabac = &reader->cabac;
    const unsigned field = reader->mb->field || reader->header->field;
    const unsigned repeats = reader->chroma_rows / 2; /* NumC8x8 */
    unsigned count = 0;
    for (unsigned i = 0; i + 1 < size; i++) {
        unsigned significant = i;
        unsigned last = i;
        if (kind == BLOCK_CHROMA_DC) {
            significant = last = i / repeats < 2 ? i / repeats : 2;
        } else if (kind == BLOCK_8X8) {
            significant = cabac_significant_8x8[field][i];
            last = cabac_last_8x8[i];
        }
        if (cabac_bin(cabac, c->significant[field] + significant)) {
            count++;
            if (cabac_bin(cabac, c->last[field] + last)) {
                return count;
            }
        }
    }
    return count + 1; /* the last coefficient needs no flag */
}

static void skip_level_suffix(slice_reader *reader)
{
    unsigned order = 0;
    while (cabac_bypass(&reader->cabac)) {
        if (++order > 24) {
            fail(reader, "a coefficient is too large");
            return;
        }
    }
    while (order-- > 0) {
        cabac_bypass(&reader->cabac);
    }
}

static void skip_levels(slice_reader *reader, unsigned context, unsigned count, bool chroma_dc)
{
    cabac_decoder *cabac = &reader->cabac;
    unsigned ones = 0;
    unsigned larger = 0;
    const unsigned most = chroma_dc ? 3 : 4;
    while (count-- > 0 && !reader->problem) {
        const unsigned first = larger ? 0 : ones < 3 ? 1 + ones : 4;
        if (!cabac_bin(cabac, context + first)) {
            ones++;
        } else {
            const unsigned rest = context + 5 + (larger < most ? larger : most);
            unsigned prefix = 1;
            while (prefix < 14 && cabac_bin(cabac, rest)) {
                prefix++;
            }
            if (prefix == 14) {
                skip_level_suffix(reader);
            }
            larger++;
        }
        cabac_bypass(cabac); /* sign */
    }
}

static void record(mb_state *mb, block_kind kind, unsigned component, unsigned block)
{
    uint8_t *coefficients = &mb->coefficients[component][block];
    if (kind == BLOCK_DC_16X16 || kind == BLOCK_CHROMA_DC) {
        mb->dc_coded |= (uint8_t)(1u << component);
    } else {
        coefficients[0] = 1;
        if (kind == BLOCK_8X8) {
            coefficients[1] = coefficients[4] = coefficients[5] = 1;
        }
    }
}

void cabac_read_block(slice_reader *reader, block_kind kind, unsigned component, unsigned block,
                      unsigned size)
{
    const category_contexts *c = &contexts[category_of(kind, component)];
    /* Outside 4:4:4 the bit of coded_block_pattern says all about an 8x8 block. */
    const bool inferred = kind == BLOCK_8X8 && reader->sps->chroma_format_idc != 3;
    if (!inferred && !read_coded_flag(reader, kind, component, block, c->coded)) {
        return;
    }
    record(reader->mb, kind, component, block);
    const unsigned count = read_map(reader, kind, c, size);
    skip_levels(reader, c->level, count, kind == BLOCK_CHROMA_DC);
}
