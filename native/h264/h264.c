#include "h264.h"

#include "macroblock.h"
#include "order.h"

#include <stdlib.h>
#include <string.h>

struct idse_h264_parser {
    sps_t spss[MAX_SPS];
    pps_t ppss[MAX_PPS];
    order_state order;

    uint8_t *rbsp;
    size_t rbsp_capacity;

    bool open; /* slices of a picture have been read */
    bool second_field;
    slice_header header; /* of the last slice */
    uint32_t slices;     /* of the current frame or field */
    idse_h264_picture picture;
    size_t mb_capacity;
    mb_state *mbs;
    int8_t *qp;
    uint8_t *flags;
    int32_t *bits;

    slice_reader reader;
    const char *problem;
    int64_t problem_macroblock;
};

int idse_h264_abi(void)
{
    return 2;
}

idse_h264_parser *idse_h264_open(void)
{
    idse_h264_parser *parser = calloc(1, sizeof(*parser));
    if (parser) {
        parser->problem = "";
        parser->problem_macroblock = -1;
    }
    return parser;
}

static void free_macroblocks(idse_h264_parser *parser)
{
    free(parser->mbs);
    free(parser->qp);
    free(parser->flags);
    free(parser->bits);
    parser->mbs = NULL;
    parser->qp = NULL;
    parser->flags = NULL;
    parser->bits = NULL;
    parser->mb_capacity = 0;
}

void idse_h264_close(idse_h264_parser *parser)
{
    if (parser) {
        free_macroblocks(parser);
        free(parser->rbsp);
        free(parser);
    }
}

const char *idse_h264_problem(const idse_h264_parser *parser)
{
    return parser->problem;
}

int64_t idse_h264_problem_macroblock(const idse_h264_parser *parser)
{
    return parser->problem_macroblock;
}

void idse_h264_fetch(const idse_h264_parser *parser, idse_h264_picture *picture)
{
    *picture = parser->picture;
}

static int stop(idse_h264_parser *parser, int status, const char *problem)
{
    parser->problem = problem;
    return status;
}

static int reserve_macroblocks(idse_h264_parser *parser, size_t count)
{
    if (parser->mb_capacity != count) {
        free_macroblocks(parser);
        parser->mbs = calloc(count, sizeof(*parser->mbs));
        parser->qp = calloc(count, sizeof(*parser->qp));
        parser->flags = calloc(count, sizeof(*parser->flags));
        parser->bits = calloc(count, sizeof(*parser->bits));
        if (!parser->mbs || !parser->qp || !parser->flags || !parser->bits) {
            free_macroblocks(parser);
            return stop(parser, IDSE_H264_NO_MEMORY, "out of memory");
        }
        parser->mb_capacity = count;
    }
    return IDSE_H264_DONE;
}

/* Whether `slice` starts another frame or field than the slice before it: clause 7.4.1.2.4. */
static bool starts_picture(const slice_header *before, const slice_header *slice)
{
    const bool idr = slice->nal_unit_type == NAL_IDR;
    return before->frame_num != slice->frame_num || before->pps_id != slice->pps_id ||
           before->field != slice->field || before->bottom != slice->bottom ||
           (before->nal_ref_idc == 0) != (slice->nal_ref_idc == 0) ||
           (before->nal_unit_type == NAL_IDR) != idr ||
           (idr && before->idr_pic_id != slice->idr_pic_id) ||
           before->poc_lsb != slice->poc_lsb ||
           before->delta_poc_bottom != slice->delta_poc_bottom ||
           before->delta_poc[0] != slice->delta_poc[0] ||
           before->delta_poc[1] != slice->delta_poc[1];
}

static bool is_second_field(const idse_h264_parser *parser, const slice_header *slice)
{
    const slice_header *first = &parser->header;
    return !parser->second_field && first->field && slice->field &&
           first->bottom != slice->bottom && first->frame_num == slice->frame_num &&
           slice->nal_unit_type != NAL_IDR;
}

/* Checks that every macroblock was read and hands the picture over. */
static int finish_picture(idse_h264_parser *parser)
{
    parser->open = false;
    for (size_t i = 0; i < parser->mb_capacity; i++) {
        if (!(parser->flags[i] & MB_PRESENT)) {
            parser->problem_macroblock = (int64_t)i;
            return stop(parser, IDSE_H264_DAMAGED,
                        parser->header.field && !parser->second_field
                            ? "a field lacks its partner"
                            : "a picture lacks macroblocks: slices are missing");
        }
    }
    return IDSE_H264_PICTURE;
}

