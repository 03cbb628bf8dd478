/* The library's entry points for choosing levels, and what they share. */
#include "choose.h"
#include "sample.h"

#include <math.h>

enum { ABI = 2 };

const uint8_t idse_natural[BLOCK_SIZE] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
};

const uint8_t idse_zigzag[BLOCK_SIZE] = {
    0,  1,  5,  6,  14, 15, 27, 28, 2,  4,  7,  13, 16, 26, 29, 42, 3,  8,  12, 17, 25, 30,
    41, 43, 9,  11, 18, 24, 31, 40, 44, 53, 10, 19, 23, 32, 39, 45, 52, 54, 20, 22, 33, 38,
    46, 51, 55, 60, 21, 34, 37, 47, 50, 56, 59, 61, 35, 36, 48, 49, 57, 58, 62, 63,
};

int idse_trellis_abi(void)
{
    return ABI;
}

static void load_quantisers(const idse_grid *grid, const uint16_t *tables, quantiser *q)
{
    for (int i = 0; i < grid->components; i++)
        for (int k = 0; k < BLOCK_SIZE; k++) {
            q[i].step[k] = tables[i * BLOCK_SIZE + k];
            q[i].inverse[k] = 1.0F / q[i].step[k];
        }
}

/* Plain rounding, halves away from 0. Signs cannot be predicted, hence no branches: limits apart from
 * conversion, or the compiler makes some. */
WIDE static void round_block(const float *restrict coefficients, const quantiser *restrict q,
                             int16_t *restrict levels)
{
    float ratio[BLOCK_SIZE];
    for (int k = 0; k < BLOCK_SIZE; k++) {
        const float value = coefficients[k] * q->inverse[k];
        const float above = value < -MAX_AC ? -MAX_AC : value;
        ratio[k] = above > MAX_AC ? MAX_AC : above;
    }
    for (int k = 0; k < BLOCK_SIZE; k++)
        levels[k] = (int16_t)(ratio[k] + copysignf(0.5F, ratio[k]));
    if (coefficients[0] * q->inverse[0] <= -1023.5F) /* DC goes one lower than AC */
        levels[0] = -1024;
}

static void round_levels(const job *j)
{
    int16_t *levels = j->levels;
    for (int i = 0; i < j->grid->components; i++) {
        const int64_t count = grid_blocks(j->grid, i) * BLOCK_SIZE;
        for (int64_t at = 0; at < count; at += BLOCK_SIZE)
            round_block(j->coefficients[i] + at, &j->quantisers[i], levels + at);
        levels += count;
    }
}

static job make_job(const idse_grid *grid, const float *const coefficients[3],
                    const float *const weights[3], const uint16_t *tables, float lambda,
                    int progressive)
{
    job j = {.grid = grid, .coefficients = coefficients, .weights = weights, .lambda = lambda,
             .progressive = progressive};
    load_quantisers(grid, tables, j.quantisers);
    return j;
}

int idse_trellis_run(const idse_grid *grid, const float *const coefficients[3],
                     const float *const weights[3], const uint16_t *tables, float lambda,
                     int progressive, int16_t *levels)
{
    job j = make_job(grid, coefficients, weights, tables, lambda, progressive);
    j.levels = levels;
    if (lambda <= 0) {
        round_levels(&j);
        return IDSE_OK;
    }
    const int status = idse_choose_ac(&j);
    return status == IDSE_OK ? idse_choose_dc(&j) : status;
}

double idse_trellis_estimate(const idse_grid *grid, const float *const coefficients[3],
                             const float *const weights[3], const uint16_t *tables, float lambda,
                             int progressive)
{
    const job j = make_job(grid, coefficients, weights, tables, lambda, progressive);
    return idse_estimate_bits(&j);
}

WIDE static float block_error(const float *restrict coefficients, const float *restrict weights,
                              const quantiser *restrict q, const int16_t *restrict levels)
{
    float part[BLOCK] = {0}, sum = 0;
    for (int k = 0; k < BLOCK_SIZE; k += BLOCK)
        for (int i = 0; i < BLOCK; i++) {
            const float error = coefficients[k + i] - q->step[k + i] * levels[k + i];
            part[i] += weights[k + i] * error * error;
        }
    for (int i = 0; i < BLOCK; i++)
        sum += part[i];
    return sum;
}

double idse_trellis_distortion(const idse_grid *grid, const float *const coefficients[3],
                               const float *const weights[3], const uint16_t *tables,
                               const int16_t *levels)
{
    quantiser quantisers[3];
    double sum = 0;
    load_quantisers(grid, tables, quantisers);
    for (int i = 0; i < grid->components; i++) {
        const int64_t count = grid_blocks(grid, i) * BLOCK_SIZE;
        for (int64_t at = 0; at < count; at += BLOCK_SIZE)
            sum += block_error(coefficients[i] + at, weights[i] + at, &quantisers[i], levels + at);
        levels += count;
    }
    return sum;
}

WIDE int idse_trellis_check(const float *values, int64_t count)
{
    enum { STRIDE = 1024 };
    int infinite = 0, negative = 0;
    for (int64_t at = 0; at < count; at += STRIDE) {
        const int64_t end = count - at < STRIDE ? count : at + STRIDE;
        for (int64_t i = at; i < end; i++) {
            uint32_t bits;
            memcpy(&bits, values + i, sizeof(bits));
            infinite |= (bits & 0x7F800000u) == 0x7F800000u;
            negative |= bits > 0x80000000u; /* -0 is not negative */
        }
    }
    return infinite ? IDSE_NOT_FINITE : negative ? IDSE_NEGATIVE : IDSE_OK;
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void idse_trellis_mix(const int16_t *one, const int16_t *two, int64_t blocks, int64_t count,
                      int16_t *out)
{
    /* Steps of about the golden section, coprime to the number of blocks: a permutation whose first
     * blocks always are spread evenly. */
    int64_t step = (int64_t)((double)blocks * 0.6180339887498949) | 1, rank = 0;
    while (common_divisor(blocks, step) > 1)
        step += 2;
    step %= blocks;
    for (int64_t b = 0; b < blocks; b++, out += BLOCK_SIZE) {
        memcpy(out, (rank < count ? one : two) + b * BLOCK_SIZE, sizeof(*out) * BLOCK_SIZE);
        rank += step;
        if (rank >= blocks)
            rank -= blocks;
    }
}
