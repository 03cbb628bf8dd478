/* Weights of the coefficients of a JPEG: squares of the transform of gradients, block by block, and what
 * allocation makes of them. */
#include "kernels.h"
#include "wide.h"

#include <string.h>

enum { BLOCK = 8, BLOCK_SIZE = 64 };

/* One basis function each; arrays of floats are read and written through it, wherever they begin. */
typedef float lanes __attribute__((vector_size(BLOCK * sizeof(float)), aligned(4), may_alias));

/* The vertical transform of one row of blocks: `out` is width*rows of vertical frequencies. */
WIDE static void transform_down(const idse_gradients *g, const float *factor, int first, int reach,
                                lanes *restrict out)
{
    const lanes *taps = (const lanes *)factor;
    for (int n = 0; n < g->count; n++) {
        const float *from = g->values + n * g->row_step + (ptrdiff_t)first * g->width;
        lanes *to = out + n;
        for (int x = 0; x < g->width; x++, to += g->count) {
            lanes sum = taps[0] * from[x];
            for (int r = 1; r < reach; r++)
                sum += taps[r] * from[(ptrdiff_t)r * g->width + x];
            *to = sum;
        }
    }
}

/* The horizontal one, squared and summed over the rows of the sketch, of one block. */
WIDE static void square_across(const lanes *down, int count, const float *factor, int reach,
                               float *restrict out)
{
    lanes total[BLOCK] = {{0}};
    for (int n = 0; n < count; n++) {
        lanes sum[BLOCK] = {{0}};
        for (int r = 0; r < reach; r++) {
            const lanes seen = down[r * count + n];
            for (int u = 0; u < BLOCK; u++)
                sum[u] += seen * factor[r * BLOCK + u];
        }
        for (int u = 0; u < BLOCK; u++)
            total[u] += sum[u] * sum[u];
    }
    for (int v = 0; v < BLOCK; v++)
        for (int u = 0; u < BLOCK; u++)
            out[v * BLOCK + u] = total[u][v];
}

void idse_kernels_coefficient_weights(const idse_gradients *gradients, const idse_taps *down,
                                      const idse_taps *across, float *scratch, float *out)
{
    lanes *part = (lanes *)scratch;
    for (int row = 0; row < down->blocks; row++) {
        transform_down(gradients, down->factor + (ptrdiff_t)row * down->reach * BLOCK,
                       down->first[row], down->reach, part);
        for (int col = 0; col < across->blocks; col++, out += BLOCK_SIZE)
            square_across(part + (ptrdiff_t)across->first[col] * gradients->count, gradients->count,
                          across->factor + (ptrdiff_t)col * across->reach * BLOCK, across->reach,
                          out);
    }
}

WIDE int idse_kernels_frequency_sums(const float *weights, int64_t blocks, double sums[BLOCK_SIZE])
{
    int negative = 0;
    memset(sums, 0, BLOCK_SIZE * sizeof(*sums));
    for (int64_t b = 0; b < blocks; b++, weights += BLOCK_SIZE)
        for (int k = 0; k < BLOCK_SIZE; k++) {
            sums[k] += (double)weights[k];
            negative |= weights[k] < 0;
        }
    return negative;
}

WIDE void idse_kernels_block_sums(const float *weights, int64_t blocks,
                                  const float factor[BLOCK_SIZE], float *sums)
{
    for (int64_t b = 0; b < blocks; b++, weights += BLOCK_SIZE) {
        float part[BLOCK] = {0}, sum = 0;
        for (int k = 0; k < BLOCK_SIZE; k += BLOCK)
            for (int i = 0; i < BLOCK; i++)
                part[i] += weights[k + i] * factor[k + i];
        for (int i = 0; i < BLOCK; i++)
            sum += part[i];
        sums[b] = sum;
    }
}

WIDE void idse_kernels_blend_weights(const float *restrict weights, int64_t blocks,
                                     const float own[restrict BLOCK_SIZE],
                                     const float *restrict common,
                                     const float spectrum[restrict BLOCK_SIZE], float least,
                                     float *restrict out)
{
    for (int64_t b = 0; b < blocks; b++, weights += BLOCK_SIZE, out += BLOCK_SIZE)
        for (int k = 0; k < BLOCK_SIZE; k++)
            out[k] = common[b] * spectrum[k] + weights[k] * own[k] + least;
}
