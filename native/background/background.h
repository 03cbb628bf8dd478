/* Temporal smoothing of a still background, sample by sample.
 *
 * A plane is divided into cells of cell_width x cell_height samples, rows x cols of them; those at its
 * right and lower edge may be cut off. What is done where is decided per cell by the caller
 * (plugin/idse/background_kernels.py), which validates sizes and pointers. Nothing here allocates or
 * keeps state. */
#ifndef IDSE_BACKGROUND_H
#define IDSE_BACKGROUND_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum {
    IDSE_LONGEST_CELL = 8, /* samples across a cell at most */
    IDSE_UNIT_GAIN = 1 << 14,
    IDSE_UNIT_WEIGHT = 256,
};

/* What happens to a cell's mean and held samples; values of `action`. */
enum {
    IDSE_FORGET = 0, /* both become the source */
    IDSE_LEARN = 1,  /* the mean is updated, held samples are the mean, rounded */
    IDSE_HOLD = 2,   /* the mean is updated, a held sample follows by 1 where it is far from it */
};

EXPORT int idse_background_abi(void);

/* Raises difference[cell] to the largest |mean of source - held| over the cell's 4x4 blocks, in code
 * values times `scale`, if that is more; of a block cut off to n samples, 2n / (n + 16) of it. Both
 * planes have `sample_bytes` (1 or 2) bytes a sample; `held` is tight. */
EXPORT void idse_background_compare(const void *source, ptrdiff_t stride, const void *held, int width,
                                    int height, int sample_bytes, int cell_width, int cell_height,
                                    int rows, int cols, float scale, float *difference);

/* Updates `mean` (uint16, samples shifted up by 16 - depth) and `held` by the cells' `action` and `gain`
 * (0..IDSE_UNIT_GAIN) and writes `target`: source and held samples mixed by `weight` (0 is the source,
 * IDSE_UNIT_WEIGHT is held), (rows + 1) x (cols + 1) values at the corners of cells, bilinear between
 * them. `mean`, `held` and `target` are tight. */
EXPORT void idse_background_update(const void *source, ptrdiff_t stride, int width, int height,
                                   int depth, int cell_width, int cell_height, int rows, int cols,
                                   const uint8_t *action, const uint16_t *gain,
                                   const uint16_t *weight, uint16_t *mean, void *held, void *target);

#endif
