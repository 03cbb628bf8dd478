/* The searches against trying everything, and every function at its borders under the sanitizers, on
 * buffers of exactly the promised size. */
#include "choose.h"
#include "runs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                   \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                       \
        }                                                                  \
    } while (0)

static uint32_t state = 1;

static uint32_t noise(uint32_t below)
{
    state = state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)state * below >> 32);
}

static float uniform(float low, float high)
{
    return low + (high - low) * (float)noise(1 << 24) / (1 << 24);
}

static void *allocate(size_t size)
{
    void *memory = malloc(size ? size : 1);
    CHECK(memory);
    return memory;
}

static float block_cost(const scaled_block *block, const int levels[BLOCK_SIZE],
                        const float ac[SYMBOLS], float lambda)
{
    float distortion = 0, bits = 0;
    int last = 0;
    for (int k = 1; k < BLOCK_SIZE; k++) {
        const int n = idse_natural[k];
        if (!levels[k])
            continue;
        const float error = block->ratio[n] - (float)levels[k];
        distortion += block->scale[n] * (error * error - block->ratio[n] * block->ratio[n]);
        int run = k - last - 1;
        for (; run > 15; run -= 16)
            bits += ac[ZRL];
        const int size = magnitude_bits((unsigned)levels[k]);
        bits += ac[run << 4 | size] + (float)size;
        last = k;
    }
    return distortion + lambda * (bits + (last < 63 ? ac[0] : 0));
}

/* The cheapest levels of the positions from `at` on, none above its coefficient's nearest. */
static float try_levels(const scaled_block *block, int at, int levels[BLOCK_SIZE],
                        const float ac[SYMBOLS], float lambda)
{
    while (at < BLOCK_SIZE && !(block->candidates >> at & 1))
        at++;
    if (at == BLOCK_SIZE)
        return block_cost(block, levels, ac, lambda);
    float best = INFINITY;
    const int nearest = (int)(block->ratio[idse_natural[at]] + 0.5F);
    for (int level = 0; level <= nearest; level++) {
        levels[at] = level;
        best = fminf(best, try_levels(block, at + 1, levels, ac, lambda));
    }
    levels[at] = 0;
    return best;
}

static void test_block(void)
{
    float coefficients[BLOCK_SIZE] = {0}, weights[BLOCK_SIZE], ac[SYMBOLS];
    quantiser q;
    step_costs costs;
    const float lambda = uniform(0.05F, 2);
    for (int s = 0; s < SYMBOLS; s++)
        ac[s] = uniform(1, 16);
    for (int k = 0; k < BLOCK_SIZE; k++) {
        q.step[k] = (float)(1 + noise(30));
        q.inverse[k] = 1 / q.step[k];
        weights[k] = uniform(0, 1) / (q.step[k] * q.step[k]);
    }
    for (int i = 0; i < 5; i++) {
        const int n = (int)noise(BLOCK_SIZE);
        coefficients[n] = uniform(-8, 8) * q.step[n];
    }
    coefficients[63] = noise(2) ? 2 * q.step[63] : 0;
    scaled_block block;
    idse_scale_block(coefficients, weights, &q, &block);
    idse_step_costs(ac, lambda, &costs);
    int16_t chosen[BLOCK_SIZE] = {0};
    histogram counts = {0};
    const block_choice choice = idse_choose_block(&block, coefficients, &costs, &counts, chosen);
    int levels[BLOCK_SIZE] = {0}, last = 0;
    uint32_t symbols = 0, nonzero = 0;
    for (int k = 1; k < BLOCK_SIZE; k++) {
        const int level = chosen[idse_natural[k]];
        CHECK(!level || (level < 0) == (coefficients[idse_natural[k]] < 0));
        levels[k] = abs(level);
        last = level ? k : last;
        nonzero += level != 0;
    }
    for (int s = 0; s < SYMBOLS; s++)
        symbols += s == ZRL ? 0 : counts.count[s];
    CHECK(symbols == nonzero && choice.last == last && !chosen[0]);
    const float cost = block_cost(&block, levels, ac, lambda);
    CHECK(fabsf(cost - choice.cost - (last < 63 ? costs.end : 0)) < 1e-3F);
    int none[BLOCK_SIZE] = {0};
    CHECK(cost <= try_levels(&block, 0, none, ac, lambda) + 1e-3F);
}

