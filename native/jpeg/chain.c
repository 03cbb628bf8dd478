/* The DC trellis: a Viterbi search along the blocks in coding order, since each block's DC is coded as
 * its difference to the one before. */
#include "path.h"

#include <math.h>
#include <stdlib.h>

enum {
    CHOICES = 4, /* the nearest level, its neighbours, and one that follows the block before */
    LOWEST_DC = -1024,
    HIGHEST_DC = 1023, /* so that no difference takes more than 11 bits */
};

/* A following level may cost as much distortion as this many bits. */
static const float reach_bits = 4;

typedef struct {
    int16_t level[CHOICES];
    uint8_t previous[CHOICES];
    uint8_t count;
} link;

static int clamp_dc(float level)
{
    return (int)fminf(fmaxf(level, LOWEST_DC), HIGHEST_DC);
}

/* Candidates of a block: `followed` is the level of the best path so far. */
static void list_choices(float ratio, float scale, float lambda, int followed, link *l)
{
    const int nearest = clamp_dc(roundf(ratio));
    l->count = 0;
    for (int level = nearest - 1; level <= nearest + 1; level++)
        if (level >= LOWEST_DC && level <= HIGHEST_DC)
            l->level[l->count++] = (int16_t)level;
    const float reach = scale > 0 ? sqrtf(reach_bits * lambda / scale) : INFINITY;
    const int close = clamp_dc(rintf(fminf(fmaxf((float)followed, ratio - reach), ratio + reach)));
    if (close < nearest - 1 || close > nearest + 1)
        l->level[l->count++] = (int16_t)close;
}

/* Extends the paths that end in `before` (with `cost`, which is replaced) to the choices of `l`. */
static int extend(const link *before, link *l, float ratio, float scale, const float *bits,
                  float cost[CHOICES])
{
    float next[CHOICES];
    int best = 0;
    for (int i = 0; i < l->count; i++) {
        const float error = ratio - l->level[i];
        next[i] = INFINITY;
        for (int j = 0; j < before->count; j++) {
            const int difference = abs(l->level[i] - before->level[j]);
            const float c = cost[j] + bits[magnitude_bits((unsigned)difference)];
            if (c < next[i]) {
                next[i] = c;
                l->previous[i] = (uint8_t)j;
            }
        }
        next[i] += scale * error * error;
        if (next[i] < next[best])
            best = i;
    }
    /* Counted from the best, or single precision would not last over a whole picture. */
    for (int i = 0; i < l->count; i++)
        cost[i] = next[i] - next[best];
    return best;
}

int idse_choose_dc(const idse_grid *grid, int component, int interleaved, const float *coefficients,
                   const float *weights, const quantiser *q, const float sizes[12], float lambda,
                   int16_t *levels)
{
    const int64_t blocks = grid_blocks(grid, component);
    link *links = calloc((size_t)blocks + 1, sizeof(*links));
    if (!links)
        return IDSE_NO_MEMORY;
    float bits[12], cost[CHOICES] = {0};
    for (int size = 0; size < 12; size++)
        bits[size] = lambda * (sizes[size] + (float)size);
    links[0].count = 1;
    int best = 0;
    walk w = walk_start(grid, component, interleaved);
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t at = walk_next(&w) * BLOCK_SIZE;
        const float ratio = coefficients[at] * q->inverse[0];
        const float scale = weights[at] * q->step[0] * q->step[0];
        list_choices(ratio, scale, lambda, links[i].level[best], &links[i + 1]);
        best = extend(&links[i], &links[i + 1], ratio, scale, bits, cost);
    }
    /* Backwards: remember in `count` which choice was made, then write in coding order. */
    for (int64_t i = blocks; i > 0; i--) {
        const int chosen = best;
        best = links[i].previous[chosen];
        links[i].count = (uint8_t)chosen;
    }
    w = walk_start(grid, component, interleaved);
    for (int64_t i = 1; i <= blocks; i++)
        levels[walk_next(&w) * BLOCK_SIZE] = links[i].level[links[i].count];
    free(links);
    return IDSE_OK;
}
