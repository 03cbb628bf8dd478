#include "shim_errors.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROWS_A_CALL = 16,
    FIRST_SIZE = 1 << 16,
    MAX_SEGMENT = 65533,
    /* Quantised values that an 8-bit file can code (ITU-T T.81, F.1.2.1.2 and F.1.2.2.1). */
    DC_LOW = -1024,
    DC_HIGH = 1023,
    AC_MOST = 1023,
};

typedef struct {
    struct jpeg_destination_mgr base; /* first: libjpeg hands out a pointer to it */
    idse_jpeg_output *output;
    uint64_t capacity;
} destination;

typedef struct {
    idse_errors errors;
    struct jpeg_compress_struct cinfo;
    destination destination;
    jpeg_scan_info scans[IDSE_JPEG_MAX_SCANS];
    const idse_jpeg_settings *settings;
    const uint8_t *pixels;
    int32_t colour; /* of the pixels; unused with coefficients */
    const int16_t *const *coefficients;
} writer;

static destination *destination_of(j_compress_ptr cinfo)
{
    return (destination *)cinfo->dest;
}

static void grow(j_compress_ptr cinfo, uint64_t used, uint64_t capacity)
{
    destination *d = destination_of(cinfo);
    uint8_t *data = realloc(d->output->data, capacity);
    if (!data) {
        idse_fail((idse_errors *)cinfo->err, IDSE_JPEG_NO_MEMORY,
                  "no memory for a file of %llu bytes", (unsigned long long)capacity);
    }
    d->output->data = data;
    d->capacity = capacity;
    d->base.next_output_byte = data + used;
    d->base.free_in_buffer = capacity - used;
}

static void start_output(j_compress_ptr cinfo)
{
    grow(cinfo, 0, FIRST_SIZE);
}

static boolean extend_output(j_compress_ptr cinfo)
{
    /* libjpeg calls this when the whole buffer is full, whatever free_in_buffer says. */
    uint64_t capacity = destination_of(cinfo)->capacity;
    grow(cinfo, capacity, 2 * capacity);
    return TRUE;
}

static void end_output(j_compress_ptr cinfo)
{
    destination *d = destination_of(cinfo);
    d->output->size = d->capacity - d->base.free_in_buffer;
}

static void check_settings(writer *w)
{
    const idse_jpeg_settings *s = w->settings;
    idse_errors *errors = &w->errors;
    if (s->components != 1 && s->components != IDSE_JPEG_COMPONENTS) {
        idse_fail(errors, IDSE_JPEG_REFUSED, "%d components", (int)s->components);
    }
    if (s->width < 1 || s->height < 1 || s->width > JPEG_MAX_DIMENSION ||
        s->height > JPEG_MAX_DIMENSION) {
        idse_fail(errors, IDSE_JPEG_REFUSED, "%dx%d pixels, sides are 1 to %ld", (int)s->width,
                  (int)s->height, JPEG_MAX_DIMENSION);
    }
    for (int i = 0; i < s->components; i++) {
        for (int k = 0; k < IDSE_JPEG_BLOCK; k++) {
            if (!s->tables[i][k]) {
                idse_fail(errors, IDSE_JPEG_REFUSED, "the table of component %d holds 0", i);
            }
        }
        if (s->horizontal[i] < 1 || s->horizontal[i] > MAX_SAMP_FACTOR || s->vertical[i] < 1 ||
            s->vertical[i] > MAX_SAMP_FACTOR) {
            idse_fail(errors, IDSE_JPEG_REFUSED, "sampling factors %dx%d of component %d",
                      (int)s->horizontal[i], (int)s->vertical[i], i);
        }
    }
    if (s->restart_rows < 0 || s->restart_rows > 0xFFFF) {
        idse_fail(errors, IDSE_JPEG_REFUSED, "restart markers every %d rows", (int)s->restart_rows);
    }
    if (s->scan_count < 0 || s->scan_count > IDSE_JPEG_MAX_SCANS) {
        idse_fail(errors, IDSE_JPEG_REFUSED, "%d scans", (int)s->scan_count);
    }
}

static int same_table(const idse_jpeg_settings *s, int a, int b)
{
    return !memcmp(s->tables[a], s->tables[b], sizeof s->tables[a]);
}

static void set_tables(writer *w)
{
    j_compress_ptr cinfo = &w->cinfo;
    const idse_jpeg_settings *s = w->settings;
    for (int i = 0; i < s->components; i++) {
        /* As libjpeg does it: one for luma, one that both chroma share where they can. */
        int slot = i == 2 && same_table(s, 1, 2) ? 1 : i;
        cinfo->comp_info[i].quant_tbl_no = slot;
        if (!cinfo->quant_tbl_ptrs[slot]) {
            cinfo->quant_tbl_ptrs[slot] = jpeg_alloc_quant_table((j_common_ptr)cinfo);
        }
        memcpy(cinfo->quant_tbl_ptrs[slot]->quantval, s->tables[i], sizeof s->tables[i]);
        cinfo->quant_tbl_ptrs[slot]->sent_table = FALSE;
    }
}

