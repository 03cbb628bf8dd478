/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Distortion weights on their way from the caller to the macroblock in hand.
 *
 * The caller hands them in under a picture's number; when x264 gives a picture that number they move
 * into its frame, whose life is x264's own business (reordering, frame threads, re-use). Encoding
 * threads only read them there, so nothing is locked.
 */
#include "common/common.h"

#if IDSE_HAVE_AVX2
#define KERNEL( h, name ) ((h)->param.cpu & X264_CPU_AVX2 ? name##_avx2 : name##_c)
#else
#define KERNEL( h, name ) name##_c
#endif

typedef struct idse_picture
{
    struct idse_picture *next;
    int64_t frame;
    int columns, rows;
    int count;                  /* of sketches, filled up to a multiple of 4; 0: none */
    int cells;
    uint16_t *weights;          /* [rows][columns][16] */
    int16_t *sketches;          /* [rows][columns][count][cells][cells] */
    uint16_t *shares;           /* [rows][columns] */
} idse_picture_t;

static int is_usable( const x264_t *h, const x264_distortion_t *d )
{
    if( d->i_size != sizeof( *d ) || d->i_mb_columns != h->mb.i_mb_width || d->i_mb_rows != h->mb.i_mb_height )
        return 0;
    if( !d->weights || d->i_sketches < 0 || d->i_sketches > IDSE_MAX_SKETCHES )
        return 0;
    return !d->i_sketches || (d->sketches && d->shares && (d->i_cells == 4 || d->i_cells == 8));
}

/* Copy x264_distortion_t's rows of the picture to each macroblock's 16 weights. */
static void copy_weights( idse_picture_t *p, const uint16_t *weights )
{
    int stride = 4 * p->columns;
    uint16_t *out = p->weights;
    for( int mb_y = 0; mb_y < p->rows; mb_y++ )
        for( int mb_x = 0; mb_x < p->columns; mb_x++ )
            for( int row = 0; row < 4; row++, out += 4 )
                memcpy( out, weights + (size_t)(4 * mb_y + row) * stride + 4 * mb_x, 4 * sizeof( *out ) );
}

/* Copy, and tell whether all is within the limits. */
static int copy_sketches( const x264_t *h, idse_picture_t *p, const x264_distortion_t *d )
{
    size_t macroblocks = (size_t)p->columns * p->rows, cells = (size_t)p->cells * p->cells;
    size_t used = d->i_sketches * cells, size = p->count * cells;
    int largest = KERNEL( h, idse_largest )( d->sketches, macroblocks * used );
    if( used == size )
        memcpy( p->sketches, d->sketches, macroblocks * size * sizeof( *p->sketches ) );
    else
        for( size_t mb = 0; mb < macroblocks; mb++ )
        {
            memcpy( p->sketches + mb * size, d->sketches + mb * used, used * sizeof( *p->sketches ) );
            memset( p->sketches + mb * size + used, 0, (size - used) * sizeof( *p->sketches ) );
        }
    memcpy( p->shares, d->shares, macroblocks * sizeof( *p->shares ) );
    return largest <= IDSE_MAX_SKETCH;
}

static void free_pictures( idse_picture_t **list )
{
    while( *list )
    {
        idse_picture_t *p = *list;
        *list = p->next;
        x264_free( p );
    }
}

/* One allocation, so that x264_free frees all of it. Fresh memory costs more than filling it does:
 * what an earlier picture had is taken where it has the same shape. */
static idse_picture_t *new_picture( x264_t *h, const x264_distortion_t *d )
{
    size_t macroblocks = (size_t)d->i_mb_columns * d->i_mb_rows;
    int count = (d->i_sketches + 3) & ~3, cells = count ? d->i_cells : 0;
    if( h->idse.spare && h->idse.spare->count == count && h->idse.spare->cells == cells )
    {
        idse_picture_t *spare = h->idse.spare;
        h->idse.spare = spare->next;
        return spare;
    }
    free_pictures( &h->idse.spare );
    size_t head = (sizeof( idse_picture_t ) + 63) & ~(size_t)63;
    size_t weights = (macroblocks * 16 * sizeof( uint16_t ) + 63) & ~(size_t)63;
    size_t shares = (macroblocks * sizeof( uint16_t ) + 63) & ~(size_t)63;
    size_t sketches = macroblocks * count * cells * cells * sizeof( int16_t );
    uint8_t *memory = x264_malloc( head + weights + (count ? shares + sketches : 0) );
    idse_picture_t *p = (idse_picture_t *)memory;
    if( !memory )
        return NULL;
    memset( p, 0, sizeof( *p ) );
    p->columns = d->i_mb_columns;
    p->rows = d->i_mb_rows;
    p->count = count;
    p->cells = cells;
    p->weights = (uint16_t *)(memory + head);
    if( count )
    {
        p->shares = (uint16_t *)(memory + head + weights);
        p->sketches = (int16_t *)(memory + head + weights + shares);
    }
    return p;
}