static double runs_cost(const float *cost, const uint8_t *last, const uint8_t *keep, int blocks,
                        const run_costs *costs)
{
    double sum = 0;
    uint32_t run = 0;
    for (int b = 0; b <= blocks; b++) {
        const int breaks = b == blocks || keep[b];
        if (breaks && run) {
            sum += costs->total[magnitude_bits(run) - 1];
            run = 0;
        }
        if (b < blocks && keep[b])
            sum += cost[b];
        run += b < blocks && (!keep[b] || last[b] < 63);
    }
    return sum;
}

static void test_runs(double *chosen, double *best)
{
    enum { BLOCKS = 10 };
    float cost[BLOCKS], ac[SYMBOLS];
    uint8_t last[BLOCKS], keep[BLOCKS], tried[BLOCKS];
    run_costs costs;
    int possible = 0;
    for (int s = 0; s < SYMBOLS; s++)
        ac[s] = uniform(1, 8);
    idse_run_costs(ac, 1, &costs);
    for (int b = 0; b < BLOCKS; b++) {
        last[b] = (uint8_t)(noise(4) ? 0 : noise(2) ? 63 : 1 + noise(62));
        cost[b] = uniform(-12, 2);
        possible |= (last[b] > 0) << b;
    }
    CHECK(idse_choose_runs(cost, last, BLOCKS, &costs, keep) == IDSE_OK);
    double least = INFINITY;
    for (int mask = 0; mask < 1 << BLOCKS; mask++) {
        if (mask & ~possible)
            continue;
        for (int b = 0; b < BLOCKS; b++)
            tried[b] = (uint8_t)(mask >> b & 1);
        least = fmin(least, runs_cost(cost, last, tried, BLOCKS, &costs));
    }
    for (int b = 0; b < BLOCKS; b++)
        CHECK(!keep[b] || last[b]);
    const double found = runs_cost(cost, last, keep, BLOCKS, &costs);
    CHECK(found >= least - 1e-4);
    *chosen += found;
    *best += least;
}

static double chain_cost(const float *ratio, const float *scale, const int *level, int blocks,
                         const float sizes[12], float lambda)
{
    double sum = 0;
    for (int b = 0; b < blocks; b++) {
        const int size = magnitude_bits((unsigned)abs(level[b] - (b ? level[b - 1] : 0)));
        const double error = ratio[b] - (float)level[b];
        sum += scale[b] * error * error + lambda * (sizes[size] + (float)size);
    }
    return sum;
}

static void test_chain(void)
{
    enum { BLOCKS = 5 };
    const idse_grid grid = {.components = 1, .horizontal = {1}, .vertical = {1}, .rows = {1},
                            .cols = {BLOCKS}};
    float coefficients[BLOCKS * BLOCK_SIZE] = {0}, weights[BLOCKS * BLOCK_SIZE] = {0};
    float ratio[BLOCKS], scale[BLOCKS], sizes[12];
    quantiser q = {.step = {1}, .inverse = {1}};
    const float lambda = uniform(0.01F, 1);
    for (int s = 0; s < 12; s++)
        sizes[s] = uniform(1, 9);
    for (int b = 0; b < BLOCKS; b++) {
        ratio[b] = coefficients[b * BLOCK_SIZE] = uniform(-20, 20);
        scale[b] = weights[b * BLOCK_SIZE] = uniform(0, 2);
    }
    dc_chain *chain = idse_dc_open(&grid, 0, 0, coefficients, weights, &q, lambda);
    CHECK(chain);
    idse_dc_choose(chain, sizes, lambda);
    int16_t levels[BLOCKS * BLOCK_SIZE];
    idse_dc_store(chain, levels);
    idse_dc_free(chain);
    int level[BLOCKS], tried[BLOCKS];
    for (int b = 0; b < BLOCKS; b++)
        level[b] = levels[b * BLOCK_SIZE];
    const double found = chain_cost(ratio, scale, level, BLOCKS, sizes, lambda);
    for (int mask = 0; mask < 243; mask++) {
        int left = mask;
        for (int b = 0; b < BLOCKS; b++, left /= 3)
            tried[b] = (int)floorf(ratio[b] + 0.5F) + left % 3 - 1;
        CHECK(found <= chain_cost(ratio, scale, tried, BLOCKS, sizes, lambda) + 1e-3);
    }
}

