/* Statistics of a picture's symbols from a part of its blocks. */
#ifndef IDSE_SAMPLE_H
#define IDSE_SAMPLE_H

#include "choose.h"

/* The lengths of libjpeg's codes for these counts. Entropies are no better: lengths are what is paid. */
void idse_code_bits(const histogram *counts, int symbols, float *bits);

/* AC symbol costs of components first..end-1, which share a table. */
void idse_learn_bits(const job *j, int first, int end, float bits[SYMBOLS]);

/* About how many bits the picture's coefficients will take. */
double idse_estimate_bits(const job *j);

#endif