static int begin_picture(idse_h264_parser *parser, const sps_t *sps, const slice_header *slice,
                         int64_t tag)
{
    const int status =
        reserve_macroblocks(parser, (size_t)sps->mb_width * sps->frame_mb_height);
    if (status) {
        return status;
    }
    memset(parser->flags, 0, parser->mb_capacity);
    parser->picture = (idse_h264_picture){
        .tag = tag,
        .order = INT64_MAX,
        .mb_width = sps->mb_width,
        .mb_height = sps->frame_mb_height,
        .structure = slice->field    ? IDSE_H264_FIELDS
                     : slice->mbaff ? IDSE_H264_MBAFF
                                    : IDSE_H264_FRAME,
        .bit_depth = sps->bit_depth_luma,
        .qp = parser->qp,
        .flags = parser->flags,
        .bits = parser->bits,
    };
    parser->open = true;
    parser->second_field = false;
    return IDSE_H264_DONE;
}

/* Starts a frame or field; IDSE_H264_PICTURE where one has to be handed over first. */
static int begin_frame_or_field(idse_h264_parser *parser, const sps_t *sps,
                                const slice_header *slice, int64_t tag)
{
    if (parser->open && is_second_field(parser, slice)) {
        parser->second_field = true;
    } else if (parser->open) {
        return finish_picture(parser);
    } else {
        const int status = begin_picture(parser, sps, slice, tag);
        if (status) {
            return status;
        }
    }
    for (size_t i = 0; i < parser->mb_capacity; i++) {
        parser->mbs[i].slice = 0;
    }
    parser->slices = 0;
    const int64_t order = order_next(&parser->order, sps, slice);
    if (order < parser->picture.order) {
        parser->picture.order = order;
    }
    return IDSE_H264_DONE;
}

static int read_slice_data(idse_h264_parser *parser, const bit_reader *bits, const sps_t *sps,
                           const pps_t *pps)
{
    const slice_header *slice = &parser->header;
    idse_h264_picture *picture = &parser->picture;
    if (picture->mb_width != sps->mb_width || picture->mb_height != sps->frame_mb_height) {
        return stop(parser, IDSE_H264_DAMAGED, "the picture size changes inside a picture");
    }
    static const uint8_t type_bits[3] = {
        [SLICE_P] = IDSE_H264_P, [SLICE_B] = IDSE_H264_B, [SLICE_I] = IDSE_H264_I};
    picture->slice_types |= type_bits[slice->type];
    slice_reader *reader = &parser->reader;
    reader->sps = sps;
    reader->pps = pps;
    reader->header = slice;
    reader->bits = *bits;
    reader->mbs = parser->mbs;
    reader->mb_width = sps->mb_width;
    reader->mb_count = (uint32_t)parser->mb_capacity >> slice->field;
    reader->number = ++parser->slices;
    const mb_output output = {
        .qp = parser->qp,
        .flags = parser->flags,
        .bits = parser->bits,
        .mb_width = sps->mb_width,
        .field = slice->field,
        .bottom = slice->bottom,
        .mbaff = slice->mbaff,
    };
    if (!slice_data_read(reader, &output)) {
        parser->problem_macroblock = reader->address;
        return stop(parser, IDSE_H264_DAMAGED, reader->problem);
    }
    return IDSE_H264_DONE;
}

static int read_slice(idse_h264_parser *parser, bit_reader *bits, unsigned nal_header, int64_t tag)
{
    slice_header slice;
    const char *problem =
        slice_header_parse(bits, nal_header, parser->spss, parser->ppss, &slice);
    if (problem) {
        return stop(parser, slice.unsupported ? IDSE_H264_UNSUPPORTED : IDSE_H264_DAMAGED, problem);
    }
    if (slice.redundant_pic_cnt > 0) { /* a second coding of what was there already */
        return IDSE_H264_DONE;
    }
    const pps_t *pps = &parser->ppss[slice.pps_id];
    const sps_t *sps = &parser->spss[pps->sps_id];
    if (!parser->open || starts_picture(&parser->header, &slice)) {
        const int status = begin_frame_or_field(parser, sps, &slice, tag);
        if (status) {
            return status;
        }
    }
    parser->header = slice;
    return read_slice_data(parser, bits, sps, pps);
}

