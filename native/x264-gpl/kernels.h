/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Distortion of a block, weighted by what the block matters: C and AVX2.
 *
 * Knows nothing of x264. Compiled once per bit depth, as x264's own sources are: HIGH_BIT_DEPTH and
 * BIT_DEPTH (8 or 10) come from the compiler's command line.
 */
#ifndef IDSE_X264_KERNELS_H
#define IDSE_X264_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#if HIGH_BIT_DEPTH
typedef uint16_t idse_pixel;
#else
typedef uint8_t idse_pixel;
#endif

#define IDSE_GLUE2( prefix, depth, name ) prefix##_##depth##_##name
#define IDSE_GLUE( prefix, depth, name ) IDSE_GLUE2( prefix, depth, name )
#define IDSE_TEMPLATE( name ) IDSE_GLUE( idse, BIT_DEPTH, name )

/* Fixed point: weights and shares have 8 fractional bits, sketches too (so their squares have 16). */
#define IDSE_ONE 256
#define IDSE_MAX_SKETCHES 16
#define IDSE_MAX_CELLS 8
/* 256 samples * 1023 * 2047 < 2^31, and 16 squares of that sum to less than 2^63. */
#define IDSE_MAX_SKETCH 2047
/* x264's COST_MAX: what a cost may be without overflowing its sums. */
#define IDSE_COST_MAX (1 << 28)

/* What applies to the macroblock in hand. */
typedef struct
{
    const uint16_t *weights;  /* 16, one per 4x4 block in raster order; NULL: nothing is weighted */
    const int16_t *sketches;  /* [count][cells][cells], NULL: none; read with unaligned loads */
    int count;                /* a multiple of 4: rows of zeros fill up */
    int cells;                /* per side of a macroblock: 4 (of 4x4 samples) or 8 (of 2x2) */
    uint32_t share;           /* of the weighted squared error, added to the sketched distortion */
} idse_block_t;

/* Distortion of the block of w x h samples whose upper left corner lies at x, y of the macroblock
 * (multiples of w and h):
 *   without sketches   sum over 4x4 blocks of weight * squared error
 *   with sketches      sum over sketches of (sketch . error, summed per cell)^2
 *                      + share * (the former)
 * rounded, at most IDSE_COST_MAX. With weights of IDSE_ONE and no sketches: the squared error. */
typedef int (*idse_ssd_t)( const idse_block_t *block, const idse_pixel *enc, intptr_t enc_stride,
                           const idse_pixel *dec, intptr_t dec_stride, int x, int y );

/* In the order of x264's PIXEL_16x16 ... PIXEL_4x4. */
enum { IDSE_SIZES = 7 };

/* Largest magnitude among n values. */
#define idse_largest_c IDSE_TEMPLATE( largest_c )
int idse_largest_c( const int16_t *values, size_t n );

#define idse_ssd_c IDSE_TEMPLATE( ssd_c )
extern const idse_ssd_t idse_ssd_c[IDSE_SIZES];
#if defined(__x86_64__) && defined(__GNUC__)
#define IDSE_HAVE_AVX2 1
#define idse_ssd_avx2 IDSE_TEMPLATE( ssd_avx2 )
extern const idse_ssd_t idse_ssd_avx2[IDSE_SIZES];
#define idse_largest_avx2 IDSE_TEMPLATE( largest_avx2 )
int idse_largest_avx2( const int16_t *values, size_t n );
#else
#define IDSE_HAVE_AVX2 0
#endif

/* lambda for a block of this weight: J = w D + lambda R is minimised where D + (lambda / w) R is.
 * Both are scaled by 2^8. 2^27 - 1 is the largest lambda in x264's tables. */
static inline int idse_scaled_lambda( int lambda, uint32_t weight )
{
    const uint64_t most = 134217727;
    uint64_t scaled;
    if( weight == IDSE_ONE || lambda <= 0 )
        return lambda;
    if( !weight )
        return (int)most;
    scaled = ((uint64_t)lambda * IDSE_ONE + weight / 2) / weight;
    return scaled < 1 ? 1 : scaled > most ? (int)most : (int)scaled;
}

/* Mean weight of the 8x8 block idx (0 to 3), and of the macroblock. */
static inline uint32_t idse_mean_8x8( const uint16_t *weights, int idx )
{
    const uint16_t *w = weights + (idx >> 1) * 8 + (idx & 1) * 2;
    return ((uint32_t)w[0] + w[1] + w[4] + w[5] + 2) >> 2;
}

static inline uint32_t idse_mean_16x16( const uint16_t *weights )
{
    uint32_t sum = 8;
    for( int i = 0; i < 16; i++ )
        sum += weights[i];
    return sum >> 4;
}

/* Weights (cells = 4) or one sketch of a field macroblock from the two frame macroblocks of its pair,
 * [cells][cells] each. A field macroblock's line k is the pair's line 2k or 2k + 1, so one of its
 * rows of cells lies on two of the pair's. */
static inline void idse_field_weights( uint16_t *field, const uint16_t *upper, const uint16_t *lower )
{
    for( int row = 0; row < 4; row++ )
        for( int x = 0; x < 4; x++ )
        {
            const uint16_t *pair = (row < 2 ? upper : lower) + (row & 1) * 8 + x;
            field[row * 4 + x] = (uint16_t)(((uint32_t)pair[0] + pair[4] + 1) >> 1);
        }
}

static inline void idse_field_sketch( int16_t *field, const int16_t *upper, const int16_t *lower, int cells )
{
    int half = cells / 2;
    for( int row = 0; row < cells; row++ )
        for( int x = 0; x < cells; x++ )
        {
            const int16_t *pair = (row < half ? upper : lower) + (row % half) * 2 * cells + x;
            field[row * cells + x] = (int16_t)((pair[0] + pair[cells]) / 2);
        }
}

#endif
