#include "kernels.h"
#include "wide.h"

#include <string.h>

/* Repeats the edge of the inner `width` x `height` of a tight plane into its border of `pad`. */
static void extend(uint8_t *plane, int width, int height, int pad)
{
    const ptrdiff_t stride = width + 2 * pad;
    for (int y = 0; y < height; y++) {
        uint8_t *row = plane + (y + pad) * stride;
        memset(row, row[pad], (size_t)pad);
        memset(row + pad + width, row[pad + width - 1], (size_t)pad);
    }
    const uint8_t *top = plane + pad * stride;
    const uint8_t *bottom = plane + (pad + height - 1) * stride;
    for (int y = 0; y < pad; y++) {
        memcpy(plane + y * stride, top, (size_t)stride);
        memcpy(plane + (pad + height + y) * stride, bottom, (size_t)stride);
    }
}

static void copy_row(uint8_t *restrict to, const void *from, int width, int depth)
{
    if (depth == 8) {
        memcpy(to, from, (size_t)width);
        return;
    }
    const uint16_t *restrict wide = from;
    const int shift = depth - 8;
    for (int x = 0; x < width; x++) {
        const int value = wide[x] >> shift;
        to[x] = (uint8_t)(value > 255 ? 255 : value);
    }
}

/* Means of 4x4 samples of four rows, a macroblock's width at a time. */
WIDE static void shrink_rows(const uint8_t *restrict from, ptrdiff_t stride, int blocks,
                             uint8_t *restrict to)
{
    for (int b = 0; b < blocks; b++, from += IDSE_MB, to += IDSE_MB / 4) {
        uint16_t sums[IDSE_MB];
        for (int x = 0; x < IDSE_MB; x++)
            sums[x] = (uint16_t)(from[x] + from[stride + x] + from[2 * stride + x] +
                                 from[3 * stride + x]);
        for (int x = 0; x < IDSE_MB / 4; x++) {
            /* Multiplied so, the uppermost of four lanes becomes the sum of all; none overflows. */
            uint64_t lanes;
            memcpy(&lanes, sums + 4 * x, sizeof(lanes));
            to[x] = (uint8_t)(((lanes * UINT64_C(0x0001000100010001) >> 48) + 8) >> 4);
        }
    }
}

void idse_kernels_luma_planes(const void *luma, ptrdiff_t stride, int width, int height, int depth,
                              int rows, int cols, uint8_t *full, uint8_t *small)
{
    const int full_width = cols * IDSE_MB, full_height = rows * IDSE_MB;
    const int small_width = full_width / 4, small_height = full_height / 4;
    const ptrdiff_t full_stride = full_width + 2 * IDSE_FULL_PAD;
    const ptrdiff_t small_stride = small_width + 2 * IDSE_SMALL_PAD;
    uint8_t *row = full + IDSE_FULL_PAD * full_stride + IDSE_FULL_PAD;
    uint8_t *shrunk = small + IDSE_SMALL_PAD * small_stride + IDSE_SMALL_PAD;
    for (int y = 0; y < full_height; y++, row += full_stride) {
        if (y < height) {
            copy_row(row, (const uint8_t *)luma + y * stride, width, depth);
            memset(row + width, row[width - 1], (size_t)(full_width - width));
        } else {
            memcpy(row, row - full_stride, (size_t)full_width);
        }
        if (y % 4 == 3) {
            shrink_rows(row - 3 * full_stride, full_stride, cols, shrunk);
            shrunk += small_stride;
        }
    }
    extend(full, full_width, full_height, IDSE_FULL_PAD);
    extend(small, small_width, small_height, IDSE_SMALL_PAD);
}
