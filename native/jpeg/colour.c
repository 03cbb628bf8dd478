/* Samples as libjpeg-turbo's default encoder makes them, bit by bit: RGB to YCbCr in 16-bit fixed point
 * (jccolor.c), box downsampling with an alternating bias (jcsample.c), and its way of filling blocks
 * beyond the right and lower edges (jcprepct.c). */
#include "block.h"

#include <stdlib.h>

enum { SCALE_BITS = 16, ROUND = 1 << (SCALE_BITS - 1), CENTRE = 128 << SCALE_BITS };

/* Where a picture's blocks and samples go: idse_trellis_transform()'s own arguments. */
typedef struct {
    float *const *blocks;
    uint8_t *const *planes;
    int width, height; /* of the picture */
} output;

/* One MCU row: its samples before and after downsampling. Rows are `width` samples apart. */
typedef struct {
    int width;
    uint8_t *full[3], *sampled[3];
} strip;

WIDE static void convert_row(const uint8_t *restrict rgb, int width, uint8_t *restrict luma,
                        uint8_t *restrict blue, uint8_t *restrict red)
{
    for (int x = 0; x < width; x++) {
        const int32_t r = rgb[3 * x], g = rgb[3 * x + 1], b = rgb[3 * x + 2];
        luma[x] = (uint8_t)((19595 * r + 38470 * g + 7471 * b + ROUND) >> SCALE_BITS);
        blue[x] = (uint8_t)((-11059 * r - 21709 * g + 32768 * b + CENTRE + ROUND - 1) >> SCALE_BITS);
        red[x] = (uint8_t)((32768 * r - 27439 * g - 5329 * b + CENTRE + ROUND - 1) >> SCALE_BITS);
    }
}

WIDE static void luma_row(const uint8_t *restrict rgb, int width, uint8_t *restrict luma)
{
    for (int x = 0; x < width; x++)
        luma[x] = (uint8_t)((19595 * rgb[3 * x] + 38470 * rgb[3 * x + 1] + 7471 * rgb[3 * x + 2] +
                             ROUND) >> SCALE_BITS);
}

WIDE static void halve_row(const uint8_t *restrict in, int width, uint8_t *restrict out)
{
    for (int x = 0; x < width; x++)
        out[x] = (uint8_t)((in[2 * x] + in[2 * x + 1] + (x & 1)) >> 1);
}

WIDE static void halve_rows(const uint8_t *restrict upper, const uint8_t *restrict lower, int width,
                       uint8_t *restrict out)
{
    for (int x = 0; x < width; x++)
        out[x] = (uint8_t)((upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1] + 1 +
                            (x & 1)) >> 2);
}

/* Brings one row of the picture into the strip and repeats its last sample to the right. */
static void load_row(const uint8_t *pixels, int width, int channels, const idse_grid *grid,
                     const strip *s, int row)
{
    uint8_t *to[3] = {0};
    for (int i = 0; i < grid->components; i++)
        to[i] = s->full[i] + (ptrdiff_t)row * s->width;
    if (channels == 1)
        memcpy(to[0], pixels, (size_t)width);
    else if (grid->components == 1)
        luma_row(pixels, width, to[0]);
    else
        convert_row(pixels, width, to[0], to[1], to[2]);
    for (int i = 0; i < grid->components; i++)
        memset(to[i] + width, to[i][width - 1], (size_t)(s->width - width));
}

/* Downsamples `rows` rows of a component and repeats its last row to a whole MCU row. */
static void sample_component(const idse_grid *grid, const strip *s, int i, int rows)
{
    const int across = grid->horizontal[0] / grid->horizontal[i];
    const int down = grid->vertical[0] / grid->vertical[i];
    const int width = grid->cols[i] * BLOCK, height = grid->vertical[i] * BLOCK;
    const ptrdiff_t stride = s->width;
    const int have = (rows + down - 1) / down;
    for (int y = 0; y < height; y++) {
        uint8_t *out = s->sampled[i] + y * stride;
        const uint8_t *in = s->full[i] + y * down * stride;
        if (y >= have)
            memcpy(out, out - stride, (size_t)width);
        else if (down == 2)
            halve_rows(in, in + stride, width, out);
        else if (across == 2)
            halve_row(in, width, out);
        else
            memcpy(out, in, (size_t)width);
    }
}

/* Copies a component's samples of one MCU row to its plane. */
static void keep_samples(const idse_grid *grid, const strip *s, int i, int mcu_row,
                         const output *out)
{
    const int across = grid->horizontal[0] / grid->horizontal[i];
    const int down = grid->vertical[0] / grid->vertical[i];
    const int width = (out->width + across - 1) / across, height = (out->height + down - 1) / down;
    const int first = mcu_row * grid->vertical[i] * BLOCK, most = grid->vertical[i] * BLOCK;
    const int rows = height - first < most ? height - first : most;
    for (int y = 0; y < rows; y++)
        memcpy(out->planes[i] + (ptrdiff_t)(first + y) * width,
               s->sampled[i] + (ptrdiff_t)y * s->width, (size_t)width);
}

static void transform_strip(const uint8_t *pixels, ptrdiff_t stride, int channels,
                            const idse_grid *grid, const strip *s, int mcu_row, int rows,
                            const output *out)
{
    for (int y = 0; y < rows; y++)
        load_row(pixels + y * stride, out->width, channels, grid, s, y);
    /* A pair of rows cut in half by the lower edge: its first row twice. */
    if (rows % grid->vertical[0])
        load_row(pixels + (rows - 1) * stride, out->width, channels, grid, s, rows);
    for (int i = 0; i < grid->components; i++) {
        sample_component(grid, s, i, rows);
        keep_samples(grid, s, i, mcu_row, out);
        for (int r = 0; r < grid->vertical[i]; r++) {
            const int row = mcu_row * grid->vertical[i] + r;
            if (row >= grid->rows[i])
                break;
            const uint8_t *samples = s->sampled[i] + (ptrdiff_t)r * BLOCK * s->width;
            float *to = out->blocks[i] + (int64_t)row * grid->cols[i] * BLOCK_SIZE;
            for (int c = 0; c < grid->cols[i]; c++)
                idse_forward_dct(samples + c * BLOCK, s->width, to + c * BLOCK_SIZE);
        }
    }
}

int idse_trellis_transform(const uint8_t *pixels, ptrdiff_t stride, int width, int height,
                           int channels, const idse_grid *grid, float *const out[3],
                           uint8_t *const planes[3])
{
    const output to = {out, planes, width, height};
    strip s = {0};
    for (int i = 0; i < grid->components; i++) {
        const int reach = grid->cols[i] * BLOCK * (grid->horizontal[0] / grid->horizontal[i]);
        s.width = reach > s.width ? reach : s.width;
    }
    const int mcu_height = grid->vertical[0] * BLOCK;
    const size_t plane = (size_t)s.width * (size_t)mcu_height;
    uint8_t *memory = malloc(plane * 2 * (size_t)grid->components);
    if (!memory)
        return IDSE_NO_MEMORY;
    for (int i = 0; i < grid->components; i++) {
        s.full[i] = memory + 2 * (size_t)i * plane;
        s.sampled[i] = s.full[i] + plane;
    }
    for (int top = 0; top < height; top += mcu_height) {
        const int rows = height - top < mcu_height ? height - top : mcu_height;
        transform_strip(pixels + top * stride, stride, channels, grid, &s, top / mcu_height, rows,
                        &to);
    }
    free(memory);
    return IDSE_OK;
}
