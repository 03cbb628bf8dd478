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

/* Decides which blocks keep their levels (`keep`, 0 or 1). `cost`: what that costs relative to zeros,
 * with an end of block of its own where the levels do not reach the band's end (`ends` 1); INFINITY
 * where there are no levels. IDSE_NO_MEMORY or IDSE_OK. */
int idse_choose_runs(const float *cost, const uint8_t *ends, int64_t blocks, const run_costs *costs,
                     uint8_t *keep);

#endif