/* libjpeg judges whether the script is legal. */
static void set_scans(writer *w)
{
    const idse_jpeg_settings *s = w->settings;
    for (int n = 0; n < s->scan_count; n++) {
        const idse_jpeg_scan *from = &s->scans[n];
        jpeg_scan_info *to = &w->scans[n];
        if (from->count < 1 || from->count > IDSE_JPEG_COMPONENTS) {
            idse_fail(&w->errors, IDSE_JPEG_REFUSED, "scan %d has %d components", n,
                      (int)from->count);
        }
        to->comps_in_scan = from->count;
        memcpy(to->component_index, from->component, sizeof from->component);
        to->Ss = from->ss;
        to->Se = from->se;
        to->Ah = from->ah;
        to->Al = from->al;
    }
    w->cinfo.scan_info = s->scan_count ? w->scans : NULL;
    w->cinfo.num_scans = s->scan_count;
}

static void configure(writer *w)
{
    j_compress_ptr cinfo = &w->cinfo;
    const idse_jpeg_settings *s = w->settings;
    check_settings(w);
    jpeg_create_compress(cinfo);
    w->destination.base.init_destination = start_output;
    w->destination.base.empty_output_buffer = extend_output;
    w->destination.base.term_destination = end_output;
    cinfo->dest = &w->destination.base;
    cinfo->image_width = (JDIMENSION)s->width;
    cinfo->image_height = (JDIMENSION)s->height;
    cinfo->in_color_space = w->colour == IDSE_JPEG_RGB ? JCS_RGB : JCS_GRAYSCALE;
    cinfo->input_components = w->colour == IDSE_JPEG_RGB ? 3 : 1;
    jpeg_set_defaults(cinfo);
    jpeg_set_colorspace(cinfo, s->components == 1 ? JCS_GRAYSCALE : JCS_YCbCr);
    for (int i = 0; i < s->components; i++) {
        cinfo->comp_info[i].h_samp_factor = s->horizontal[i];
        cinfo->comp_info[i].v_samp_factor = s->vertical[i];
    }
    set_tables(w);
    set_scans(w);
    cinfo->optimize_coding = s->optimise != 0;
    cinfo->restart_in_rows = s->restart_rows;
    cinfo->JFIF_minor_version = (UINT8)s->jfif_minor;
    cinfo->density_unit = (UINT8)s->density_unit;
    cinfo->X_density = (UINT16)s->density_x;
    cinfo->Y_density = (UINT16)s->density_y;
}

static void write_markers(writer *w)
{
    for (int32_t i = 0; i < w->settings->marker_count; i++) {
        const idse_jpeg_marker *m = &w->settings->markers[i];
        int is_application = m->code >= JPEG_APP0 && m->code <= JPEG_APP0 + 15;
        if ((!is_application && m->code != JPEG_COM) || m->size > MAX_SEGMENT) {
            idse_fail(&w->errors, IDSE_JPEG_REFUSED, "marker 0x%X of %u bytes", (unsigned)m->code,
                      (unsigned)m->size);
        }
        jpeg_write_marker(&w->cinfo, m->code, m->data, m->size);
    }
}

static void encode_pixels(void *context)
{
    writer *w = context;
    j_compress_ptr cinfo = &w->cinfo;
    if (w->colour != IDSE_JPEG_RGB && (w->colour != IDSE_JPEG_GREY || w->settings->components != 1)) {
        idse_fail(&w->errors, IDSE_JPEG_REFUSED, "colour %d as %d components", (int)w->colour,
                  (int)w->settings->components);
    }
    configure(w);
    jpeg_start_compress(cinfo, TRUE);
    write_markers(w);
    size_t stride = (size_t)cinfo->image_width * (size_t)cinfo->input_components;
    while (cinfo->next_scanline < cinfo->image_height) {
        JSAMPROW rows[ROWS_A_CALL];
        JDIMENSION count = cinfo->image_height - cinfo->next_scanline;
        count = count < ROWS_A_CALL ? count : ROWS_A_CALL;
        for (JDIMENSION i = 0; i < count; i++) {
            /* libjpeg's input is not const, but it only reads. */
            rows[i] = (JSAMPROW)(uintptr_t)(w->pixels + (cinfo->next_scanline + i) * stride);
        }
        jpeg_write_scanlines(cinfo, rows, count);
    }
    jpeg_finish_compress(cinfo);
}

