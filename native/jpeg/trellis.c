/* Chooses a picture's levels: AC by block, DC along the blocks, with symbol costs that follow the
 * symbols chosen. */
#include "path.h"

#include <math.h>
#include <stdlib.h>

enum { ABI = 1, PASSES = 2 };

const uint8_t idse_natural[BLOCK_SIZE] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
};

typedef struct {
    const idse_grid *grid;
    const float *coefficients, *weights;
    quantiser quantisers[3];
    float lambda;
    int16_t *levels;
} job;

int idse_trellis_abi(void)
{
    return ABI;
}

static void load_quantisers(const idse_grid *grid, const uint16_t *tables, quantiser *q)
{
    for (int i = 0; i < grid->components; i++)
        for (int k = 0; k < BLOCK_SIZE; k++) {
            q[i].step[k] = tables[i * BLOCK_SIZE + idse_natural[k]];
            q[i].inverse[k] = 1.0F / q[i].step[k];
        }
}

/* -log2 of the symbols' probabilities; half an occurrence is added to each. */
static void bits_of_counts(const uint32_t *count, int n, float *bits)
{
    double total = 0;
    for (int i = 0; i < n; i++)
        total += count[i] + 0.5;
    for (int i = 0; i < n; i++)
        bits[i] = fminf(fmaxf((float)log2(total / (count[i] + 0.5)), 1.0F), 16.0F);
}

/* Plain rounding, with a dead zone: a level of 1 must lower the distortion by `threshold`. */
static void round_levels(const job *j, float threshold)
{
    int64_t at = 0;
    for (int i = 0; i < j->grid->components; i++) {
        const quantiser *q = &j->quantisers[i];
        for (int64_t b = grid_blocks(j->grid, i); b > 0; b--, at += BLOCK_SIZE)
            for (int k = 0; k < BLOCK_SIZE; k++) {
                const float c = j->coefficients[at + k];
                const float ratio = fabsf(c) * q->inverse[k];
                const float limit = k ? MAX_AC : 1024;
                float level = truncf(fminf(ratio + 0.5F, limit));
                const float gain = j->weights[at + k] * q->step[k] * q->step[k] *
                                   (2 * ratio - 1);
                if (k && level == 1 && gain < threshold)
                    level = 0;
                j->levels[at + k] = (int16_t)(c < 0 ? -level : level);
            }
    }
}

static const idse_scan whole_scan = {.components = 3, .component = {0, 1, 2}, .se = 63};

static void learn_costs(const job *j, symbol_bits *bits)
{
    scan_counts counts = {0};
    idse_scan scan = whole_scan;
    scan.components = j->grid->components;
    idse_count_scan(j->grid, j->levels, &scan, 0, 0, &counts);
    for (int i = 0; i < 2; i++) {
        bits_of_counts(counts.ac[i].count, SYMBOLS, bits->ac[i]);
        bits_of_counts(counts.dc[i].count, 12, bits->dc[i]);
    }
}

static void choose_ac(const job *j, const symbol_bits *bits)
{
    int64_t at = 0;
    for (int i = 0; i < j->grid->components; i++) {
        step_costs costs;
        const float *ac = bits->ac[scan_table(i)];
        idse_step_costs(ac, ac[0], j->lambda, &costs);
        for (int64_t b = grid_blocks(j->grid, i); b > 0; b--, at += BLOCK_SIZE)
            idse_choose_band(j->coefficients + at, j->weights + at, &j->quantisers[i], &costs, 1,
                             63, 1, j->levels + at);
    }
}

static int choose_dc(const job *j, const symbol_bits *bits, int interleaved)
{
    for (int i = 0; i < j->grid->components; i++) {
        const int64_t at = grid_offset(j->grid, i) * BLOCK_SIZE;
        const int status = idse_choose_dc(j->grid, i, interleaved, j->coefficients + at,
                                          j->weights + at, &j->quantisers[i],
                                          bits->dc[scan_table(i)], j->lambda, j->levels + at);
        if (status != IDSE_OK)
            return status;
    }
    return IDSE_OK;
}

int idse_trellis_run(const idse_grid *grid, const float *coefficients, const float *weights,
                     const uint16_t *tables, float lambda, const idse_band *bands, int n_bands,
                     int16_t *levels)
{
    job j = {.grid = grid, .coefficients = coefficients, .weights = weights, .lambda = lambda,
             .levels = levels};
    symbol_bits bits;
    (void)bands;
    (void)n_bands;
    load_quantisers(grid, tables, j.quantisers);
    if (lambda <= 0) {
        round_levels(&j, 0);
        return IDSE_OK;
    }
    round_levels(&j, 6 * lambda);
    for (int pass = 0; pass < PASSES; pass++) {
        learn_costs(&j, &bits);
        choose_ac(&j, &bits);
        const int status = choose_dc(&j, &bits, 1);
        if (status != IDSE_OK)
            return status;
    }
    return IDSE_OK;
}

double idse_trellis_distortion(const idse_grid *grid, const float *coefficients,
                               const float *weights, const uint16_t *tables, const int16_t *levels)
{
    quantiser quantisers[3];
    double sum = 0;
    int64_t at = 0;
    load_quantisers(grid, tables, quantisers);
    for (int i = 0; i < grid->components; i++)
        for (int64_t b = grid_blocks(grid, i); b > 0; b--, at += BLOCK_SIZE) {
            float error[BLOCK_SIZE], total = 0;
            for (int k = 0; k < BLOCK_SIZE; k++) {
                const float e = coefficients[at + k] - quantisers[i].step[k] * levels[at + k];
                error[k] = weights[at + k] * e * e;
            }
            for (int k = 0; k < BLOCK_SIZE; k++)
                total += error[k];
            sum += total;
        }
    return sum;
}

int idse_trellis_zigzag(const float *natural, int64_t blocks, int weights, float *zigzag)
{
    for (int64_t b = 0; b < blocks; b++, natural += BLOCK_SIZE, zigzag += BLOCK_SIZE) {
        float check = 0, lowest = 0;
        for (int k = 0; k < BLOCK_SIZE; k++) {
            check += natural[k] * 0; /* not 0 where it is infinite or not a number */
            lowest = fminf(lowest, natural[k]);
        }
        if (check != 0)
            return IDSE_NOT_FINITE;
        if (weights && lowest < 0)
            return IDSE_NEGATIVE;
        for (int k = 0; k < BLOCK_SIZE; k++)
            zigzag[k] = natural[idse_natural[k]];
    }
    return IDSE_OK;
}

void idse_trellis_to_natural(const int16_t *zigzag, int64_t blocks, int16_t *natural)
{
    for (int64_t b = 0; b < blocks; b++, natural += BLOCK_SIZE, zigzag += BLOCK_SIZE)
        for (int k = 0; k < BLOCK_SIZE; k++)
            natural[idse_natural[k]] = zigzag[k];
}

void idse_trellis_from_natural(const int16_t *natural, int64_t blocks, int16_t *zigzag)
{
    for (int64_t b = 0; b < blocks; b++, natural += BLOCK_SIZE, zigzag += BLOCK_SIZE)
        for (int k = 0; k < BLOCK_SIZE; k++)
            zigzag[k] = natural[idse_natural[k]];
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
