/* macroblock_layer(): clause 7.3.5, for both entropy coders. */
#include "macroblock.h"

#include <string.h>

enum { LIST_0 = 1, LIST_1 = 2, LISTS_BOTH = 3 };
enum { SHAPE_16X16, SHAPE_16X8, SHAPE_8X16, SHAPE_8X8 };

/* How a macroblock or, half as large, a sub-macroblock is split, and the lists each part uses. */
typedef struct {
    uint8_t shape;
    uint8_t lists[2];
} prediction;

/* Table 7-14, mb_type 1 to 21. */
static const prediction b_types[21] = {
    {SHAPE_16X16, {LIST_0, 0}},          {SHAPE_16X16, {LIST_1, 0}},
    {SHAPE_16X16, {LISTS_BOTH, 0}},      {SHAPE_16X8, {LIST_0, LIST_0}},
    {SHAPE_8X16, {LIST_0, LIST_0}},      {SHAPE_16X8, {LIST_1, LIST_1}},
    {SHAPE_8X16, {LIST_1, LIST_1}},      {SHAPE_16X8, {LIST_0, LIST_1}},
    {SHAPE_8X16, {LIST_0, LIST_1}},      {SHAPE_16X8, {LIST_1, LIST_0}},
    {SHAPE_8X16, {LIST_1, LIST_0}},      {SHAPE_16X8, {LIST_0, LISTS_BOTH}},
    {SHAPE_8X16, {LIST_0, LISTS_BOTH}},  {SHAPE_16X8, {LIST_1, LISTS_BOTH}},
    {SHAPE_8X16, {LIST_1, LISTS_BOTH}},  {SHAPE_16X8, {LISTS_BOTH, LIST_0}},
    {SHAPE_8X16, {LISTS_BOTH, LIST_0}},  {SHAPE_16X8, {LISTS_BOTH, LIST_1}},
    {SHAPE_8X16, {LISTS_BOTH, LIST_1}},  {SHAPE_16X8, {LISTS_BOTH, LISTS_BOTH}},
    {SHAPE_8X16, {LISTS_BOTH, LISTS_BOTH}},
};

/* Table 7-18: the split of an 8x8 block (named as its double) and its lists; 0 is direct. */
static const prediction b_sub_types[13] = {
    {SHAPE_8X8, {0, 0}},          {SHAPE_16X16, {LIST_0, 0}},  {SHAPE_16X16, {LIST_1, 0}},
    {SHAPE_16X16, {LISTS_BOTH, 0}}, {SHAPE_16X8, {LIST_0, 0}}, {SHAPE_8X16, {LIST_0, 0}},
    {SHAPE_16X8, {LIST_1, 0}},    {SHAPE_8X16, {LIST_1, 0}},   {SHAPE_16X8, {LISTS_BOTH, 0}},
    {SHAPE_8X16, {LISTS_BOTH, 0}}, {SHAPE_8X8, {LIST_0, 0}},   {SHAPE_8X8, {LIST_1, 0}},
    {SHAPE_8X8, {LISTS_BOTH, 0}},
};

/* Parts of each shape: count, width and height relative to the whole as shifts. */
static const struct {
    uint8_t count, x_shift, y_shift;
} shapes[4] = {{1, 0, 0}, {2, 0, 1}, {2, 1, 0}, {4, 1, 1}};

static unsigned active_references(const slice_reader *reader, unsigned list)
{
    return (unsigned)reader->header->num_ref_idx[list] << reader->mb->field;
}

static unsigned read_ref_idx(slice_reader *reader, unsigned list, unsigned block8)
{
    const unsigned count = active_references(reader, list);
    if (count <= 1) {
        return 0;
    }
    const unsigned value = reader->pps->cabac ? cabac_read_ref_idx(reader, list, block8)
                                              : cavlc_read_ref_idx(reader, count);
    if (value >= count) {
        fail(reader, "a reference index is outside its list");
    }
    return value;
}

/* Reads the vector of a part at (x, y) of `width` x `height`, all in 4x4 blocks. */
static void read_vector(slice_reader *reader, unsigned list, unsigned x, unsigned y,
                        unsigned width, unsigned height)
{
    if (reader->problem) {
        return;
    }
    if (!reader->pps->cabac) {
        bits_se(&reader->bits);
        bits_se(&reader->bits);
        return;
    }
    for (unsigned component = 0; component < 2; component++) {
        const unsigned value = cabac_read_mvd(reader, list, 4 * y + x, component);
        for (unsigned i = 0; i < width * height; i++) {
            const unsigned block = 4 * (y + i / width) + x + i % width;
            reader->mb->mvd[list][block][component] = (uint8_t)(value < 255 ? value : 255);
        }
    }
}

