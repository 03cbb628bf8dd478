#include "shim_errors.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS_A_CALL = 16 };

struct idse_jpeg_reader {
    idse_errors errors;
    struct jpeg_decompress_struct cinfo;
    struct jpeg_progress_mgr progress;
    const uint8_t *data;
    size_t size;
    uint64_t max_pixels;
    idse_jpeg_header *header;
    int32_t colour;
    int fresh; /* the header is read, and nothing beyond it */
};

static idse_jpeg_reader *reader_of(j_common_ptr cinfo)
{
    return (idse_jpeg_reader *)((char *)cinfo - offsetof(idse_jpeg_reader, cinfo));
}

/* libjpeg calls this for every row of MCUs. */
static void watch_scans(j_common_ptr cinfo)
{
    idse_jpeg_reader *reader = reader_of(cinfo);
    if (reader->cinfo.input_scan_number > IDSE_JPEG_MAX_SCANS) {
        idse_fail(&reader->errors, IDSE_JPEG_LIMIT, "more than %d scans", IDSE_JPEG_MAX_SCANS);
    }
}

static void check_kind(idse_jpeg_reader *reader)
{
    const struct jpeg_decompress_struct *cinfo = &reader->cinfo;
    idse_errors *errors = &reader->errors;
    if (cinfo->arith_code) {
        idse_fail(errors, IDSE_JPEG_UNSUPPORTED, "arithmetic-coded JPEG");
    }
    switch (cinfo->jpeg_color_space) {
    case JCS_GRAYSCALE:
        reader->colour = IDSE_JPEG_GREY;
        return;
    case JCS_YCbCr:
        reader->colour = IDSE_JPEG_YCC;
        return;
    case JCS_RGB:
        reader->colour = IDSE_JPEG_RGB;
        return;
    case JCS_CMYK:
        idse_fail(errors, IDSE_JPEG_UNSUPPORTED, "CMYK JPEG");
    case JCS_YCCK:
        idse_fail(errors, IDSE_JPEG_UNSUPPORTED, "YCCK (CMYK) JPEG");
    default:
        idse_fail(errors, IDSE_JPEG_UNSUPPORTED, "JPEG of %d components of unknown colours",
                  cinfo->num_components);
    }
}

static void check_size(idse_jpeg_reader *reader)
{
    const struct jpeg_decompress_struct *cinfo = &reader->cinfo;
    uint64_t pixels = (uint64_t)cinfo->image_width * cinfo->image_height;
    if (pixels > reader->max_pixels) {
        idse_fail(&reader->errors, IDSE_JPEG_LIMIT,
                  "%ux%u pixels are more than max_pixels, %llu", cinfo->image_width,
                  cinfo->image_height, (unsigned long long)reader->max_pixels);
    }
    /* Every block has a Huffman code for its DC, of one bit at least: what claims more blocks than
     * the file has bits is refused before memory is spent on it. */
    uint64_t blocks = 0;
    for (int i = 0; i < cinfo->num_components; i++) {
        const jpeg_component_info *component = &cinfo->comp_info[i];
        blocks += (uint64_t)component->width_in_blocks * component->height_in_blocks;
    }
    if (blocks / 8 > reader->size) {
        idse_fail(&reader->errors, IDSE_JPEG_DAMAGED,
                  "%zu bytes cannot hold the %llu blocks of %ux%u pixels", reader->size,
                  (unsigned long long)blocks, cinfo->image_width, cinfo->image_height);
    }
}

static void fill_header(idse_jpeg_reader *reader)
{
    const struct jpeg_decompress_struct *cinfo = &reader->cinfo;
    idse_jpeg_header *header = reader->header;
    header->width = (int32_t)cinfo->image_width;
    header->height = (int32_t)cinfo->image_height;
    header->components = cinfo->num_components;
    header->colour = reader->colour;
    for (int i = 0; i < cinfo->num_components; i++) {
        const jpeg_component_info *component = &cinfo->comp_info[i];
        header->horizontal[i] = component->h_samp_factor;
        header->vertical[i] = component->v_samp_factor;
        header->rows[i] = (int32_t)component->height_in_blocks;
        header->columns[i] = (int32_t)component->width_in_blocks;
    }
    header->progressive = cinfo->progressive_mode;
    header->restart_interval = (int32_t)cinfo->restart_interval;
    header->markers = 0;
    for (jpeg_saved_marker_ptr m = cinfo->marker_list; m; m = m->next) {
        header->markers++;
    }
}

static void read_header(void *context)
{
    idse_jpeg_reader *reader = context;
    struct jpeg_decompress_struct *cinfo = &reader->cinfo;
    jpeg_create_decompress(cinfo);
    jpeg_mem_src(cinfo, reader->data, (unsigned long)reader->size);
    jpeg_save_markers(cinfo, JPEG_COM, 0xFFFF);
    for (int i = 0; i < 16; i++) {
        jpeg_save_markers(cinfo, JPEG_APP0 + i, 0xFFFF);
    }
    jpeg_read_header(cinfo, TRUE);
    check_kind(reader);
    check_size(reader);
    fill_header(reader);
    reader->progress.progress_monitor = watch_scans;
    cinfo->progress = &reader->progress;
    reader->fresh = 1;
}

idse_jpeg_reader *idse_jpeg_open(const uint8_t *data, size_t size, uint64_t max_pixels,
                                 idse_jpeg_header *header, int *status)
{
    idse_jpeg_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        return NULL;
    }
    reader->cinfo.err = idse_errors_init(&reader->errors);
    reader->data = data;
    reader->size = size;
    reader->max_pixels = max_pixels;
    reader->header = header;
    *status = idse_guard(&reader->errors, read_header, reader);
    reader->header = NULL; /* the caller's, for this call only */
    return reader;
}