/* Interleaved scans visit MCU by MCU, and every block once. */
static void test_walk(int rows, int cols)
{
    const idse_grid grid = {.components = 3, .horizontal = {2, 1, 1}, .vertical = {2, 1, 1},
                            .rows = {rows}, .cols = {cols}};
    walk w = walk_start(&grid, 0, 1);
    for (int y = 0; y < rows; y += 2)
        for (int x = 0; x < cols; x += 2)
            for (int i = 0; i < 4; i++)
                if (y + i / 2 < rows && x + i % 2 < cols)
                    CHECK(walk_next(&w) == (y + i / 2) * cols + x + i % 2);
}

static int ceil_div(int a, int b)
{
    return (a + b - 1) / b;
}

static idse_grid make_grid(int width, int height, int across, int down, int components)
{
    idse_grid grid = {.components = components};
    for (int i = 0; i < components; i++) {
        grid.horizontal[i] = i ? 1 : across;
        grid.vertical[i] = i ? 1 : down;
        grid.rows[i] = ceil_div(ceil_div(height, i ? down : 1), 8);
        grid.cols[i] = ceil_div(ceil_div(width, i ? across : 1), 8);
    }
    return grid;
}

static void check_scan(const idse_grid *grid, const int16_t *levels, idse_scan scan,
                       int progressive, int64_t interval)
{
    int64_t header;
    const int64_t about =
        idse_trellis_scan_bytes(grid, levels, &scan, progressive, interval, 0, &header);
    const int64_t exact =
        idse_trellis_scan_bytes(grid, levels, &scan, progressive, interval, 1, &header);
    CHECK(header > 0 && about > header && exact >= about && (interval || exact <= 2 * about));
}

static void test_scans(const idse_grid *grid, const int16_t *levels)
{
    for (int64_t interval = 0; interval < 4; interval += 3) {
        idse_scan all = {.components = grid->components, .component = {0, 1, 2}, .se = 63};
        check_scan(grid, levels, all, 0, interval);
        all.se = 0;
        check_scan(grid, levels, all, 1, interval);
        all.al = 1;
        check_scan(grid, levels, all, 1, interval);
        all.ah = 1;
        all.al = 0;
        check_scan(grid, levels, all, 1, interval);
        for (int i = 0; i < grid->components; i++)
            for (int al = 0; al < 3; al++) {
                check_scan(grid, levels, (idse_scan){1, {i}, 1, 63, 0, al}, 1, interval);
                check_scan(grid, levels, (idse_scan){1, {i}, 6, 6, al + 1, al}, 1, interval);
                check_scan(grid, levels, (idse_scan){1, {i}, 1, 63, al + 1, al}, 1, interval);
            }
    }
}

