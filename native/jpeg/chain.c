/* The DC trellis: a Viterbi search along the blocks in coding order, since each block's DC is coded as
 * its difference to the one before. */
#include "path.h"

#include <math.h>
#include <stdlib.h>

enum {
    CHOICES = 4, /* the nearest level, its neighbours, and one that follows the block before */
    LOWEST_DC = -1024,
    HIGHEST_DC = 1023, /* so that no difference takes more than 11 bits */
    DC_SIZES = 12,
};

/* A following level may cost as much distortion as this many bits. */
static const float reach_bits = 4;

typedef struct {
    float ratio, scale, reach; /* reach: steps that a level may be off for following */
    int16_t level;             /* chosen */
    int16_t choices[CHOICES];  /* may be twice the same */
    uint8_t previous[CHOICES];
} link;

struct dc_chain {
    walk order;
    int64_t blocks;
    link links[]; /* one more: the first predicts from 0 */
};

static inline float clamp(float value, float low, float high)
{
    value = value < low ? low : value;
    return value > high ? high : value;
}

/* Rounds half up; for |value| below 2^20. */
static inline int nearest_level(float value)
{
    return (int)(clamp(value, LOWEST_DC, HIGHEST_DC) + 4096.5F) - 4096;
}

/* The level nearest to the one before that is near enough to the coefficient. */
static inline int follow(const link *l, int before)
{
    return nearest_level(clamp((float)before, l->ratio - l->reach, l->ratio + l->reach));
}

static inline void load_link(link *l, float coefficient, float weight, const quantiser *q,
                             float lambda)
{
    l->ratio = coefficient * q->inverse[0];
    l->scale = weight * q->step[0] * q->step[0];
    l->reach = l->scale > 0 ? sqrtf(reach_bits * lambda / l->scale) : INFINITY;
}

dc_chain *idse_dc_open(const idse_grid *grid, int component, int interleaved,
                       const float *coefficients, const float *weights, const quantiser *q,
                       float lambda)
{
    const int64_t blocks = grid_blocks(grid, component);
    dc_chain *chain = malloc(sizeof(*chain) + sizeof(link) * ((size_t)blocks + 1));
    if (!chain)
        return NULL;
    chain->order = walk_start(grid, component, interleaved);
    chain->blocks = blocks;
    chain->links[0] = (link){0};
    walk w = chain->order;
    for (link *l = chain->links + 1; l <= chain->links + blocks; l++) {
        const int64_t at = walk_next(&w) * BLOCK_SIZE;
        load_link(l, coefficients[at], weights[at], q, lambda);
        l->level = (int16_t)follow(l, l[-1].level);
    }
    return chain;
}

void idse_dc_free(dc_chain *chain)
{
    free(chain);
}

void idse_dc_count(const dc_chain *chain, histogram *counts)
{
    for (int64_t i = 1; i <= chain->blocks; i++) {
        const int difference = chain->links[i].level - chain->links[i - 1].level;
        counts->count[magnitude_bits((unsigned)abs(difference))]++;
    }
}

void idse_dc_sample(const float *coefficients, const float *weights, int64_t blocks,
                    const quantiser *q, float lambda, histogram *counts)
{
    int before = 0;
    for (int64_t b = 0; b < blocks; b++) {
        link l;
        load_link(&l, coefficients[b * BLOCK_SIZE], weights[b * BLOCK_SIZE], q, lambda);
        const int level = b ? follow(&l, before) : nearest_level(l.ratio);
        if (b)
            counts->count[magnitude_bits((unsigned)abs(level - before))]++;
        before = level;
    }
}

/* Candidates of a block: `before` is the level of the best path so far. */
static inline void list_choices(link *l, int before)
{
    const int nearest = nearest_level(l->ratio);
    l->choices[0] = (int16_t)nearest;
    l->choices[1] = (int16_t)(nearest > LOWEST_DC ? nearest - 1 : nearest);
    l->choices[2] = (int16_t)(nearest < HIGHEST_DC ? nearest + 1 : nearest);
    l->choices[3] = (int16_t)follow(l, before);
}

/* Extends the paths that end in `before` (with `cost`, which is replaced) to the choices of `l`. Which
 * is best cannot be predicted, hence neither branches nor loops of unknown length. */
static inline int extend(const link *before, link *l, const float *bits, float cost[CHOICES])
{
    float next[CHOICES];
    int best = 0;
    for (int i = 0; i < CHOICES; i++) {
        const float error = l->ratio - l->choices[i];
        float least = INFINITY;
        int from = 0;
        for (int j = 0; j < CHOICES; j++) {
            const int difference = abs(l->choices[i] - before->choices[j]);
            /* The bit that is added counts the first size from 0. */
            const int size = 31 - __builtin_clz((unsigned)difference * 2 | 1);
            const float c = cost[j] + bits[size];
            from = c < least ? j : from;
            least = c < least ? c : least;
        }
        l->previous[i] = (uint8_t)from;
        next[i] = least + l->scale * error * error;
    }
    for (int i = 1; i < CHOICES; i++)
        best = next[i] < next[best] ? i : best;
    /* Counted from the best, or single precision would not last over a whole picture. */
    const float origin = next[best];
    for (int i = 0; i < CHOICES; i++)
        cost[i] = next[i] - origin;
    return best;
}

void idse_dc_choose(dc_chain *chain, const float sizes[DC_SIZES], float lambda)
{
    float bits[DC_SIZES], cost[CHOICES] = {0};
    for (int size = 0; size < DC_SIZES; size++)
        bits[size] = lambda * (sizes[size] + (float)size);
    link *links = chain->links;
    int best = 0;
    for (int64_t i = 1; i <= chain->blocks; i++) {
        list_choices(&links[i], links[i - 1].choices[best]);
        best = extend(&links[i - 1], &links[i], bits, cost);
    }
    for (int64_t i = chain->blocks; i > 0; i--) {
        links[i].level = links[i].choices[best];
        best = links[i].previous[best];
    }
}

void idse_dc_store(const dc_chain *chain, int16_t *levels)
{
    walk w = chain->order;
    for (int64_t i = 1; i <= chain->blocks; i++)
        levels[walk_next(&w) * BLOCK_SIZE] = chain->links[i].level;
}
