/* The cheapest way through one block. */
#ifndef IDSE_PATH_H
#define IDSE_PATH_H

#include "coding.h"

/* What JPEG's symbols cost, in bits; the bits that follow them are not included. */
typedef struct {
    float dc[2][12];
    float ac[2][SYMBOLS];
} symbol_bits;

/* Costs of AC steps, times lambda. */
typedef struct {
    float step[MAX_SIZE + 1][BLOCK_SIZE];  /* a level of a size behind a run of zeros */
    float least[MAX_SIZE + 1][BLOCK_SIZE]; /* the same, for this run or any longer one */
    float saving[MAX_SIZE + 1];            /* at most, by a size less */
    float end;                             /* an end of block */
} step_costs;

/* One component's table in zigzag order. */
typedef struct {
    float step[BLOCK_SIZE], inverse[BLOCK_SIZE];
} quantiser;

void idse_step_costs(const float ac[SYMBOLS], float end_bits, float lambda, step_costs *costs);

/* Chooses the levels of positions first..last of a block. Returns their cost, end of block included,
 * relative to zeros without one. Unless `may_be_zero`, there is at least one level; the result is
 * INFINITY, and the band zero, where there cannot be. */
float idse_choose_band(const float *coefficients, const float *weights, const quantiser *q,
                       const step_costs *costs, int first, int last, int may_be_zero,
                       int16_t *levels);

/* Chooses a component's DC levels: `sizes` are the bits of a difference by size category. `interleaved`
 * tells the order in which blocks predict each other. IDSE_NO_MEMORY or IDSE_OK. */
int idse_choose_dc(const idse_grid *grid, int component, int interleaved, const float *coefficients,
                   const float *weights, const quantiser *q, const float sizes[12], float lambda,
                   int16_t *levels);

#endif
