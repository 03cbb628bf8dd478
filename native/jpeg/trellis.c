/* Chooses a picture's levels: AC by block, DC along the blocks, with symbol costs that follow the
 * symbols chosen. */
#include "path.h"
#include "runs.h"

#include <math.h>
#include <stdlib.h>

enum {
    ABI = 1,
    PASSES = 2,
    SAMPLE_GROUP = 16,    /* blocks */
    SMALL_PICTURE = 2048, /* blocks of a component: below, all are looked at */
};

/* A level of 1 is not considered where it is worth fewer bits, and not expected in the first place. */
static const float LEAST_BITS = 1, FIRST_BITS = 6;

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

typedef struct {
    const idse_grid *grid;
    const float *const *coefficients, *const *weights;
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
            q[i].step[k] = tables[i * BLOCK_SIZE + k];
            q[i].inverse[k] = 1.0F / q[i].step[k];
        }
}

/* -log2 of the symbols' probabilities; half an occurrence is added to each. */
static void bits_of_counts(const histogram *counts, int symbols, float *bits)
{
    double total = 0;
    for (int i = 0; i < symbols; i++)
        total += counts->count[i] + 0.5;
    for (int i = 0; i < symbols; i++)
        bits[i] = fminf(fmaxf((float)log2(total / (counts->count[i] + 0.5)), 1.0F), 16.0F);
}

/* Plain rounding, halves away from 0. */
WIDE static void round_block(const float *restrict coefficients, const quantiser *restrict q,
                             int16_t *restrict levels)
{
    for (int k = 0; k < BLOCK_SIZE; k++) {
        const float most = k ? MAX_AC : 1024;
        float ratio = coefficients[k] * q->inverse[k];
        ratio = ratio < -most ? -most : ratio > most ? most : ratio;
        levels[k] = (int16_t)(ratio + (ratio < 0 ? -0.5F : 0.5F));
    }
    levels[0] = levels[0] > 1023 ? 1023 : levels[0];
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

/* Blocks in groups, of which a pseudo-random quarter is looked at for statistics. */
static inline int is_sampled(int64_t block, int64_t blocks)
{
    return blocks < SMALL_PICTURE || (uint32_t)(block / SAMPLE_GROUP) * 2654435761u >> 30 == 0;
}

/* Symbols of the candidates at their nearest levels: what is known before anything was chosen. */
static void count_candidates(const scaled_block *block, histogram *counts)
{
    int last = 0;
    for (uint64_t left = block->candidates; left; left &= left - 1) {
        const int k = __builtin_ctzll(left), run = k - last - 1;
        const float ratio = block->ratio[idse_natural[k]];
        const int level = ratio < MAX_AC ? (int)(ratio + 0.5F) : MAX_AC;
        counts->count[ZRL] += (uint32_t)run / 16;
        counts->count[run % 16 << 4 | magnitude_bits((unsigned)level)]++;
        last = k;
    }
    counts->count[0] += last < 63;
}

/* One pass over a component's AC. Without `costs` candidates are only counted; without `levels` only a
 * sample is looked at. */
static void pass_ac(const job *j, int i, const step_costs *costs, histogram *counts,
                    int16_t *levels)
{
    const int64_t blocks = grid_blocks(j->grid, i);
    const float threshold = j->lambda * (costs ? LEAST_BITS : FIRST_BITS);
    scaled_block scaled;
    int16_t unused[BLOCK_SIZE];
    for (int64_t b = 0; b < blocks; b++) {
        if (!levels && !is_sampled(b, blocks))
            continue;
        const int64_t at = b * BLOCK_SIZE;
        const float *coefficients = j->coefficients[i] + at;
        idse_scale_block(coefficients, j->weights[i] + at, &j->quantisers[i], threshold, &scaled);
        if (!costs) {
            count_candidates(&scaled, counts);
            continue;
        }
        int16_t *out = levels ? levels + at : unused;
        memset(out, 0, sizeof(unused));
        idse_choose_band(&scaled, coefficients, costs, 1, 63, 1, counts, out);
    }
}

static void choose_sequential(const job *j)
{
    for (int table = 0; table < 2; table++) {
        const int first = table, end = table ? j->grid->components : 1;
        step_costs costs;
        float bits[SYMBOLS];
        for (int pass = 0; pass < PASSES; pass++) {
            histogram counts = {0};
            for (int i = first; i < end; i++)
                pass_ac(j, i, pass ? &costs : NULL, &counts, NULL);
            bits_of_counts(&counts, SYMBOLS, bits);
            idse_step_costs(bits, bits[0], j->lambda, &costs);
        }
        for (int i = first; i < end; i++)
            pass_ac(j, i, &costs, NULL, j->levels + grid_offset(j->grid, i) * BLOCK_SIZE);
    }
}

/* Chooses the bands' levels of one component: cost and keep have a value for each of its blocks. */
static int choose_band(const job *j, const idse_band *band, const histogram *counts, float *cost,
                       uint8_t *ends, uint8_t *keep)
{
    const int i = band->component;
    const int64_t blocks = grid_blocks(j->grid, i);
    int16_t *levels = j->levels + grid_offset(j->grid, i) * BLOCK_SIZE;
    float bits[SYMBOLS];
    step_costs steps;
    run_costs runs;
    bits_of_counts(counts, SYMBOLS, bits);
    idse_step_costs(bits, bits[0], j->lambda, &steps);
    idse_run_costs(bits, j->lambda, &runs);
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t at = b * BLOCK_SIZE;
        scaled_block scaled;
        for (int k = band->first; k <= band->last; k++)
            levels[at + idse_natural[k]] = 0;
        idse_scale_block(j->coefficients[i] + at, j->weights[i] + at, &j->quantisers[i],
                         LEAST_BITS * j->lambda, &scaled);
        cost[b] = idse_choose_band(&scaled, j->coefficients[i] + at, &steps, band->first,
                                   band->last, 0, NULL, levels + at);
        ends[b] = !levels[at + idse_natural[band->last]];
    }
    const int status = idse_choose_runs(cost, ends, blocks, &runs, keep);
    for (int64_t b = 0; status == IDSE_OK && b < blocks; b++)
        if (!keep[b])
            for (int k = band->first; k <= band->last; k++)
                levels[b * BLOCK_SIZE + idse_natural[k]] = 0;
    return status;
}

