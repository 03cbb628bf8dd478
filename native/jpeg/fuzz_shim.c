/* libFuzzer's entry to the shim; `tools/fuzz` builds and runs it.
 *
 * Input that starts as a JPEG does is read in every way there is and encoded again; all other input
 * becomes settings and coefficients of a file to write. What was written must read back the same. */
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PIXELS = 1 << 18, MAX_FUZZED_SIDE = 64, MAX_FUZZED_SCANS = 12 };

typedef struct {
    int16_t *coefficients[IDSE_JPEG_COMPONENTS];
    size_t count[IDSE_JPEG_COMPONENTS];
    uint16_t tables[IDSE_JPEG_COMPONENTS][IDSE_JPEG_BLOCK];
} content;

static void require(int truth, const char *what)
{
    if (!truth) {
        fprintf(stderr, "violated: %s\n", what);
        abort();
    }
}

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    require(memory != NULL, "memory for the test");
    return memory;
}

static void release(content *c)
{
    for (int i = 0; i < IDSE_JPEG_COMPONENTS; i++) {
        free(c->coefficients[i]);
    }
}

static idse_jpeg_reader *open_file(const uint8_t *data, size_t size, idse_jpeg_header *header,
                                   int *status)
{
    idse_jpeg_reader *reader = idse_jpeg_open(data, size, MAX_PIXELS, header, status);
    require(reader != NULL, "memory for a reader");
    require((*status == IDSE_JPEG_OK) == (idse_jpeg_problem(reader)[0] == '\0'),
            "a message for a failure, and only for one");
    return reader;
}

static int read_file(const uint8_t *data, size_t size, idse_jpeg_header *header, content *c)
{
    int status;
    memset(c, 0, sizeof *c);
    idse_jpeg_reader *reader = open_file(data, size, header, &status);
    if (status == IDSE_JPEG_OK) {
        for (int i = 0; i < header->components; i++) {
            c->count[i] = (size_t)header->rows[i] * (size_t)header->columns[i] * IDSE_JPEG_BLOCK;
            c->coefficients[i] = allocate(c->count[i] * sizeof(int16_t));
        }
        status = idse_jpeg_read_coefficients(reader, c->coefficients, c->tables);
    }
    idse_jpeg_close(reader);
    return status;
}

static void check_written(const idse_jpeg_settings *settings, const content *c)
{
    idse_jpeg_output output;
    const int16_t *coefficients[IDSE_JPEG_COMPONENTS];
    memcpy(coefficients, c->coefficients, sizeof coefficients);
    if (idse_jpeg_write(settings, coefficients, &output) == IDSE_JPEG_OK) {
        idse_jpeg_header header;
        content again;
        require(read_file(output.data, output.size, &header, &again) == IDSE_JPEG_OK,
                "what was written can be read");
        for (int i = 0; i < settings->components; i++) {
            require(again.count[i] == c->count[i] &&
                        !memcmp(again.tables[i], c->tables[i], sizeof c->tables[i]),
                    "the same size and tables");
            /* A script may leave bits out: the shim's caller answers for that. */
            require(settings->scan_count || !memcmp(again.coefficients[i], c->coefficients[i],
                                                    c->count[i] * sizeof(int16_t)),
                    "the same coefficients");
        }
        release(&again);
    } else {
        require(output.message[0] != '\0', "a message for a failure");
    }
    idse_jpeg_free(&output);
}

static void rewrite(const uint8_t *data, size_t size)
{
    idse_jpeg_header header;
    content c;
    if (read_file(data, size, &header, &c) == IDSE_JPEG_OK && header.colour != IDSE_JPEG_RGB) {
        static const idse_jpeg_scan progressive[] = {
            {1, {0}, 0, 0, 0, 1}, {1, {0}, 1, 63, 0, 1}, {1, {0}, 0, 0, 1, 0}, {1, {0}, 1, 63, 1, 0}};
        idse_jpeg_settings settings = {
            .width = header.width,
            .height = header.height,
            .components = header.components,
            .optimise = 1,
            .restart_rows = size % 3,
            .scan_count = header.components == 1 && size % 2 ? 4 : 0,
            .scans = progressive,
        };
        memcpy(settings.horizontal, header.horizontal, sizeof settings.horizontal);
        memcpy(settings.vertical, header.vertical, sizeof settings.vertical);
        memcpy(settings.tables, c.tables, sizeof settings.tables);
        check_written(&settings, &c);
    }
    release(&c);
}

static void encode(const idse_jpeg_header *header, const uint8_t *pixels, int32_t colour, size_t kind)
{
    idse_jpeg_settings settings = {
        .width = header->width,
        .height = header->height,
        .components = colour == IDSE_JPEG_GREY ? 1 : 3,
        .horizontal = {1 + (int32_t)(kind & 1), 1, 1},
        .vertical = {1 + (int32_t)(kind >> 1 & 1), 1, 1},
        .optimise = kind >> 2 & 1,
        .restart_rows = (int32_t)(kind >> 3 & 1),
    };
    for (int i = 0; i < IDSE_JPEG_COMPONENTS; i++) {
        for (int k = 0; k < IDSE_JPEG_BLOCK; k++) {
            settings.tables[i][k] = (uint16_t)(1 + (kind + (size_t)(i * k)) % 255);
        }
    }
    idse_jpeg_output output;
    require(idse_jpeg_encode(&settings, pixels, colour, &output) == IDSE_JPEG_OK,
            "every picture can be encoded");
    idse_jpeg_free(&output);
}

