/* What symbols cost is learned from a first choice on a sample of the blocks: that is as good as a choice
 * on all of them, and a third round changes nothing (each under 0.1 % of distortion + lambda * bits,
 * measured). The same sample tells about how large the file will be. */
#include "sample.h"
#include "runs.h"

#include <stdlib.h>

enum {
    PASSES = 2,
    LONGEST_CODE = 16,
    GROUP = 32,           /* blocks side by side: runs of ended blocks show */
    LEARN_BLOCKS = 1024,  /* of a component: looked at for costs */
    GAUGE_BLOCKS = 1024,  /* and for a size */
};

/* Before anything was chosen, a level of 1 counts where it is worth as many bits. */
static const float first_bits = 5;

/* Counts of AC symbols and, in a progressive file, of blocks that have ended since the last level; with
 * the bits that follow symbols. */
typedef struct {
    histogram counts;
    uint32_t run;
    int progressive;
} tally;

void idse_code_bits(const histogram *counts, int symbols, float *bits)
{
    huffman table;
    idse_huffman_build(counts, &table);
    for (int s = 0; s < symbols; s++)
        bits[s] = table.length[s] ? table.length[s] : LONGEST_CODE;
}

static void count_end(tally *t, int last)
{
    if (last)
        idse_count_run(&t->counts, &t->run);
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
        count_step(&t->counts, k - last - 1, level);
        last = k;
    }
    count_end(t, last);
}

/* Groups of blocks are taken in a low-discrepancy order, one of 2^skip. */
static int sample_skip(int64_t blocks, int64_t wanted)
{
    int skip = 0;
    while (skip < 16 && blocks >> (skip + 1) >= wanted)
        skip++;
    return skip;
}

static inline int is_sampled(int64_t group, int skip)
{
    return !skip || (uint32_t)group * 2654435761u >> (32 - skip) == 0;
}

/* Looks at a sample of a component's blocks; returns how many. Without `costs` every coefficient takes
 * its nearest level. */
static int64_t count_sample(const job *j, int i, int64_t wanted, const step_costs *costs, tally *t)
{
    const int64_t blocks = grid_blocks(j->grid, i);
    const int skip = sample_skip(blocks, wanted);
    int64_t seen = 0;
    for (int64_t start = 0; start < blocks; start += GROUP) {
        if (!is_sampled(start / GROUP, skip))
            continue;
        const int64_t end = blocks - start < GROUP ? blocks : start + GROUP;
        for (int64_t b = start; b < end; b++) {
            scaled_block block;
            const float *coefficients = j->coefficients[i] + b * BLOCK_SIZE;
            idse_scale_block(coefficients, j->weights[i] + b * BLOCK_SIZE, &j->quantisers[i],
                             &block);
            if (costs) {
                int16_t levels[BLOCK_SIZE];
                count_end(t, idse_choose_block(&block, coefficients, costs, &t->counts, levels).last);
            } else {
                count_nearest(&block, first_bits * j->lambda, t);
            }
        }
        seen += end - start;
    }
    idse_count_run(&t->counts, &t->run);
    return seen;
}

void idse_learn_bits(const job *j, int first, int end, float bits[SYMBOLS])
{
    step_costs costs;
    for (int pass = 0; pass < PASSES; pass++) {
        tally t = {.progressive = j->progressive};
        for (int i = first; i < end; i++)
            count_sample(j, i, LEARN_BLOCKS, pass ? &costs : NULL, &t);
        idse_code_bits(&t.counts, SYMBOLS, bits);
        idse_step_costs(bits, j->lambda, &costs);
    }
}

/* Bits of symbols and of what follows them, with the best table for them. */
static double coded_bits(const histogram *counts, int is_dc)
{
    huffman table;
    idse_huffman_build(counts, &table);
    return (double)idse_huffman_bits(counts, &table, is_dc);
}

static double gauge_ac(const job *j, int first, int end)
{
    tally t;
    step_costs costs;
    int64_t seen = 0, blocks = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        t = (tally){.progressive = j->progressive};
        for (int i = first; i < end; i++) {
            seen += count_sample(j, i, GAUGE_BLOCKS, pass ? &costs : NULL, &t);
            blocks += grid_blocks(j->grid, i);
        }
        float bits[SYMBOLS];
        idse_code_bits(&t.counts, SYMBOLS, bits);
        idse_step_costs(bits, j->lambda, &costs);
    }
    return seen ? coded_bits(&t.counts, 0) * (double)blocks / (double)seen : 0;
}

static double gauge_dc(const job *j, int first, int end)
{
    histogram counts = {0};
    int64_t seen = 0, blocks = 0;
    for (int i = first; i < end; i++) {
        const int64_t all = grid_blocks(j->grid, i);
        const int skip = sample_skip(all, GAUGE_BLOCKS);
        for (int64_t start = 0; start < all; start += GROUP)
            if (is_sampled(start / GROUP, skip)) {
                const int64_t n = all - start < GROUP ? all - start : GROUP;
                idse_dc_sample(j->coefficients[i] + start * BLOCK_SIZE,
                               j->weights[i] + start * BLOCK_SIZE, n, &j->quantisers[i], j->lambda,
                               &counts);
                seen += n - 1;
            }
        blocks += all;
    }
    return seen ? coded_bits(&counts, 1) * (double)blocks / (double)seen : 0;
}

double idse_estimate_bits(const job *j)
{
    const int components = j->grid->components;
    double bits = gauge_dc(j, 0, 1) + gauge_dc(j, 1, components);
    if (!j->progressive)
        return bits + gauge_ac(j, 0, 1) + gauge_ac(j, 1, components);
    for (int i = 0; i < components; i++)
        bits += gauge_ac(j, i, i + 1);
    return bits;
}
