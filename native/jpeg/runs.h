/* The cheapest way through the blocks of a progressive band. */
#ifndef IDSE_RUNS_H
#define IDSE_RUNS_H

#include "coding.h"

/* What a run of ends of blocks costs, times lambda, by the bits of its length less one. */
typedef struct {
    float total[EOB_CLASSES], most;
} run_costs;

/* `ac`: bits of each symbol, without those that follow it. */
void idse_run_costs(const float ac[SYMBOLS], float lambda, run_costs *costs);

/* A pending run of ends of blocks while symbols are counted. */
void idse_count_run(histogram *counts, uint32_t *run);

/* Decides which blocks keep their levels (`keep`, 0 or 1). `cost`: what the levels cost relative to
 * zeros, without an end of block; `last`: the zigzag position of the last level, 0 where there is
 * none. IDSE_NO_MEMORY or IDSE_OK. */
int idse_choose_runs(const float *cost, const uint8_t *last, int64_t blocks, const run_costs *costs,
                     uint8_t *keep);

#endif
