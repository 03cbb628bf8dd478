/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the edited places of x264 call. Included by common/common.h before x264_t is declared.
 */
#ifndef IDSE_H
#define IDSE_H

#include "idse/kernels.h"
#include "idse/idse_x264.h"

struct x264_frame;

/* In every x264_t: thread contexts differ in the macroblock in hand. */
typedef struct
{
    idse_block_t block;         /* of that macroblock */
    const idse_ssd_t *ssd;      /* kernels, by size */
    struct idse_picture *pending;  /* handed in, not encoded yet; in thread[0] only, as is... */
    struct idse_picture *spare;    /* ...what frames had that were used again */
    uint16_t field_weights[16];
    int16_t field_sketches[IDSE_MAX_SKETCHES*IDSE_MAX_CELLS*IDSE_MAX_CELLS];
} idse_state_t;

#define x264_idse_set IDSE_TEMPLATE( set )
int  x264_idse_set( x264_t *h, int64_t frame, const x264_distortion_t *distortion );
/* A picture has got its number: give it what was handed in for it. */
#define x264_idse_attach IDSE_TEMPLATE( attach )
void x264_idse_attach( x264_t *h, struct x264_frame *frame );
#define x264_idse_detach IDSE_TEMPLATE( detach )
void x264_idse_detach( struct x264_frame *frame );
#define x264_idse_close IDSE_TEMPLATE( close )
void x264_idse_close( x264_t *h );
/* A macroblock of h->fenc is about to be analysed. */
#define x264_idse_macroblock IDSE_TEMPLATE( macroblock )
void x264_idse_macroblock( x264_t *h );

/* The places inside x264's rate-distortion code; macros, for they see all of x264_t only there.
 * Chroma keeps its squared error, also in 4:4:4. */
#define IDSE_SSD( h, size, plane, enc, dec, x, y )\
    ((plane) == 0 && (h)->idse.block.weights\
     ? (h)->idse.ssd[size]( &(h)->idse.block, enc, FENC_STRIDE, dec, FDEC_STRIDE, x, y )\
     : (h)->pixf.ssd[size]( enc, FENC_STRIDE, dec, FDEC_STRIDE ))

#define IDSE_LAMBDA( h, chroma, intra, weight )\
    (!(chroma) && (h)->idse.block.weights\
     ? idse_scaled_lambda( (h)->mb.i_trellis_lambda2[chroma][intra], weight )\
     : (h)->mb.i_trellis_lambda2[chroma][intra])
#define IDSE_LAMBDA_4x4( h, chroma, intra, idx )\
    IDSE_LAMBDA( h, chroma, intra, (h)->idse.block.weights[block_idx_y[(idx)&15]*4 + block_idx_x[(idx)&15]] )
#define IDSE_LAMBDA_8x8( h, chroma, intra, idx )\
    IDSE_LAMBDA( h, chroma, intra, idse_mean_8x8( (h)->idse.block.weights, (idx)&3 ) )
#define IDSE_LAMBDA_DC( h, idx, intra )\
    ((idx) == LUMA_DC ? IDSE_LAMBDA( h, 0, intra, idse_mean_16x16( (h)->idse.block.weights ) )\
                      : (h)->mb.i_trellis_lambda2[0][intra])

#endif
