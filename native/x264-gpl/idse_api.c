/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The end of encoder/api.c: it knows what an opaque handle holds.
 */
#include "idse/idse_x264.h"

int idse_8_set( x264_t *, int64_t frame, const x264_distortion_t * );
int idse_10_set( x264_t *, int64_t frame, const x264_distortion_t * );

REALIGN_STACK int x264_encoder_set_distortion_weights( x264_t *h, int64_t frame, const x264_distortion_t *distortion )
{
    x264_api_t *api = (x264_api_t *)h;

#if HAVE_BITDEPTH8
    if( api->encoder_encode == x264_8_encoder_encode )
        return idse_8_set( api->x264, frame, distortion );
#endif
#if HAVE_BITDEPTH10
    if( api->encoder_encode == x264_10_encoder_encode )
        return idse_10_set( api->x264, frame, distortion );
#endif
    return -1;
}

/* Builds 164 and 165 have the same structures: one library serves callers compiled for either. */
#if X264_BUILD == 164
X264_API x264_t *x264_encoder_open_165( x264_param_t *param );
REALIGN_STACK x264_t *x264_encoder_open_165( x264_param_t *param )
{
    return x264_encoder_open( param );
}
#elif X264_BUILD == 165
X264_API x264_t *x264_encoder_open_164( x264_param_t *param );
REALIGN_STACK x264_t *x264_encoder_open_164( x264_param_t *param )
{
    return x264_encoder_open( param );
}
#else
#error "the structures of this x264 build are not known to be those of builds 164 and 165"
#endif
