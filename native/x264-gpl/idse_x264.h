/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The function that this library exports beside x264's own.
 */
#ifndef IDSE_X264_H
#define IDSE_X264_H

#include <stdint.h>
#include "x264.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Distortion weights of one picture. Fixed point with 8 fractional bits: 256 is 1. */
typedef struct x264_distortion_t
{
    int i_size;         /* sizeof( x264_distortion_t ) */
    int i_mb_columns;   /* of the coded picture; interlaced ones have an even number of rows */
    int i_mb_rows;
    int i_sketches;     /* 0 to 16; 0: weights alone */
    int i_cells;        /* per side of a macroblock: 4 (cells of 4x4 luma samples) or 8 (of 2x2) */
    /* One per 4x4 luma block of the picture, rows of 4 * i_mb_columns, also where it is interlaced:
     * blocks lie where they are seen. They multiply the squared error wherever x264 decides by rate
     * and distortion, and divide the trellis' lambda. Their mean inside each macroblock should be 1:
     * what a macroblock as a whole matters is what quant_offsets say. */
    const uint16_t *weights;
    /* [i_mb_rows][i_mb_columns][i_sketches][i_cells][i_cells], within +-2047. The distortion is then
     * the sum over sketches of (sum over cells of sketch * (error summed over the cell))^2 plus
     * shares * (the weighted squared error); the trellis goes on using the weights. */
    const int16_t *sketches;
    const uint16_t *shares;  /* one per macroblock; read where there are sketches */
} x264_distortion_t;

/* Hand in the weights of the picture that the frame-th call of x264_encoder_encode with a picture
 * takes, counted from 0, before that call. They are copied. NULL takes back what was handed in.
 * By the thread that encodes; different encoders are independent.
 * Returns 0, -1 for arguments that are not as described, -2 for a picture that is encoded already,
 * -3 without memory. */
X264_API int x264_encoder_set_distortion_weights( x264_t *, int64_t frame, const x264_distortion_t * );

#ifdef __cplusplus
}
#endif
#endif
