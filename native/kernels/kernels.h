/* Kernels over pictures: luma planes, block matching, macroblock statistics, transformed gradients.
 *
 * Nothing here allocates or keeps state. Sizes and pointers are validated by the caller
 * (plugin/idse/kernels.py), which is the only one. */
#ifndef IDSE_KERNELS_H
#define IDSE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum {
    IDSE_MB = 16,       /* luma samples across a macroblock */
    IDSE_FULL_PAD = 32, /* samples of border on every side of a full-size luma plane */
    IDSE_SMALL_PAD = 8, /* and of one of a quarter of its width and height */
    IDSE_MOST_BLOCKS = 1024, /* macroblocks in a row */
};

EXPORT int idse_kernels_abi(void);

/* Copies `luma` (8-bit samples, or 16-bit ones of `depth` bits) into `full`: 8 bit, extended to whole
 * macroblocks and by IDSE_FULL_PAD by repeating its edge. `small` gets the means of 4x4 samples, with
 * IDSE_SMALL_PAD of border. Both are tight: their strides are the padded widths. */
EXPORT void idse_kernels_luma_planes(const void *luma, ptrdiff_t stride, int width, int height,
                                     int depth, int rows, int cols, uint8_t *full, uint8_t *small);

/* Block matching of every macroblock of `current` in `previous` (small planes as above).
 * `temporal`: the previous field's vectors, or NULL. All vectors are (dx, dy) in luma samples, int16,
 * rows*cols*2. */
EXPORT void idse_kernels_motion_search(const uint8_t *current, const uint8_t *previous, int rows,
                                       int cols, const int16_t *temporal, int16_t *vectors);

/* Refines `vectors`, as found above, by one sample on the full-size planes. `residual`: mean absolute
 * difference of the macroblock's even lines to its best match; `activity`: mean absolute difference
 * of theirs to their left or upper neighbour samples, whichever is smaller. */
EXPORT void idse_kernels_motion_refine(const uint8_t *current, const uint8_t *previous, int rows,
                                       int cols, int16_t *vectors, float *residual,
                                       float *activity);

/* Adds to `energy` each block's sum of squared deviations from its mean as x264 rounds it. The plane
 * is extended to rows*block_height x cols*block_width by repeating its edge. */
EXPORT void idse_kernels_ac_energy(const void *plane, ptrdiff_t stride, int width, int height,
                                   int sample_bytes, int block_width, int block_height, int rows,
                                   int cols, uint32_t *energy);

/* Hands `values` (planes*rows*cols) of a picture's macroblocks, times `share` (rows*cols), back to the
 * places in the previous picture that their content comes from: `out` (planes*rows*cols) is
 * overwritten by the sums, each value being split between the four macroblocks that it overlaps.
 * `vectors`: rows*cols*2 (dx, dy) in luma samples. What comes from outside counts for the edge. */
EXPORT void idse_kernels_flow_back(const float *values, int planes, const float *vectors,
                                   const float *share, int rows, int cols, float *out);

/* The other way: `out` (planes*rows*cols) gets for every macroblock of a picture the interpolation of
 * `values`, which are the previous picture's, at the place that its content comes from, times
 * `share`. */
EXPORT void idse_kernels_carry(const float *values, int planes, const float *vectors,
                               const float *share, int rows, int cols, float *out);

/* `count` gradients of a plane of `height` x `width` samples, `row_step` floats apart. */
typedef struct {
    const float *values;
    ptrdiff_t row_step;
    int32_t count, width;
} idse_gradients;

/* For each block along an axis: the first sample that it reaches, and the 8 basis functions' factors of
 * that and the next ones, `reach` * 8. Those of a plane's rows or columns never end outside. */
typedef struct {
    const int32_t *first;
    const float *factor;
    int32_t blocks, reach;
} idse_taps;

/* Sums, over the gradients, the squares of every block's transform: `out` is down->blocks *
 * across->blocks * 64, vertical frequencies being its rows. `scratch`: 8 * width * count floats. */
EXPORT void idse_kernels_coefficient_weights(const idse_gradients *gradients,
                                             const idse_taps *down, const idse_taps *across,
                                             float *scratch, float *out);

/* Sums blocks of 64 weights by frequency; tells whether one is negative. */
EXPORT int idse_kernels_frequency_sums(const float *weights, int64_t blocks, double sums[64]);

/* Sums each block's weights times a factor of their frequency. */
EXPORT void idse_kernels_block_sums(const float *weights, int64_t blocks, const float factor[64],
                                    float *sums);

/* `out` = a block's `common` * `spectrum` + its weights * `own` + `least`, frequency by frequency. */
EXPORT void idse_kernels_blend_weights(const float *weights, int64_t blocks, const float own[64],
                                       const float *common, const float spectrum[64], float least,
                                       float *out);

#endif