/* mb_pred() of an inter macroblock in one or two parts. */
static void read_parts(slice_reader *reader, const prediction *type)
{
    const unsigned width = 4u >> shapes[type->shape].x_shift;
    const unsigned height = 4u >> shapes[type->shape].y_shift;
    const unsigned count = shapes[type->shape].count;
    for (unsigned list = 0; list < 2; list++) {
        for (unsigned part = 0; part < count; part++) {
            if (type->lists[part] >> list & 1) {
                const unsigned x = width == 4 ? 0 : part;
                const unsigned y = width == 4 ? part : 0;
                const unsigned value = read_ref_idx(reader, list, 2 * y + x);
                for (unsigned i = 0; i < width * height / 4; i++) {
                    const unsigned block8 = 2 * (y + i / (width / 2)) + x + i % (width / 2);
                    reader->mb->ref_idx[list][block8] = (uint8_t)value;
                }
            }
        }
    }
    for (unsigned list = 0; list < 2; list++) {
        for (unsigned part = 0; part < count; part++) {
            if (type->lists[part] >> list & 1) {
                read_vector(reader, list, width == 4 ? 0 : 2 * part, width == 4 ? 2 * part : 0,
                            width, height);
            }
        }
    }
}

static unsigned read_sub_type(slice_reader *reader)
{
    return reader->pps->cabac ? cabac_read_sub_type(reader) : bits_ue(&reader->bits);
}

/* sub_mb_pred(). Returns whether an 8x8 transform is possible. */
static bool read_sub_macroblocks(slice_reader *reader, bool all_reference_zero)
{
    static const prediction p_sub_types[4] = {
        {SHAPE_16X16, {LIST_0, 0}}, {SHAPE_16X8, {LIST_0, 0}},
        {SHAPE_8X16, {LIST_0, 0}},  {SHAPE_8X8, {LIST_0, 0}}};
    const bool is_b = reader->header->type == SLICE_B;
    const prediction *types[4];
    bool transform_8x8 = true;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned value = read_sub_type(reader);
        if (value > (is_b ? 12 : 3)) {
            fail(reader, "sub_mb_type is out of range");
            return false;
        }
        types[i] = is_b ? &b_sub_types[value] : &p_sub_types[value];
        const bool direct = types[i]->lists[0] == 0;
        transform_8x8 &= direct ? reader->sps->direct_8x8_inference
                                : types[i]->shape == SHAPE_16X16;
    }
    for (unsigned list = 0; list < 2; list++) {
        for (unsigned i = 0; i < 4; i++) {
            if (types[i]->lists[0] >> list & 1 && !all_reference_zero) {
                reader->mb->ref_idx[list][i] = (uint8_t)read_ref_idx(reader, list, i);
            }
        }
    }
    for (unsigned list = 0; list < 2; list++) {
        for (unsigned i = 0; i < 4; i++) {
            if (!(types[i]->lists[0] >> list & 1)) {
                continue;
            }
            const unsigned shape = types[i]->shape;
            const unsigned width = 2u >> shapes[shape].x_shift;
            const unsigned height = 2u >> shapes[shape].y_shift;
            for (unsigned part = 0; part < shapes[shape].count; part++) {
                const unsigned across = 2 / width;
                read_vector(reader, list, 2 * (i % 2) + width * (part % across),
                            2 * (i / 2) + height * (part / across), width, height);
            }
        }
    }
    return transform_8x8;
}

static bool read_transform_flag(slice_reader *reader)
{
    return reader->pps->cabac ? cabac_read_transform_8x8(reader) : bits_flag(&reader->bits);
}

/* Prediction of an intra macroblock with samples to predict (not I_PCM). */
static void read_intra_prediction(slice_reader *reader)
{
    mb_state *mb = reader->mb;
    if (mb->kind == MB_INTRA_NXN) {
        mb->transform_8x8 = reader->pps->transform_8x8_mode && read_transform_flag(reader);
        const unsigned count = mb->transform_8x8 ? 4 : 16;
        if (reader->pps->cabac) {
            cabac_skip_intra_modes(reader, count);
        } else {
            cavlc_skip_intra_modes(reader, count);
        }
    }
    if (reader->chroma_rows) {
        const uint32_t mode =
            reader->pps->cabac ? cabac_read_chroma_mode(reader) : bits_ue(&reader->bits);
        if (mode > 3) {
            fail(reader, "intra_chroma_pred_mode is out of range");
        }
        mb->intra_chroma_mode = mode & 3;
    }
}

