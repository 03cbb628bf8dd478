#include "kernels.h"
#include "wide.h"

typedef struct {
    uint64_t sum, squares;
} moments;

static inline uint32_t sample(const void *row, int x, int sample_bytes)
{
    return sample_bytes == 1 ? ((const uint8_t *)row)[x] : ((const uint16_t *)row)[x];
}

/* A block that reaches beyond the plane: coordinates are clamped, which repeats the edge. */
static moments edge_block(const uint8_t *plane, ptrdiff_t stride, int width, int height,
                          int sample_bytes, int x0, int y0, int block_width, int block_height)
{
    moments m = {0, 0};
    for (int y = y0; y < y0 + block_height; y++) {
        const uint8_t *row = plane + (y < height ? y : height - 1) * stride;
        for (int x = x0; x < x0 + block_width; x++) {
            const uint32_t value = sample(row, x < width ? x : width - 1, sample_bytes);
            m.sum += value;
            m.squares += (uint64_t)value * value;
        }
    }
    return m;
}

/* Sums of a block inside of an 8-bit plane, in a form that compilers turn into psadbw and pmaddwd. */
static inline moments inner_block_8(const uint8_t *first, ptrdiff_t stride, int width, int height)
{
    int sum = 0, squares = 0;
    for (int y = 0; y < height; y++) {
        const uint8_t *row = first + y * stride;
        for (int x = 0; x < width; x++) {
            const int16_t value = row[x];
            sum += value;
            squares += value * value;
        }
    }
    return (moments){(uint64_t)sum, (uint64_t)squares};
}

static inline moments inner_block_16(const uint8_t *first, ptrdiff_t stride, int width, int height)
{
    uint32_t sum = 0, squares = 0; /* 256 samples of up to 12 bits fit */
    for (int y = 0; y < height; y++) {
        const uint16_t *row = (const uint16_t *)(const void *)(first + y * stride);
        for (int x = 0; x < width; x++) {
            const uint32_t value = row[x];
            sum += value;
            squares += value * value;
        }
    }
    return (moments){sum, squares};
}

WIDE void idse_kernels_ac_energy(const void *plane, ptrdiff_t stride, int width, int height,
                                 int sample_bytes, int block_width, int block_height, int rows,
                                 int cols, uint32_t *energy)
{
    const uint64_t count = (uint64_t)block_width * (uint64_t)block_height;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const int x = c * block_width, y = r * block_height;
            const uint8_t *first = (const uint8_t *)plane + y * stride + (ptrdiff_t)x * sample_bytes;
            moments m;
            if (x + block_width > width || y + block_height > height)
                m = edge_block(plane, stride, width, height, sample_bytes, x, y, block_width,
                               block_height);
            else if (sample_bytes == 2)
                m = inner_block_16(first, stride, block_width, block_height);
            else if (block_width == 16) /* constant widths let the compiler unroll */
                m = inner_block_8(first, stride, 16, block_height);
            else
                m = inner_block_8(first, stride, 8, block_height);
            energy[r * cols + c] += (uint32_t)(m.squares - m.sum * m.sum / count);
        }
}