/* The least and the greatest AC of a row of blocks; apart from their DC, which has another range. */
static void check_row(writer *w, const int16_t *blocks, JDIMENSION columns, int component,
                      JDIMENSION row)
{
    int lowest = 0, highest = 0, lowest_dc = 0, highest_dc = 0;
    for (JDIMENSION column = 0; column < columns; column++) {
        const int16_t *block = blocks + (size_t)column * IDSE_JPEG_BLOCK;
        int16_t low = block[1], high = block[1];
        for (int k = 1; k < IDSE_JPEG_BLOCK; k++) {
            low = block[k] < low ? block[k] : low;
            high = block[k] > high ? block[k] : high;
        }
        lowest = low < lowest ? low : lowest;
        highest = high > highest ? high : highest;
        lowest_dc = block[0] < lowest_dc ? block[0] : lowest_dc;
        highest_dc = block[0] > highest_dc ? block[0] : highest_dc;
    }
    if (lowest < -AC_MOST || highest > AC_MOST || lowest_dc < DC_LOW || highest_dc > DC_HIGH) {
        idse_fail(&w->errors, IDSE_JPEG_REFUSED,
                  "coefficients of component %d, row %u of blocks: DC %d to %d must be %d to %d, "
                  "AC %d to %d must be %d to %d",
                  component, row, lowest_dc, highest_dc, DC_LOW, DC_HIGH, lowest, highest, -AC_MOST,
                  AC_MOST);
    }
}

static JDIMENSION blocks_of(JDIMENSION pixels, int factor, int most)
{
    return (pixels * (JDIMENSION)factor + 8 * (JDIMENSION)most - 1) / (8 * (JDIMENSION)most);
}

static void write_coefficients(void *context)
{
    writer *w = context;
    j_compress_ptr cinfo = &w->cinfo;
    configure(w);
    int widest = 1, tallest = 1;
    for (int i = 0; i < cinfo->num_components; i++) {
        const jpeg_component_info *c = &cinfo->comp_info[i];
        widest = c->h_samp_factor > widest ? c->h_samp_factor : widest;
        tallest = c->v_samp_factor > tallest ? c->v_samp_factor : tallest;
    }
    jvirt_barray_ptr arrays[IDSE_JPEG_COMPONENTS];
    JDIMENSION rows[IDSE_JPEG_COMPONENTS], padded[IDSE_JPEG_COMPONENTS];
    JDIMENSION columns[IDSE_JPEG_COMPONENTS];
    for (int i = 0; i < cinfo->num_components; i++) {
        const jpeg_component_info *c = &cinfo->comp_info[i];
        rows[i] = blocks_of(cinfo->image_height, c->v_samp_factor, tallest);
        columns[i] = blocks_of(cinfo->image_width, c->h_samp_factor, widest);
        /* libjpeg asks for whole MCUs of rows, and makes up what lies outside the picture as its
         * encoder does: the DC of the block before, no AC. */
        JDIMENSION step = (JDIMENSION)c->v_samp_factor;
        padded[i] = (rows[i] + step - 1) / step * step;
        arrays[i] = cinfo->mem->request_virt_barray((j_common_ptr)cinfo, JPOOL_IMAGE, FALSE,
                                                    columns[i], padded[i], step);
    }
    jpeg_write_coefficients(cinfo, arrays);
    write_markers(w);
    for (int i = 0; i < cinfo->num_components; i++) {
        size_t row_size = (size_t)columns[i] * IDSE_JPEG_BLOCK;
        for (JDIMENSION row = 0; row < padded[i]; row++) {
            JBLOCKARRAY to = cinfo->mem->access_virt_barray((j_common_ptr)cinfo, arrays[i], row, 1,
                                                            TRUE);
            if (row < rows[i]) {
                const int16_t *from = w->coefficients[i] + row * row_size;
                check_row(w, from, columns[i], i, row);
                memcpy(to[0], from, row_size * sizeof(int16_t));
            } else {
                memset(to[0], 0, row_size * sizeof(int16_t)); /* never coded, but must be there */
            }
        }
    }
    jpeg_finish_compress(cinfo);
}

static int run(writer *w, void (*action)(void *context), idse_jpeg_output *output)
{
    memset(output, 0, sizeof *output);
    w->destination.output = output;
    w->cinfo.err = idse_errors_init(&w->errors);
    int status = idse_guard(&w->errors, action, w);
    jpeg_destroy_compress(&w->cinfo);
    memcpy(output->message, w->errors.message, sizeof output->message);
    return status;
}

int idse_jpeg_encode(const idse_jpeg_settings *settings, const uint8_t *pixels, int32_t colour,
                     idse_jpeg_output *output)
{
    writer w = {.settings = settings, .pixels = pixels, .colour = colour};
    return run(&w, encode_pixels, output);
}

int idse_jpeg_write(const idse_jpeg_settings *settings,
                    const int16_t *const coefficients[IDSE_JPEG_COMPONENTS],
                    idse_jpeg_output *output)
{
    /* The colour of pixels only decides defaults here. */
    writer w = {
        .settings = settings,
        .coefficients = coefficients,
        .colour = settings->components == 1 ? IDSE_JPEG_GREY : IDSE_JPEG_RGB,
    };
    return run(&w, write_coefficients, output);
}

void idse_jpeg_free(idse_jpeg_output *output)
{
    free(output->data);
    output->data = NULL;
    output->size = 0;
}