static void decode(const uint8_t *data, size_t size, int32_t colour)
{
    idse_jpeg_header header;
    int status;
    idse_jpeg_reader *reader = open_file(data, size, &header, &status);
    if (status == IDSE_JPEG_OK) {
        uint32_t sum = 0;
        idse_jpeg_marker marker;
        for (int32_t i = 0; i < header.markers; i++) {
            require(idse_jpeg_get_marker(reader, i, &marker) == IDSE_JPEG_OK, "every marker is there");
            for (uint32_t at = 0; at < marker.size; at++) {
                sum += marker.data[at];
            }
        }
        require(idse_jpeg_get_marker(reader, header.markers, &marker) != IDSE_JPEG_OK, "none beyond");
        size_t channels = colour == IDSE_JPEG_GREY ? 1 : 3;
        uint8_t *pixels = allocate((size_t)header.width * (size_t)header.height * channels);
        if (idse_jpeg_read_pixels(reader, colour, pixels) == IDSE_JPEG_OK) {
            if (colour != IDSE_JPEG_YCC) {
                encode(&header, pixels, colour, size + sum);
            }
        }
        free(pixels);
    }
    idse_jpeg_close(reader);
}

typedef struct {
    const uint8_t *data;
    size_t size;
} input;

/* Zeros where the input has ended. */
static int take(input *in)
{
    if (!in->size) {
        return 0;
    }
    in->size--;
    return *in->data++;
}

static void write_settings(input in)
{
    idse_jpeg_settings settings = {
        .width = 1 + take(&in) % MAX_FUZZED_SIDE,
        .height = 1 + take(&in) % MAX_FUZZED_SIDE,
        .components = take(&in) % 4,
        .optimise = take(&in) % 2,
        .restart_rows = take(&in),
        .scan_count = take(&in) % (MAX_FUZZED_SCANS + 1),
    };
    idse_jpeg_scan scans[MAX_FUZZED_SCANS];
    for (int n = 0; n < settings.scan_count; n++) {
        scans[n] = (idse_jpeg_scan){.count = take(&in) % 5};
        for (int i = 0; i < IDSE_JPEG_COMPONENTS; i++) {
            scans[n].component[i] = (int8_t)take(&in);
        }
        scans[n].ss = (int8_t)take(&in);
        scans[n].se = (int8_t)take(&in);
        scans[n].ah = (int8_t)take(&in);
        scans[n].al = (int8_t)take(&in);
    }
    settings.scans = scans;
    uint8_t text[8];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (uint8_t)take(&in);
    }
    idse_jpeg_marker marker = {take(&in), (uint32_t)take(&in) % 9, text};
    settings.marker_count = take(&in) % 2;
    settings.markers = &marker;
    content c = {0};
    for (int i = 0; i < settings.components; i++) {
        settings.horizontal[i % 3] = take(&in) % 6;
        settings.vertical[i % 3] = take(&in) % 6;
        int scale = take(&in), shift = take(&in) % 9;
        for (int k = 0; k < IDSE_JPEG_BLOCK; k++) {
            settings.tables[i % 3][k] = (uint16_t)((scale + k) << shift);
        }
    }
    memcpy(c.tables, settings.tables, sizeof c.tables);
    int widest = 1, tallest = 1;
    for (int i = 0; i < IDSE_JPEG_COMPONENTS; i++) {
        widest = settings.horizontal[i] > widest ? settings.horizontal[i] : widest;
        tallest = settings.vertical[i] > tallest ? settings.vertical[i] : tallest;
    }
    for (int i = 0; i < IDSE_JPEG_COMPONENTS; i++) {
        int columns = (settings.width * settings.horizontal[i] + 8 * widest - 1) / (8 * widest);
        int rows = (settings.height * settings.vertical[i] + 8 * tallest - 1) / (8 * tallest);
        c.count[i] = (size_t)rows * (size_t)columns * IDSE_JPEG_BLOCK;
        c.coefficients[i] = allocate(c.count[i] * sizeof(int16_t) + 1);
        for (size_t k = 0; k < c.count[i]; k++) {
            /* Mostly in range, at times beyond it. */
            int value = take(&in), high = in.size && value % 16 == 7 ? take(&in) : 0;
            c.coefficients[i][k] = (int16_t)((int8_t)value + high * 16);
        }
    }
    check_written(&settings, &c);
    release(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] != 0xFF) {
        write_settings((input){data, size});
        return 0;
    }
    rewrite(data, size);
    for (int32_t colour = IDSE_JPEG_GREY; colour <= IDSE_JPEG_YCC; colour++) {
        decode(data, size, colour);
    }
    return 0;
}
