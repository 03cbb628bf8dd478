/* Chooses a picture's levels: AC by block, DC along the blocks, with symbol costs that follow the
 * symbols chosen. Costs from a first choice on a sample of the blocks are as good as costs from all of
 * them, and a third round changes nothing (each under 0.1 % of the bits, measured). */
#include "choose.h"
#include "runs.h"

#include <stdlib.h>

enum {
    PASSES = 2,
    LONGEST_CODE = 16,
    SAMPLE_GROUP = 64,    /* blocks */
    SMALL_PICTURE = 8192, /* blocks of a component: below, all are looked at */
};

/* Before anything was chosen, a level of 1 counts where it is worth as many bits. */
static const float first_bits = 5;

/* The lengths of libjpeg's codes for these counts. Entropies are no better: lengths are what is paid. */
static void bits_of_counts(const histogram *counts, int symbols, float *bits)
{
    huffman table;
    idse_huffman_build(counts, &table);
    for (int s = 0; s < symbols; s++)
        bits[s] = table.length[s] ? table.length[s] : LONGEST_CODE;
}

/* Counts of symbols and, in a progressive file, of blocks that have ended since the last level. */
typedef struct {
    histogram counts;
    uint32_t run;
    int progressive;
} tally;

static void count_end(tally *t, int last)
{
    if (last == 63)
        return;
    if (!t->progressive)
        t->counts.count[0]++;
    else if (++t->run == LONGEST_EOB_RUN)
        idse_count_run(&t->counts, &t->run);
}

/* Symbols of the coefficients at their nearest levels. */
static void count_nearest(const scaled_block *block, float threshold, tally *t)
{
    int last = 0;
    for (uint64_t left = block->candidates; left; left &= left - 1) {
        const int k = __builtin_ctzll(left), n = idse_natural[k];
        const float ratio = block->ratio[n];
        const int level = ratio < MAX_AC ? (int)(ratio + 0.5F) : MAX_AC;
        if (level == 1 && block->scale[n] * (2 * ratio - 1) < threshold)
            continue;
        if (!last)
            idse_count_run(&t->counts, &t->run);
        count_step(&t->counts, k - last - 1, level);
        last = k;
    }
    count_end(t, last);
}

/* Blocks in groups, of which a pseudo-random quarter is looked at for statistics. */
static inline int is_sampled(int64_t block, int64_t blocks)
{
    return blocks < SMALL_PICTURE || (uint32_t)(block / SAMPLE_GROUP) * 2654435761u >> 30 == 0;
}

/* Looks at a sample of a component's blocks. Without `costs` every coefficient takes its nearest
 * level. */
static void count_sample(const job *j, int i, const step_costs *costs, tally *t)
{
    const int64_t blocks = grid_blocks(j->grid, i);
    for (int64_t b = 0; b < blocks; b++) {
        if (!is_sampled(b, blocks))
            continue;
        scaled_block block;
        const float *coefficients = j->coefficients[i] + b * BLOCK_SIZE;
        idse_scale_block(coefficients, j->weights[i] + b * BLOCK_SIZE, &j->quantisers[i], &block);
        if (!costs) {
            count_nearest(&block, first_bits * j->lambda, t);
            continue;
        }
        int16_t levels[BLOCK_SIZE] = {0};
        const int last =
            idse_choose_block(&block, coefficients, costs, &t->counts, levels).last;
        if (last)
            idse_count_run(&t->counts, &t->run);
        count_end(t, last);
    }
    idse_count_run(&t->counts, &t->run);
}

/* Symbol costs of components first..end-1, which share a table. */
static void learn_bits(const job *j, int first, int end, float bits[SYMBOLS])
{
    step_costs costs;
    for (int pass = 0; pass < PASSES; pass++) {
        tally t = {.progressive = j->progressive};
        for (int i = first; i < end; i++)
            count_sample(j, i, pass ? &costs : NULL, &t);
        bits_of_counts(&t.counts, SYMBOLS, bits);
        idse_step_costs(bits, j->lambda, &costs);
    }
}

