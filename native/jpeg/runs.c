/* The trellis over the blocks of a progressive band: consecutive blocks that end share one symbol, so
 * whether a block keeps its levels also decides how long the runs beside it are. It is the same search
 * as within a block: the states are the blocks that may keep their levels. */
#include "runs.h"

#include <math.h>
#include <stdlib.h>

enum { PATHS = 4 }; /* kept beside each other */

typedef struct {
    double cost;  /* with what its pending run costs so far */
    uint32_t run; /* blocks in the pending run */
    int32_t last; /* the last block that kept its levels, or -1 */
} path;

void idse_run_costs(const float ac[SYMBOLS], float lambda, run_costs *costs)
{
    costs->most = 0;
    for (int class = 0; class < EOB_CLASSES; class++) {
        costs->total[class] = lambda * (ac[class << 4] + (float)class);
        costs->most = fmaxf(costs->most, costs->total[class]);
    }
}

void idse_count_run(histogram *counts, uint32_t *run)
{
    if (*run)
        counts->count[(magnitude_bits(*run) - 1) << 4]++;
    *run = 0;
}

/* Makes a pending run one block longer. */
static inline void lengthen(path *p, const run_costs *costs)
{
    const int class = magnitude_bits(++p->run) - 1;
    if (p->run == 1)
        p->cost += costs->total[0];
    else if (!(p->run & (p->run - 1)))
        p->cost += costs->total[class] - costs->total[class - 1];
    if (p->run == LONGEST_EOB_RUN)
        p->run = 0;
}

/* Drops paths that can no longer become the best; makes room for one. */
static int prune(path *paths, int count, double slack)
{
    double least = paths[0].cost;
    for (int i = 1; i < count; i++)
        least = paths[i].cost < least ? paths[i].cost : least;
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (paths[i].cost <= least + slack)
            paths[kept++] = paths[i];
    if (kept < PATHS)
        return kept;
    int worst = 0;
    for (int i = 1; i < kept; i++)
        if (paths[i].cost > paths[worst].cost)
            worst = i;
    paths[worst] = paths[kept - 1];
    return kept - 1;
}

int idse_choose_runs(const float *cost, const uint8_t *last, int64_t blocks, const run_costs *costs,
                     uint8_t *keep)
{
    int32_t *before = malloc(sizeof(*before) * (size_t)blocks);
    if (!before)
        return IDSE_NO_MEMORY;
    path paths[PATHS] = {{.last = -1}};
    int count = 1;
    for (int64_t b = 0; b < blocks; b++) {
        int best = 0;
        for (int i = 1; i < count; i++)
            if (paths[i].cost < paths[best].cost)
                best = i;
        const path from = paths[best];
        for (int i = 0; i < count; i++)
            lengthen(&paths[i], costs);
        if (last[b]) {
            const int ends = last[b] < 63;
            before[b] = from.last;
            paths[count++] = (path){
                .cost = from.cost + (double)cost[b] + (ends ? (double)costs->total[0] : 0),
                .run = (uint32_t)ends,
                .last = (int32_t)b,
            };
        }
        count = prune(paths, count, costs->most);
    }
    int best = 0;
    for (int i = 1; i < count; i++)
        if (paths[i].cost < paths[best].cost)
            best = i;
    memset(keep, 0, (size_t)blocks);
    for (int32_t b = paths[best].last; b >= 0; b = before[b])
        keep[b] = 1;
    free(before);
    return IDSE_OK;
}
