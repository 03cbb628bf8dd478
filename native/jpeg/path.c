/* The AC trellis. Only positions whose coefficient rounds to something can carry a level, and of each
 * size the value next to the coefficient is best, so the states are (position, size) for the few such
 * positions. A path's cost is counted from the block of zeros: levels lower the distortion by a known
 * amount each, and the zeros between them cost nothing but their share of the run's symbols. */
#include "path.h"

#include <math.h>

void idse_step_costs(const float ac[SYMBOLS], float lambda, step_costs *costs)
{
    memset(costs, 0, sizeof(*costs));
    costs->end = lambda * ac[0];
    for (int size = 1; size <= MAX_SIZE; size++) {
        float *step = costs->step[size], *least = costs->least[size];
        for (int run = 0; run < BLOCK_SIZE - 1; run++)
            step[run] = lambda * ((float)(run / 16) * ac[ZRL] + ac[run % 16 << 4 | size] + (float)size);
        least[BLOCK_SIZE - 2] = step[BLOCK_SIZE - 2];
        for (int run = BLOCK_SIZE - 3; run >= 0; run--)
            least[run] = fminf(step[run], least[run + 1]);
        if (size > 1)
            for (int run = 0; run < BLOCK_SIZE - 1; run++)
                costs->saving[size] =
                    fmaxf(costs->saving[size], step[run] - costs->step[size - 1][run]);
    }
}

WIDE void idse_scale_block(const float *restrict coefficients, const float *restrict weights,
                           const quantiser *restrict q, scaled_block *restrict out)
{
    uint8_t found[BLOCK_SIZE];
    for (int k = 0; k < BLOCK_SIZE; k++) {
        const float ratio = fabsf(coefficients[k]) * q->inverse[k];
        const float scale = weights[k] * q->step[k] * q->step[k];
        out->ratio[k] = ratio;
        out->scale[k] = scale;
        found[k] = (ratio >= 0.5F) & (scale > 0);
    }
    out->candidates = zigzag_mask(gather_flags(found) & ~UINT64_C(1));
}

enum { NEAR = 3 }; /* predecessors that are tried without asking */

/* States, behind NEAR that nothing can start from. */
typedef struct {
    float cost[BLOCK_SIZE + NEAR];  /* of the best path that ends here */
    float bound[BLOCK_SIZE + NEAR]; /* no state up to here costs less */
    int32_t position[BLOCK_SIZE + NEAR];
    int16_t level[BLOCK_SIZE + NEAR];
    uint8_t previous[BLOCK_SIZE + NEAR];
} paths;

/* Finds the cheapest predecessor of a state for a level of one size; `best` is the cost to beat. Which
 * of the nearest it is cannot be predicted, hence no branches there. */
static inline float try_size(paths *p, int count, int position, int level, int size, float gain,
                             const step_costs *costs, float best)
{
    const float *step = costs->step[size] + position - 1, *least = costs->least[size] + position - 1;
    int found = -1;
    best -= gain;
    for (int i = 1; i <= NEAR; i++) {
        const int j = count - i;
        const float cost = p->cost[j] + step[-p->position[j]];
        found = cost < best ? j : found;
        best = cost < best ? cost : best;
    }
    for (int j = count - NEAR - 1; j >= NEAR; j--) {
        const int at = p->position[j];
        if (p->bound[j] + least[-at] >= best)
            break;
        const float cost = p->cost[j] + step[-at];
        if (cost < best) {
            best = cost;
            found = j;
        }
    }
    if (found >= 0) {
        p->previous[count] = (uint8_t)found;
        p->level[count] = (int16_t)level;
    }
    return best + gain;
}

static inline void add_state(paths *p, int count, int position, float ratio, float scale,
                             const step_costs *costs)
{
    const int nearest = ratio < MAX_AC ? (int)(ratio + 0.5F) : MAX_AC;
    int size = magnitude_bits((unsigned)nearest);
    float gain = scale * (float)nearest * ((float)nearest - 2 * ratio);
    p->previous[count] = NEAR;
    p->level[count] = 0;
    float best = try_size(p, count, position, nearest, size, gain, costs, INFINITY);
    /* What a smaller level may lose before its shorter code cannot make up for it. */
    float limit = gain;
    while (size > 1) {
        limit += costs->saving[size--];
        const int level = (1 << size) - 1;
        gain = scale * (float)level * ((float)level - 2 * ratio);
        if (gain < limit)
            best = try_size(p, count, position, level, size, gain, costs, best);
    }
    p->position[count] = position;
    p->cost[count] = best;
    p->bound[count] = best < p->bound[count - 1] ? best : p->bound[count - 1];
}

block_choice idse_choose_block(const scaled_block *block, const float *coefficients,
                               const step_costs *costs, histogram *counts, int16_t *levels)
{
    paths p;
    int count = NEAR + 1, end = NEAR;
    for (int i = 0; i < NEAR; i++) {
        p.cost[i] = INFINITY;
        p.position[i] = 0;
    }
    p.cost[NEAR] = p.bound[NEAR] = 0;
    p.position[NEAR] = 0;
    for (uint64_t left = block->candidates; left; left &= left - 1) {
        const int k = __builtin_ctzll(left), n = idse_natural[k];
        add_state(&p, count++, k, block->ratio[n], block->scale[n], costs);
    }
    float best = costs->end;
    for (int i = NEAR + 1; i < count; i++) {
        const float cost = p.cost[i] + (p.position[i] < 63 ? costs->end : 0);
        if (cost < best) {
            best = cost;
            end = i;
        }
    }
    const block_choice choice = {p.cost[end], p.position[end]};
    while (end > NEAR) {
        const int k = p.position[end], n = idse_natural[k], level = p.level[end];
        levels[n] = (int16_t)copysignf((float)level, coefficients[n]); /* without a branch */
        end = p.previous[end];
        if (counts)
            count_step(counts, k - p.position[end] - 1, level);
    }
    return choice;
}
