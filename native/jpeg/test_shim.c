/* The shim on whole, cut and damaged files and on settings that cannot be; meant to run under ASan
 * and UBSan. */
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 45, HEIGHT = 37, MAX_PIXELS = 1 << 20, BLOCKS = 6 * 5 };

typedef struct {
    idse_jpeg_header header;
    int16_t coefficients[IDSE_JPEG_COMPONENTS][BLOCKS * IDSE_JPEG_BLOCK];
    uint16_t tables[IDSE_JPEG_COMPONENTS][IDSE_JPEG_BLOCK];
} content;

static int failures;

static void expect(int truth, const char *what)
{
    if (!truth) {
        fprintf(stderr, "not so: %s\n", what);
        failures++;
    }
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void fill_pixels(uint8_t *pixels, size_t channels)
{
    uint32_t state = 1;
    for (size_t y = 0; y < HEIGHT; y++) {
        for (size_t x = 0; x < WIDTH; x++) {
            for (size_t c = 0; c < channels; c++) {
                *pixels++ = (uint8_t)(x * 2 + y * 3 + c * 40 + next_random(&state) % 32);
            }
        }
    }
}

static idse_jpeg_settings settings_for(int components, int horizontal, int vertical)
{
    idse_jpeg_settings settings = {
        .width = WIDTH,
        .height = HEIGHT,
        .components = components,
        .horizontal = {horizontal, 1, 1},
        .vertical = {vertical, 1, 1},
        .optimise = 1,
        .jfif_minor = 1,
        .density_x = 1,
        .density_y = 1,
    };
    for (int i = 0; i < components; i++) {
        for (int k = 0; k < IDSE_JPEG_BLOCK; k++) {
            settings.tables[i][k] = (uint16_t)(4 + i + k);
        }
    }
    return settings;
}

static const idse_jpeg_scan progressive[] = {
    {3, {0, 1, 2}, 0, 0, 0, 1}, {1, {0}, 1, 63, 0, 2}, {1, {0}, 1, 63, 2, 1}, {1, {2}, 1, 63, 0, 0},
    {1, {1}, 1, 63, 0, 0},      {3, {0, 1, 2}, 0, 0, 1, 0}, {1, {0}, 1, 63, 1, 0},
};

/* Reads a copy of exactly `size` bytes, so that a read past its end is seen. */
static int read_file(const uint8_t *data, size_t size, content *c)
{
    int status;
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) {
        exit(1);
    }
    memcpy(copy, data, size);
    idse_jpeg_reader *reader = idse_jpeg_open(copy, size, MAX_PIXELS, &c->header, &status);
    if (status == IDSE_JPEG_OK) {
        int fits = 1;
        int16_t *coefficients[IDSE_JPEG_COMPONENTS];
        for (int i = 0; i < IDSE_JPEG_COMPONENTS; i++) {
            coefficients[i] = c->coefficients[i];
            fits &= i >= c->header.components || c->header.rows[i] * c->header.columns[i] <= BLOCKS;
        }
        /* Damage to the header's size gives pictures that this test has no room for. */
        status = fits ? idse_jpeg_read_coefficients(reader, coefficients, c->tables)
                      : IDSE_JPEG_LIMIT;
        if (fits) {
            expect(idse_jpeg_read_coefficients(reader, coefficients, c->tables) ==
                       IDSE_JPEG_REFUSED,
                   "a reader can be read once");
        }
    } else {
        expect(idse_jpeg_problem(reader)[0] != '\0', "a failure has a message");
    }
    idse_jpeg_close(reader);
    free(copy);
    return status;
}

static int write_content(const idse_jpeg_settings *settings, const content *c,
                         idse_jpeg_output *output)
{
    const int16_t *coefficients[IDSE_JPEG_COMPONENTS];
    for (int i = 0; i < IDSE_JPEG_COMPONENTS; i++) {
        coefficients[i] = c->coefficients[i];
    }
    return idse_jpeg_write(settings, coefficients, output);
}

static void check_damage(const idse_jpeg_output *file)
{
    content c;
    for (uint64_t size = 0; size < file->size; size++) {
        expect(read_file(file->data, size, &c) < 0, "a file cut short is refused");
    }
    uint32_t state = 7;
    uint8_t *damaged = malloc(file->size);
    if (!damaged) {
        exit(1);
    }
    for (int round = 0; round < 1500; round++) {
        memcpy(damaged, file->data, file->size);
        for (uint32_t change = next_random(&state) % 4; change < 4; change++) {
            /* Half of the damage hits the headers, where it does most. */
            uint64_t reach = next_random(&state) % 2 && file->size > 700 ? 700 : file->size;
            damaged[next_random(&state) % reach] = (uint8_t)next_random(&state);
        }
        read_file(damaged, file->size, &c);
    }
    free(damaged);
}