static int choose_progressive(const job *j, const idse_band *bands, int n_bands)
{
    const size_t most = (size_t)grid_blocks(j->grid, 0);
    float *cost = malloc(most * (sizeof(*cost) + 2));
    if (!cost)
        return IDSE_NO_MEMORY;
    uint8_t *ends = (uint8_t *)(cost + most), *keep = ends + most;
    int status = IDSE_OK;
    round_levels(j);
    for (int n = 0; n < n_bands && status == IDSE_OK; n++)
        for (int pass = 0; pass < PASSES && status == IDSE_OK; pass++) {
            scan_counts counts = {0};
            const idse_scan scan = {.components = 1, .component = {bands[n].component},
                                    .ss = bands[n].first, .se = bands[n].last};
            idse_count_scan(j->grid, j->levels, &scan, 1, 0, &counts);
            status = choose_band(j, &bands[n], &counts.ac[scan_table(bands[n].component)], cost,
                                 ends, keep);
        }
    free(cost);
    return status;
}

static int choose_dc(const job *j)
{
    dc_chain *chains[3] = {0};
    int status = IDSE_OK;
    for (int i = 0; i < j->grid->components; i++) {
        chains[i] = idse_dc_open(j->grid, i, j->grid->components > 1, j->coefficients[i],
                                 j->weights[i], &j->quantisers[i]);
        if (!chains[i])
            status = IDSE_NO_MEMORY;
    }
    for (int table = 0; table < 2 && status == IDSE_OK; table++)
        for (int pass = 0; pass < PASSES; pass++) {
            const int first = table, end = table ? j->grid->components : 1;
            histogram counts = {0};
            float bits[12];
            for (int i = first; i < end; i++)
                idse_dc_count(chains[i], &counts);
            bits_of_counts(&counts, 12, bits);
            for (int i = first; i < end; i++)
                idse_dc_choose(chains[i], bits, j->lambda);
        }
    for (int i = 0; i < j->grid->components; i++) {
        if (status == IDSE_OK)
            idse_dc_store(chains[i], j->levels + grid_offset(j->grid, i) * BLOCK_SIZE);
        idse_dc_free(chains[i]);
    }
    return status;
}

int idse_trellis_run(const idse_grid *grid, const float *const coefficients[3],
                     const float *const weights[3], const uint16_t *tables, float lambda,
                     const idse_band *bands, int n_bands, int16_t *levels)
{
    job j = {.grid = grid, .coefficients = coefficients, .weights = weights, .lambda = lambda,
             .levels = levels};
    load_quantisers(grid, tables, j.quantisers);
    if (lambda <= 0) {
        round_levels(&j);
        return IDSE_OK;
    }
    if (n_bands) {
        const int status = choose_progressive(&j, bands, n_bands);
        if (status != IDSE_OK)
            return status;
    } else {
        choose_sequential(&j);
    }
    return choose_dc(&j);
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