/* Take what is pending for a picture out of the list. */
static idse_picture_t *take_pending( x264_t *h, int64_t frame )
{
    idse_picture_t **link = &h->idse.pending;
    while( *link )
    {
        idse_picture_t *p = *link;
        if( p->frame != frame )
        {
            link = &p->next;
            continue;
        }
        *link = p->next;
        return p;
    }
    return NULL;
}

int x264_idse_set( x264_t *h, int64_t frame, const x264_distortion_t *distortion )
{
    idse_picture_t *p;
    /* Frame threads take turns at encoding: the next number is in the context that went last. */
    x264_t *last = h->i_thread_frames > 1 ? h->thread[h->i_thread_phase] : h;
    if( frame < 0 || (distortion && !is_usable( h, distortion )) )
        return -1;
    if( frame < last->frames.i_input )
        return -2;
    if( !distortion )
    {
        x264_free( take_pending( h, frame ) );
        return 0;
    }
    if( !(p = new_picture( h, distortion )) )
        return -3;
    copy_weights( p, distortion->weights );
    if( p->count && !copy_sketches( h, p, distortion ) )
    {
        x264_free( p );
        return -1;
    }
    x264_free( take_pending( h, frame ) );
    p->frame = frame;
    p->next = h->idse.pending;
    h->idse.pending = p;
    return 0;
}

void x264_idse_detach( x264_frame_t *frame )
{
    x264_free( frame->idse );
    frame->idse = NULL;
}

void x264_idse_attach( x264_t *h, x264_frame_t *frame )
{
    h = h->thread[0];
    if( frame->idse ) /* frames are used again */
    {
        frame->idse->next = h->idse.spare;
        h->idse.spare = frame->idse;
    }
    frame->idse = take_pending( h, frame->i_frame );
}

void x264_idse_close( x264_t *h )
{
    h = h->thread[0];
    free_pictures( &h->idse.pending );
    free_pictures( &h->idse.spare );
}

void x264_idse_macroblock( x264_t *h )
{
    const idse_picture_t *p = h->fenc->idse;
    idse_block_t *block = &h->idse.block;
    if( !p )
    {
        block->weights = NULL;
        return;
    }
    h->idse.ssd = KERNEL( h, idse_ssd );
    size_t mb = (size_t)h->mb.i_mb_y * p->columns + h->mb.i_mb_x;
    size_t one = (size_t)p->cells * p->cells, all = one * p->count;
    block->count = p->count;
    block->cells = p->cells;
    block->weights = p->weights + mb * 16;
    block->sketches = p->count ? p->sketches + mb * all : NULL;
    block->share = p->count ? p->shares[mb] : 0;
    /* A picture's sketches do not fit the cache: ask for the next macroblock's while this one's are
     * in use. Asking beyond the last is harmless. */
    for( size_t line = 0; line < all * sizeof( int16_t ); line += 64 )
        __builtin_prefetch( (const char *)(block->sketches + all) + line );
    if( !MB_INTERLACED )
        return;
    /* A field macroblock takes every other line of its pair. */
    size_t upper = (size_t)(h->mb.i_mb_y & ~1) * p->columns + h->mb.i_mb_x, lower = upper + p->columns;
    idse_field_weights( h->idse.field_weights, p->weights + upper * 16, p->weights + lower * 16 );
    block->weights = h->idse.field_weights;
    if( !p->count )
        return;
    for( int s = 0; s < p->count; s++ )
        idse_field_sketch( h->idse.field_sketches + s * one, p->sketches + upper * all + s * one,
                           p->sketches + lower * all + s * one, p->cells );
    block->sketches = h->idse.field_sketches;
    block->share = (p->shares[upper] + p->shares[lower] + 1u) >> 1;
}
