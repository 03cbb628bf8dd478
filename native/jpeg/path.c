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

typedef struct {
    float cost;  /* of the best path that ends here */
    float bound; /* no state up to here costs less */
    int16_t level;
    int8_t position, previous;
} state;

static inline float lower(float a, float b)
{
    return a < b ? a : b;
}

static inline void add_state(state *restrict states, int count, int position, float ratio,
                             float scale, const step_costs *restrict costs)
{
    const int nearest = ratio < MAX_AC ? (int)(ratio + 0.5F) : MAX_AC;
    float best = INFINITY;
    /* What a smaller level may lose before its shorter code cannot make up for it. */
    float limit = INFINITY;
    int best_level = 0, previous = 0;
    for (int size = magnitude_bits((unsigned)nearest), level = nearest; size > 0; size--) {
        const float gain = scale * (float)level * ((float)level - 2 * ratio);
        if (gain < limit) {
            const float *step = costs->step[size], *least = costs->least[size];
            for (int j = count - 1; j >= 0; j--) {
                const int run = position - states[j].position - 1;
                if (states[j].bound + least[run] + gain >= best)
                    break;
                const float cost = states[j].cost + step[run] + gain;
                if (cost < best) {
                    best = cost;
                    previous = j;
                    best_level = level;
                }
            }
        }
        limit = costs->saving[size] + (level == nearest ? gain : limit);
        level = (1 << (size - 1)) - 1;
    }
    states[count] = (state){.cost = best,
                            .bound = lower(states[count - 1].bound, best),
                            .level = (int16_t)best_level,
                            .position = (int8_t)position,
                            .previous = (int8_t)previous};
}

block_choice idse_choose_block(const scaled_block *block, const float *coefficients,
                               const step_costs *costs, histogram *counts, int16_t *levels)
{
    state states[BLOCK_SIZE];
    int count = 1;
    states[0] = (state){0};
    for (uint64_t left = block->candidates; left; left &= left - 1) {
        const int k = __builtin_ctzll(left), n = idse_natural[k];
        add_state(states, count++, k, block->ratio[n], block->scale[n], costs);
    }
    float best = costs->end;
    int end = 0;
    for (int i = 1; i < count; i++) {
        const float cost = states[i].cost + (states[i].position < 63 ? costs->end : 0);
        if (cost < best) {
            best = cost;
            end = i;
        }
    }
    const block_choice choice = {states[end].cost, states[end].position};
    while (end > 0) {
        const state *s = &states[end];
        const int n = idse_natural[s->position];
        levels[n] = (int16_t)(coefficients[n] < 0 ? -s->level : s->level);
        end = s->previous;
        if (counts)
            count_step(counts, s->position - states[end].position - 1, s->level);
    }
    return choice;
}