static int read_sps(idse_h264_parser *parser, bit_reader *bits)
{
    sps_t sps;
    uint32_t id;
    const char *problem = sps_parse(bits, &sps, &id);
    if (problem) {
        return stop(parser, IDSE_H264_DAMAGED, problem);
    }
    parser->spss[id] = sps;
    return IDSE_H264_DONE;
}

static int read_pps(idse_h264_parser *parser, bit_reader *bits)
{
    pps_t pps;
    uint32_t id;
    const char *problem = pps_parse(bits, &pps, &id);
    if (problem) {
        return stop(parser, IDSE_H264_DAMAGED, problem);
    }
    parser->ppss[id] = pps;
    return IDSE_H264_DONE;
}

static int read_nal(idse_h264_parser *parser, const uint8_t *nal, size_t size, int64_t tag)
{
    const unsigned type = size ? nal[0] & 31 : 0;
    const bool is_slice = type >= NAL_SLICE && type <= NAL_IDR;
    const bool wanted = is_slice || type == NAL_SPS || type == NAL_PPS;
    if (!wanted) {
        return IDSE_H264_DONE;
    }
    if (nal[0] & 0x80) {
        return stop(parser, IDSE_H264_DAMAGED, "forbidden_zero_bit is set");
    }
    if (type >= NAL_PARTITION_A && type <= NAL_PARTITION_C) {
        return stop(parser, IDSE_H264_UNSUPPORTED,
                    "data partitioning (Extended profile) is not supported");
    }
    if (parser->rbsp_capacity < size) {
        uint8_t *grown = realloc(parser->rbsp, size);
        if (!grown) {
            return stop(parser, IDSE_H264_NO_MEMORY, "out of memory");
        }
        parser->rbsp = grown;
        parser->rbsp_capacity = size;
    }
    bit_reader bits;
    if (!bits_open(&bits, parser->rbsp, nal_unescape(parser->rbsp, nal + 1, size - 1))) {
        return stop(parser, IDSE_H264_DAMAGED, "a NAL unit is empty");
    }
    return type == NAL_SPS   ? read_sps(parser, &bits)
           : type == NAL_PPS ? read_pps(parser, &bits)
                             : read_slice(parser, &bits, nal[0], tag);
}

/* Position of the next 00 00 01 at or behind `from`, `size` where there is none. */
static size_t find_start_code(const uint8_t *data, size_t size, size_t from)
{
    while (size - from >= 3) {
        const uint8_t *one = memchr(data + from + 2, 1, size - from - 2);
        if (!one) {
            return size;
        }
        const size_t start = (size_t)(one - data) - 2;
        if (data[start] == 0 && data[start + 1] == 0) {
            return start;
        }
        from = start + 1;
    }
    return size;
}

/* Finds the unit at or behind `offset`: its first byte and the byte behind it. False at a unit that
 * is cut off. At the end of the data both are `size`. */
static bool find_nal(const uint8_t *data, size_t size, unsigned length_size, size_t offset,
                     size_t *start, size_t *end)
{
    if (length_size == 0) {
        const size_t code = find_start_code(data, size, offset);
        *start = code == size ? size : code + 3;
        *end = find_start_code(data, size, *start);
        return true;
    }
    if (size - offset < length_size) {
        *start = *end = size;
        return size == offset;
    }
    size_t length = 0;
    for (unsigned i = 0; i < length_size; i++) {
        length = length << 8 | data[offset + i];
    }
    *start = offset + length_size;
    *end = *start + length;
    return length <= size - *start;
}

int idse_h264_read(idse_h264_parser *parser, const uint8_t *data, size_t size,
                   unsigned length_size, int64_t tag, size_t *offset)
{
    if (length_size > 4 || *offset > size) {
        return stop(parser, IDSE_H264_DAMAGED, "the length of NAL units has an impossible size");
    }
    while (*offset < size) {
        size_t start;
        size_t end;
        if (!find_nal(data, size, length_size, *offset, &start, &end)) {
            return stop(parser, IDSE_H264_DAMAGED, "a NAL unit is cut off");
        }
        const int status = read_nal(parser, data + start, end - start, tag);
        if (status) {
            return status;
        }
        *offset = end;
    }
    return IDSE_H264_DONE;
}

int idse_h264_flush(idse_h264_parser *parser)
{
    return parser->open ? finish_picture(parser) : IDSE_H264_DONE;
}
