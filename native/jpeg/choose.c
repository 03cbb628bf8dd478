/* Chooses a picture's levels: AC by block, DC along the blocks. */
#include "choose.h"
#include "runs.h"
#include "sample.h"

#include <stdlib.h>

enum { DC_PASSES = 2 };

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
        idse_learn_bits(j, i, i + 1, bits);
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
        idse_learn_bits(j, table, end, bits);
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
        for (int pass = 0; pass < DC_PASSES; pass++) {
            const int end = table ? components : 1;
            histogram counts = {0};
            float bits[12];
            for (int i = table; i < end; i++)
                idse_dc_count(chains[i], &counts);
            idse_code_bits(&counts, 12, bits);
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