/* Pixels to a file, to coefficients, to the same file. */
static void check_round_trip(int components, int horizontal, int vertical, int scans, int rows)
{
    static uint8_t pixels[WIDTH * HEIGHT * 3], decoded[WIDTH * HEIGHT * 3];
    idse_jpeg_settings settings = settings_for(components, horizontal, vertical);
    idse_jpeg_output first, second;
    content c;
    const int32_t colour = components == 1 ? IDSE_JPEG_GREY : IDSE_JPEG_RGB;
    settings.scans = progressive;
    settings.scan_count = scans;
    settings.restart_rows = rows;
    fill_pixels(pixels, (size_t)components);
    expect(idse_jpeg_encode(&settings, pixels, colour, &first) == IDSE_JPEG_OK, "pixels encode");
    expect(read_file(first.data, first.size, &c) == IDSE_JPEG_OK, "the file can be read");
    expect(!memcmp(c.tables, settings.tables, (size_t)components * sizeof c.tables[0]),
           "tables are kept");
    expect(write_content(&settings, &c, &second) == IDSE_JPEG_OK, "coefficients can be written");
    expect(first.size == second.size && !memcmp(first.data, second.data, first.size),
           "the same file comes back");
    int status;
    idse_jpeg_header header;
    idse_jpeg_reader *reader =
        idse_jpeg_open(first.data, first.size, MAX_PIXELS, &header, &status);
    expect(idse_jpeg_read_pixels(reader, colour, decoded) == IDSE_JPEG_OK, "pixels decode");
    idse_jpeg_close(reader);
    check_damage(&first);
    idse_jpeg_free(&first);
    idse_jpeg_free(&second);
}

static void expect_refused(const idse_jpeg_settings *settings, const content *c, const char *what)
{
    idse_jpeg_output output;
    expect(write_content(settings, c, &output) < 0 && output.message[0] != '\0', what);
    idse_jpeg_free(&output);
}

static void check_refusals(void)
{
    static const content zeros;
    static content c;
    const idse_jpeg_settings good = settings_for(3, 2, 2);
    idse_jpeg_settings s = good;
    s.components = 2;
    expect_refused(&s, &zeros, "two components are refused");
    s = good;
    s.width = 65501;
    expect_refused(&s, &zeros, "65501 columns are refused");
    s = good;
    s.tables[2][63] = 0;
    expect_refused(&s, &zeros, "a table with 0 is refused");
    s = good;
    s.vertical[0] = 5;
    expect_refused(&s, &zeros, "a sampling factor of 5 is refused");
    s = good;
    s.scans = progressive;
    s.scan_count = 1;
    s.restart_rows = -1;
    expect_refused(&s, &zeros, "negative rows are refused");
    s = good;
    const idse_jpeg_scan wrong[] = {{1, {7}, 0, 63, 0, 0}, {4, {0}, 0, 63, 0, 0}};
    for (int i = 0; i < 2; i++) {
        s.scans = &wrong[i];
        s.scan_count = 1;
        expect_refused(&s, &zeros, "an impossible scan is refused");
    }
    s = good;
    idse_jpeg_marker marker = {0xC0, 0, NULL};
    s.markers = &marker;
    s.marker_count = 1;
    expect_refused(&s, &zeros, "a marker that is no segment is refused");
    const int16_t values[] = {1024, -1025, 1024, -1024};
    for (size_t i = 0; i < 4; i++) {
        memset(&c, 0, sizeof c);
        c.coefficients[1][IDSE_JPEG_BLOCK + i / 2 * 63] = values[i];
        expect_refused(&good, &c, "a coefficient out of range is refused");
    }
}

static void check_limits(void)
{
    idse_jpeg_settings settings = settings_for(1, 1, 1);
    static const content zeros;
    idse_jpeg_output output;
    idse_jpeg_header header;
    int status;
    expect(write_content(&settings, &zeros, &output) == IDSE_JPEG_OK, "zeros can be written");
    idse_jpeg_close(
        idse_jpeg_open(output.data, output.size, WIDTH * HEIGHT - 1, &header, &status));
    expect(status == IDSE_JPEG_LIMIT, "too many pixels are refused");
    /* The height in the frame header, which follows the JFIF segment and one table. */
    uint8_t *frame = output.data + 2 + 18 + 69;
    expect(frame[1] == 0xC0, "the frame header is where it is expected");
    frame[5] = 0xF0;
    idse_jpeg_close(idse_jpeg_open(output.data, output.size, UINT64_MAX, &header, &status));
    expect(status == IDSE_JPEG_DAMAGED, "more blocks than bits are refused");
    idse_jpeg_free(&output);
    char message[IDSE_JPEG_MESSAGE];
    expect(idse_jpeg_check(message) == IDSE_JPEG_OK && idse_jpeg_version()[0] != '\0',
           "the library is the one that this was built for");
}

int main(void)
{
    const int scans = sizeof progressive / sizeof progressive[0];
    check_round_trip(1, 1, 1, 0, 0);
    check_round_trip(3, 1, 1, 0, 1);
    check_round_trip(3, 2, 1, 0, 2);
    check_round_trip(3, 2, 2, 0, 0);
    check_round_trip(3, 2, 2, scans, 1);
    check_refusals();
    check_limits();
    return failures != 0;
}