/* Chooses all blocks of a component; `cost` and `last` get what idse_choose_runs() takes, or are NULL. */
static void choose_blocks(const job *j, int i, const float bits[SYMBOLS], float *cost,
                          uint8_t *last)
{
    int16_t *levels = j->levels + grid_offset(j->grid, i) * BLOCK_SIZE;
    const int64_t blocks = grid_blocks(j->grid, i);
    step_costs costs;
    idse_step_costs(bits, j->lambda, &costs);
    for (int64_t b = 0; b < blocks; b++, levels += BLOCK_SIZE) {
        scaled_block block;
        const float *coefficients = j->coefficients[i] + b * BLOCK_SIZE;
        idse_scale_block(coefficients, j->weights[i] + b * BLOCK_SIZE, &j->quantisers[i], &block);
        memset(levels, 0, sizeof(*levels) * BLOCK_SIZE);
        const block_choice choice = idse_choose_block(&block, coefficients, &costs, NULL, levels);
        if (last) {
            cost[b] = choice.cost;
            last[b] = (uint8_t)choice.last;
        }
    }
}

/* Takes the levels of blocks away that cost more than they are worth now that runs are known. */
static int clear_blocks(const job *j, int i, const float bits[SYMBOLS], const float *cost,
                        const uint8_t *last, uint8_t *keep)
{
    int16_t *levels = j->levels + grid_offset(j->grid, i) * BLOCK_SIZE;
    const int64_t blocks = grid_blocks(j->grid, i);
    run_costs runs;
    idse_run_costs(bits, j->lambda, &runs);
    const int status = idse_choose_runs(cost, last, blocks, &runs, keep);
    for (int64_t b = 0; status == IDSE_OK && b < blocks; b++, levels += BLOCK_SIZE)
        if (last[b] && !keep[b])
            memset(levels, 0, sizeof(*levels) * BLOCK_SIZE);
    return status;
}

static int choose_progressive(const job *j)
{
    const size_t most = (size_t)grid_blocks(j->grid, 0);
    float *cost = malloc(most * (sizeof(*cost) + 2));
    if (!cost)
        return IDSE_NO_MEMORY;
    uint8_t *last = (uint8_t *)(cost + most), *keep = last + most;
    int status = IDSE_OK;
    for (int i = 0; i < j->grid->components && status == IDSE_OK; i++) {
        float bits[SYMBOLS];
        learn_bits(j, i, i + 1, bits);
        choose_blocks(j, i, bits, cost, last);
        status = clear_blocks(j, i, bits, cost, last, keep);
    }
    free(cost);
    return status;
}

int idse_choose_ac(const job *j)
{
    if (j->progressive)
        return choose_progressive(j);
    for (int table = 0; table < 2; table++) {
        const int end = table ? j->grid->components : 1;
        float bits[SYMBOLS];
        learn_bits(j, table, end, bits);
        for (int i = table; i < end; i++)
            choose_blocks(j, i, bits, NULL, NULL);
    }
    return IDSE_OK;
}

int idse_choose_dc(const job *j)
{
    dc_chain *chains[3] = {0};
    const int components = j->grid->components;
    const int interleaved = components > 1 && !j->progressive;
    int status = IDSE_OK;
    for (int i = 0; i < components; i++) {
        chains[i] = idse_dc_open(j->grid, i, interleaved, j->coefficients[i], j->weights[i],
                                 &j->quantisers[i], j->lambda);
        if (!chains[i])
            status = IDSE_NO_MEMORY;
    }
    for (int table = 0; table < 2 && status == IDSE_OK; table++)
        for (int pass = 0; pass < PASSES; pass++) {
            const int end = table ? components : 1;
            histogram counts = {0};
            float bits[12];
            for (int i = table; i < end; i++)
                idse_dc_count(chains[i], &counts);
            bits_of_counts(&counts, 12, bits);
            for (int i = table; i < end; i++)
                idse_dc_choose(chains[i], bits, j->lambda);
        }
    for (int i = 0; i < components; i++) {
        if (status == IDSE_OK)
            idse_dc_store(chains[i], j->levels + grid_offset(j->grid, i) * BLOCK_SIZE);
        idse_dc_free(chains[i]);
    }
    return status;
}
