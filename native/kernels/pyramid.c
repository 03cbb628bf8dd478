#include "kernels.h"

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

static void halve_row(const uint8_t *restrict a, const uint8_t *restrict b, int width,
                      uint8_t *restrict to)
{
    for (int x = 0; x < width; x++)
        to[x] = (uint8_t)((a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1] + 2) >> 2);
}

void idse_kernels_luma_pyramid(const void *luma, ptrdiff_t stride, int width, int height, int depth,
                               int rows, int cols, uint8_t *full, uint8_t *half)
{
    const int full_width = cols * IDSE_MB, full_height = rows * IDSE_MB;
    const ptrdiff_t full_stride = full_width + 2 * IDSE_FULL_PAD;
    uint8_t *inner = full + IDSE_FULL_PAD * full_stride + IDSE_FULL_PAD;
    for (int y = 0; y < full_height; y++) {
        uint8_t *row = inner + y * full_stride;
        if (y >= height) {
            memcpy(row, row - full_stride, (size_t)full_width);
            continue;
        }
        copy_row(row, (const uint8_t *)luma + y * stride, width, depth);
        memset(row + width, row[width - 1], (size_t)(full_width - width));
    }
    extend(full, full_width, full_height, IDSE_FULL_PAD);

    const int half_width = full_width / 2, half_height = full_height / 2;
    const ptrdiff_t half_stride = half_width + 2 * IDSE_HALF_PAD;
    for (int y = 0; y < half_height; y++)
        halve_row(inner + 2 * y * full_stride, inner + (2 * y + 1) * full_stride, half_width,
                  half + (y + IDSE_HALF_PAD) * half_stride + IDSE_HALF_PAD);
    extend(half, half_width, half_height, IDSE_HALF_PAD);
}
