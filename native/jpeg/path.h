/* The cheapest way through one block. */
#ifndef IDSE_PATH_H
#define IDSE_PATH_H

#include "coding.h"

/* Costs of AC steps, times lambda. */
typedef struct {
    float step[MAX_SIZE + 1][BLOCK_SIZE];  /* a level of a size behind a run of zeros */
    float least[MAX_SIZE + 1][BLOCK_SIZE]; /* the same, for this run or any longer one */
    float saving[MAX_SIZE + 1];            /* at most, by a size less */
    float end;                             /* an end of block, added where the last is not 63 */
} step_costs;

typedef struct {
    float step[BLOCK_SIZE], inverse[BLOCK_SIZE];
} quantiser;

/* A block in the terms of its table: coefficients are magnitudes in steps, weights those of a squared
 * step. Positions are natural, those in `candidates` zigzag. */
typedef struct {
    float ratio[BLOCK_SIZE], scale[BLOCK_SIZE];
    uint64_t candidates; /* AC that may get a level */
} scaled_block;

void idse_scale_block(const float *coefficients, const float *weights, const quantiser *q,
                      scaled_block *out);

/* `ac`: bits of each symbol, without those that follow it. */
void idse_step_costs(const float ac[SYMBOLS], float lambda, step_costs *costs);

/* Adds the symbol of a level behind `run` zeros. */
static inline void count_step(histogram *counts, int run, int level)
{
    counts->count[ZRL] += (uint32_t)run / 16;
    counts->count[run % 16 << 4 | magnitude_bits((unsigned)level)]++;
}

/* The levels chosen for a block. */
typedef struct {
    float cost; /* relative to zeros, without an end of block */
    int last;   /* zigzag position of the last level, or 0 */
} block_choice;

/* Chooses the AC levels of a block; `levels` must hold zeros. Their symbols are added to `counts`,
 * without an end of block, unless that is NULL. */
block_choice idse_choose_block(const scaled_block *block, const float *coefficients,
                               const step_costs *costs, histogram *counts, int16_t *levels);

/* DC coefficients of a component in coding order, in steps and weights of a squared step, with links
 * for the search. */
typedef struct dc_chain dc_chain;

/* NULL where there is no memory; idse_dc_free() takes NULL. */
dc_chain *idse_dc_open(const idse_grid *grid, int component, int interleaved,
                       const float *coefficients, const float *weights, const quantiser *q,
                       float lambda);
void idse_dc_free(dc_chain *chain);

/* Adds the sizes of the differences of the levels chosen last; at first they follow each other as far
 * as a few bits' distortion allows. */
void idse_dc_count(const dc_chain *chain, histogram *counts);

/* Counts the same for blocks side by side, of which the first only predicts. */
void idse_dc_sample(const float *coefficients, const float *weights, int64_t blocks,
                    const quantiser *q, float lambda, histogram *counts);

/* Chooses levels; `sizes` are the bits of each size category of a difference. */
void idse_dc_choose(dc_chain *chain, const float sizes[12], float lambda);

void idse_dc_store(const dc_chain *chain, int16_t *levels);

#endif
