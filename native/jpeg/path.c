/* The AC trellis. Only positions whose coefficient rounds to something can carry a level, and of each
 * size the value next to the coefficient is best, so the states are (position, size) for the few such
 * positions. A path's cost is counted from the block of zeros: levels lower the distortion by a known
 * amount each, and the zeros between them cost nothing but their share of the run's symbols. */
#include "path.h"

#include <math.h>

void idse_step_costs(const float ac[SYMBOLS], float end_bits, float lambda, step_costs *costs)
{
    memset(costs, 0, sizeof(*costs));
    costs->end = lambda * end_bits;
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

/* Which positions have a coefficient that rounds to at least 1. */
WIDE static uint64_t find_candidates(const float *restrict coefficients,
                                     const float *restrict weights, const quantiser *restrict q,
                                     float *restrict ratio, float *restrict scale)
{
    uint8_t found[BLOCK_SIZE];
    for (int k = 0; k < BLOCK_SIZE; k++) {
        ratio[k] = fabsf(coefficients[k]) * q->inverse[k];
        scale[k] = weights[k] * q->step[k] * q->step[k];
        found[k] = ratio[k] >= 0.5F;
    }
    uint64_t mask = 0;
    for (int i = 0; i < BLOCK_SIZE / 8; i++) {
        uint64_t bytes;
        memcpy(&bytes, found + 8 * i, sizeof(bytes));
        /* The multiplication gathers the lowest bits of eight bytes in the highest. */
        mask |= (bytes * 0x0102040810204080u >> 56) << 8 * i;
    }
    return mask;
}

typedef struct {
    float cost;  /* of the best path that ends here */
    float bound; /* no state up to here costs less */
    int16_t level;
    int8_t position, previous;
} state;

/* The cheapest predecessor for a level of a size at `position`; *cost is lowered where one beats it. */
static inline int best_predecessor(const state *states, int count, int position, const float *step,
                                   const float *least, float gain, float *cost)
{
    int found = -1;
    for (int j = count - 1; j >= 0; j--) {
        const int run = position - states[j].position - 1;
        if (states[j].bound + least[run] + gain >= *cost)
            break;
        const float c = states[j].cost + step[run] + gain;
        if (c < *cost) {
            *cost = c;
            found = j;
        }
    }
    return found;
}

static inline void add_state(state *states, int count, int position, float ratio, float scale,
                             const step_costs *costs)
{
    state *s = states + count;
    const int nearest = ratio < MAX_AC ? (int)(ratio + 0.5F) : MAX_AC;
    /* What a smaller level may lose before its shorter code cannot make up for it. */
    float limit = INFINITY;
    *s = (state){.cost = INFINITY, .position = (int8_t)position};
    for (int size = magnitude_bits((unsigned)nearest), level = nearest; size > 0; size--) {
        const float gain = scale * (float)level * ((float)level - 2 * ratio);
        if (gain < limit) {
            const int previous = best_predecessor(states, count, position, costs->step[size],
                                                  costs->least[size], gain, &s->cost);
            if (previous >= 0) {
                s->previous = (int8_t)previous;
                s->level = (int16_t)level;
            }
        }
        limit = costs->saving[size] + (level == nearest ? gain : limit);
        level = (1 << (size - 1)) - 1;
    }
    s->bound = fminf(states[count - 1].bound, s->cost);
}

float idse_choose_band(const float *coefficients, const float *weights, const quantiser *q,
                       const step_costs *costs, int first, int last, int may_be_zero,
                       int16_t *levels)
{
    float ratio[BLOCK_SIZE], scale[BLOCK_SIZE];
    state states[BLOCK_SIZE];
    memset(levels + first, 0, sizeof(*levels) * (size_t)(last - first + 1));
    uint64_t candidates = find_candidates(coefficients, weights, q, ratio, scale);
    candidates &= (UINT64_MAX >> (63 - last)) & (UINT64_MAX << first);
    int count = 1;
    states[0] = (state){.position = (int8_t)(first - 1)};
    for (; candidates; candidates &= candidates - 1) {
        const int k = __builtin_ctzll(candidates);
        add_state(states, count++, k, ratio[k], scale[k], costs);
    }
    float best = INFINITY;
    int end = 0;
    for (int i = !may_be_zero; i < count; i++) {
        const float cost = states[i].cost + (states[i].position < last ? costs->end : 0);
        if (cost < best) {
            best = cost;
            end = i;
        }
    }
    for (; end > 0; end = states[end].previous) {
        const int k = states[end].position;
        levels[k] = (int16_t)(coefficients[k] < 0 ? -states[end].level : states[end].level);
    }
    return best;
}