static void test_picture(int width, int height, int across, int down, int components)
{
    const idse_grid grid = make_grid(width, height, across, down, components);
    const size_t size = (size_t)(width * height) * (components == 3 ? 3 : 1);
    uint8_t *pixels = allocate(size);
    float *coefficients[3] = {0}, *weights[3] = {0};
    uint8_t *samples[3] = {0};
    int64_t blocks = 0;
    for (size_t i = 0; i < size; i++)
        pixels[i] = (uint8_t)(i * 7 / 5 + noise(90));
    for (int i = 0; i < components; i++) {
        const size_t values = (size_t)grid_blocks(&grid, i) * BLOCK_SIZE;
        coefficients[i] = allocate(values * sizeof(float));
        weights[i] = allocate(values * sizeof(float));
        samples[i] = allocate((size_t)(ceil_div(width, i ? across : 1) *
                                       ceil_div(height, i ? down : 1)));
        for (size_t k = 0; k < values; k++)
            weights[i][k] = noise(8) ? uniform(0, 1e-3F) : 0;
        blocks += grid_blocks(&grid, i);
    }
    CHECK(idse_trellis_transform(pixels, width * (components == 3 ? 3 : 1), width, height,
                                 components == 3 ? 3 : 1, &grid, coefficients, samples) == IDSE_OK);
    int16_t *levels = allocate((size_t)blocks * BLOCK_SIZE * sizeof(int16_t));
    int16_t *other = allocate((size_t)blocks * BLOCK_SIZE * sizeof(int16_t));
    uint16_t tables[3 * BLOCK_SIZE];
    for (int k = 0; k < 3 * BLOCK_SIZE; k++)
        tables[k] = (uint16_t)(1 + noise(40));
    for (int progressive = 0; progressive < 2; progressive++)
        for (float lambda = 0; lambda < 2; lambda += 0.3F) {
            const float *const *c = (const float *const *)coefficients;
            const float *const *w = (const float *const *)weights;
            CHECK(idse_trellis_run(&grid, c, w, tables, lambda, progressive, levels) == IDSE_OK);
            CHECK(idse_trellis_distortion(&grid, c, w, tables, levels) >= 0);
            test_scans(&grid, levels);
        }
    for (int64_t k = 0; k < blocks * BLOCK_SIZE; k++)
        other[k] = noise(5) ? 0 : (int16_t)(noise(2047) - 1023);
    test_scans(&grid, other);
    int16_t *mixed = allocate((size_t)blocks * BLOCK_SIZE * sizeof(int16_t));
    for (int64_t count = 0; count <= blocks; count++) {
        int64_t taken = 0;
        idse_trellis_mix(other, levels, blocks, count, mixed);
        for (int64_t b = 0; b < blocks; b++)
            taken += !memcmp(mixed + b * BLOCK_SIZE, other + b * BLOCK_SIZE,
                             BLOCK_SIZE * sizeof(int16_t));
        CHECK(taken == count);
    }
    free(pixels);
    for (int i = 0; i < components; i++) {
        free(coefficients[i]);
        free(weights[i]);
        free(samples[i]);
    }
    free(levels);
    free(other);
    free(mixed);
}

static void test_check(void)
{
    float values[5] = {0, -0.0F, 1e38F, 1e-45F, 3};
    CHECK(idse_trellis_check(values, 5) == IDSE_OK);
    values[4] = -1e-45F;
    CHECK(idse_trellis_check(values, 5) == IDSE_NEGATIVE && idse_trellis_check(values, 4) == IDSE_OK);
    values[0] = INFINITY;
    CHECK(idse_trellis_check(values, 5) == IDSE_NOT_FINITE);
    values[0] = -NAN;
    CHECK(idse_trellis_check(values, 5) == IDSE_NOT_FINITE);
}

/* More occurrences double with every symbol: lengths reach the limit and beyond. */
static void test_huffman(int symbols)
{
    histogram counts = {0};
    huffman table;
    for (int s = 0; s < symbols; s++)
        counts.count[s] = 1U << s;
    idse_huffman_build(&counts, &table);
    double space = 0;
    for (int s = 0; s < symbols; s++) {
        CHECK(table.length[s] >= 1 && table.length[s] <= 16);
        space += ldexp(1, -table.length[s]);
        CHECK(table.code[s] < (1U << table.length[s]) - 1);
    }
    CHECK(table.symbols == symbols && space < 1);
}

int main(void)
{
    double chosen = 0, best = 0;
    for (int i = 0; i < 300; i++) {
        test_block();
        test_chain();
        test_runs(&chosen, &best);
    }
    /* Only the four best paths are kept. */
    CHECK(chosen - best <= 0.001 * fabs(best));
    for (int size = 1; size < 6; size++)
        test_walk(size, 6 - size);
    for (int symbols = 0; symbols < 31; symbols++)
        test_huffman(symbols);
    test_check();
    const int sides[] = {1, 8, 9, 17, 33};
    for (int i = 0; i < 5; i++) {
        test_picture(sides[i], sides[4 - i], 2, 2, 3);
        test_picture(sides[i], sides[4 - i], 2, 1, 3);
        test_picture(sides[i], sides[4 - i], 1, 1, 3);
        test_picture(sides[i], sides[4 - i], 1, 1, 1);
    }
    return 0;
}