static void read_pcm(slice_reader *reader)
{
    mb_state *mb = reader->mb;
    bit_reader *bits = &reader->bits;
    const sps_t *sps = reader->sps;
    if (reader->pps->cabac) {
        bits->position = 0;
        bits_skip(bits, cabac_position(&reader->cabac));
    }
    bits_skip(bits, (8 - bits->position % 8) % 8);
    const size_t chroma_blocks = sps->chroma_format_idc == 3 ? 32 : 4 * reader->chroma_rows;
    bits_skip(bits, (size_t)256 * sps->bit_depth_luma + 16 * chroma_blocks * sps->bit_depth_chroma);
    if (reader->pps->cabac) {
        cabac_start(&reader->cabac, bits->data, bits->size_bits / 8 + 1, bits->position / 8);
    }
    mb->cbp = 0x2f;
    mb->dc_coded = 7;
    memset(mb->coefficients, 16, sizeof(mb->coefficients));
}

static void read_delta_qp(slice_reader *reader)
{
    const int offset = 6 * (reader->sps->bit_depth_luma - 8);
    const int32_t delta =
        reader->pps->cabac ? cabac_read_delta_qp(reader) : bits_se(&reader->bits);
    if (delta < -(26 + offset / 2) || delta > 25 + offset / 2) {
        fail(reader, "mb_qp_delta is out of range");
        return;
    }
    reader->qp = (reader->qp + delta + 52 + 2 * offset) % (52 + offset) - offset;
    reader->delta_qp_before = delta != 0;
    reader->has_delta_qp = true;
}

/* mb_type of an intra macroblock, table 7-11. */
static void set_intra_type(slice_reader *reader, unsigned type)
{
    mb_state *mb = reader->mb;
    if (type > 25) {
        fail(reader, "mb_type is out of range");
    } else if (type == 0 || type == 25) {
        mb->kind = type ? MB_PCM : MB_INTRA_NXN;
    } else {
        mb->kind = MB_INTRA_16X16;
        mb->cbp = (uint8_t)((type - 1) / 4 % 3 << 4 | (type >= 13 ? 15 : 0));
    }
}

/* Inter prediction of mb_type `type`. Returns whether an 8x8 transform is possible. */
static bool read_inter_prediction(slice_reader *reader, unsigned type)
{
    static const prediction p_types[3] = {{SHAPE_16X16, {LIST_0, 0}},
                                          {SHAPE_16X8, {LIST_0, LIST_0}},
                                          {SHAPE_8X16, {LIST_0, LIST_0}}};
    const bool is_b = reader->header->type == SLICE_B;
    if (is_b && type == 0) {
        reader->mb->kind = MB_DIRECT;
        return reader->sps->direct_8x8_inference;
    }
    reader->mb->kind = MB_INTER;
    if (type >= (is_b ? 22 : 3)) {
        return read_sub_macroblocks(reader, !is_b && type == 4);
    }
    read_parts(reader, is_b ? &b_types[type - 1] : &p_types[type]);
    return true;
}

void macroblock_read(slice_reader *reader)
{
    static const uint8_t first_intra[3] = {[SLICE_P] = 5, [SLICE_B] = 23, [SLICE_I] = 0};
    mb_state *mb = reader->mb;
    const uint32_t type =
        reader->pps->cabac ? cabac_read_mb_type(reader) : bits_ue(&reader->bits);
    const unsigned intra = first_intra[reader->header->type];
    bool transform_8x8 = false;
    if (type >= intra) {
        set_intra_type(reader, type - intra);
        if (reader->problem) {
            return;
        }
        if (mb->kind == MB_PCM) {
            read_pcm(reader);
            reader->delta_qp_before = false;
            return;
        }
        read_intra_prediction(reader);
    } else {
        transform_8x8 = read_inter_prediction(reader, type);
    }
    if (mb->kind != MB_INTRA_16X16 && !reader->problem) {
        mb->cbp = (uint8_t)(reader->pps->cabac ? cabac_read_cbp(reader) : cavlc_read_cbp(reader));
        if (transform_8x8 && mb->cbp & 15 && reader->pps->transform_8x8_mode) {
            mb->transform_8x8 = read_transform_flag(reader);
        }
    }
    reader->delta_qp_before &= mb->cbp != 0 || mb->kind == MB_INTRA_16X16;
    if ((mb->cbp || mb->kind == MB_INTRA_16X16) && !reader->problem) {
        read_delta_qp(reader);
        residual_read(reader);
    }
}