void idse_jpeg_close(idse_jpeg_reader *reader)
{
    if (reader) {
        jpeg_destroy_decompress(&reader->cinfo);
        free(reader);
    }
}

const char *idse_jpeg_problem(const idse_jpeg_reader *reader)
{
    return reader->errors.message;
}

int idse_jpeg_get_marker(idse_jpeg_reader *reader, int32_t index, idse_jpeg_marker *marker)
{
    jpeg_saved_marker_ptr found = reader->cinfo.marker_list;
    for (int32_t i = 0; found && i < index; i++) {
        found = found->next;
    }
    if (!found || index < 0) {
        return IDSE_JPEG_REFUSED;
    }
    marker->code = found->marker;
    marker->size = found->data_length;
    marker->data = found->data;
    return IDSE_JPEG_OK;
}

static void begin(idse_jpeg_reader *reader)
{
    if (!reader->fresh) {
        idse_fail(&reader->errors, IDSE_JPEG_REFUSED, "the reader has been read already");
    }
    reader->fresh = 0;
}

/* A component without any scan has no table, and nothing of it was in the file. */
static void check_tables(idse_jpeg_reader *reader)
{
    for (int i = 0; i < reader->cinfo.num_components; i++) {
        const JQUANT_TBL *table = reader->cinfo.comp_info[i].quant_table;
        if (!table) {
            idse_fail(&reader->errors, IDSE_JPEG_DAMAGED, "no scan holds component %d", i);
        }
        for (int k = 0; k < IDSE_JPEG_BLOCK; k++) {
            if (!table->quantval[k]) {
                idse_fail(&reader->errors, IDSE_JPEG_DAMAGED,
                          "the quantisation table of component %d holds 0", i);
            }
        }
    }
}

typedef struct {
    idse_jpeg_reader *reader;
    int16_t *const *coefficients;
    uint16_t (*tables)[IDSE_JPEG_BLOCK];
} coefficient_request;

static void read_coefficients(void *context)
{
    const coefficient_request *request = context;
    struct jpeg_decompress_struct *cinfo = &request->reader->cinfo;
    begin(request->reader);
    jvirt_barray_ptr *arrays = jpeg_read_coefficients(cinfo);
    check_tables(request->reader);
    for (int i = 0; i < cinfo->num_components; i++) {
        const jpeg_component_info *component = &cinfo->comp_info[i];
        size_t row_size = (size_t)component->width_in_blocks * IDSE_JPEG_BLOCK;
        for (JDIMENSION row = 0; row < component->height_in_blocks; row++) {
            JBLOCKARRAY blocks = cinfo->mem->access_virt_barray((j_common_ptr)cinfo, arrays[i], row,
                                                                1, FALSE);
            memcpy(request->coefficients[i] + row * row_size, blocks[0],
                   row_size * sizeof(int16_t));
        }
        memcpy(request->tables[i], component->quant_table->quantval, sizeof request->tables[i]);
    }
    jpeg_finish_decompress(cinfo);
}

int idse_jpeg_read_coefficients(idse_jpeg_reader *reader,
                                int16_t *const coefficients[IDSE_JPEG_COMPONENTS],
                                uint16_t tables[IDSE_JPEG_COMPONENTS][IDSE_JPEG_BLOCK])
{
    coefficient_request request = {reader, coefficients, tables};
    return idse_guard(&reader->errors, read_coefficients, &request);
}

typedef struct {
    idse_jpeg_reader *reader;
    int32_t colour;
    uint8_t *pixels;
} pixel_request;

static J_COLOR_SPACE output_space(const pixel_request *request)
{
    switch (request->colour) {
    case IDSE_JPEG_GREY:
        return JCS_GRAYSCALE;
    case IDSE_JPEG_RGB:
        return JCS_RGB;
    case IDSE_JPEG_YCC:
        if (request->reader->colour == IDSE_JPEG_YCC) {
            return JCS_YCbCr;
        }
        idse_fail(&request->reader->errors, IDSE_JPEG_REFUSED, "it is not coded as Y'CbCr");
    default:
        idse_fail(&request->reader->errors, IDSE_JPEG_REFUSED, "colour %d is unknown",
                  (int)request->colour);
    }
}

static void read_pixels(void *context)
{
    const pixel_request *request = context;
    struct jpeg_decompress_struct *cinfo = &request->reader->cinfo;
    begin(request->reader);
    cinfo->out_color_space = output_space(request);
    jpeg_start_decompress(cinfo);
    check_tables(request->reader);
    size_t stride = (size_t)cinfo->output_width * (size_t)cinfo->output_components;
    while (cinfo->output_scanline < cinfo->output_height) {
        JSAMPROW rows[ROWS_A_CALL];
        JDIMENSION count = cinfo->output_height - cinfo->output_scanline;
        count = count < ROWS_A_CALL ? count : ROWS_A_CALL;
        for (JDIMENSION i = 0; i < count; i++) {
            rows[i] = request->pixels + (cinfo->output_scanline + i) * stride;
        }
        jpeg_read_scanlines(cinfo, rows, count);
    }
    jpeg_finish_decompress(cinfo);
}

int idse_jpeg_read_pixels(idse_jpeg_reader *reader, int32_t colour, uint8_t *pixels)
{
    pixel_request request = {reader, colour, pixels};
    return idse_guard(&reader->errors, read_pixels, &request);
}
