/* Levels of a whole picture. */
#ifndef IDSE_CHOOSE_H
#define IDSE_CHOOSE_H

#include "path.h"

typedef struct {
    const idse_grid *grid;
    const float *const *coefficients, *const *weights;
    quantiser quantisers[3];
    float lambda;
    int progressive;
    int16_t *levels;
} job;

/* IDSE_NO_MEMORY or IDSE_OK. */
int idse_choose_ac(const job *j);
int idse_choose_dc(const job *j);

#endif
