/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Body of the kernels' tests, compiled once per bit depth by the file that includes it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENC_STRIDE = 16, DEC_STRIDE = 32, TOP = (1 << BIT_DEPTH) - 1 };

#define CHECK( condition, ... ) \
    do { if( !(condition) ) { fprintf( stderr, __VA_ARGS__ ); fputc( '\n', stderr ); exit( 1 ); } } while( 0 )

static const int widths[IDSE_SIZES] = { 16, 16, 8, 8, 8, 4, 4 }, heights[IDSE_SIZES] = { 16, 8, 16, 8, 4, 8, 4 };

/* Exactly as large as what the kernels may read, on the heap: a read beyond is an error. */
typedef struct
{
    idse_pixel *enc, *dec;
    uint16_t *weights;
    int16_t *sketches;
    idse_block_t block;
} data_t;

static unsigned next_random( void )
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 32);
}

/* extreme: the largest error, weights and sketches that are allowed. */
static data_t make_data( int count, int cells, int extreme )
{
    data_t d;
    int padded = (count + 3) & ~3, size = cells * cells;
    d.enc = malloc( 16 * ENC_STRIDE * sizeof( *d.enc ) );
    d.dec = malloc( (15 * DEC_STRIDE + 16) * sizeof( *d.dec ) );
    d.weights = malloc( 16 * sizeof( *d.weights ) );
    d.sketches = count ? malloc( (size_t)padded * size * sizeof( *d.sketches ) ) : NULL;
    CHECK( d.enc && d.dec && d.weights && (!count || d.sketches), "no memory" );
    for( int i = 0; i < 16 * ENC_STRIDE; i++ )
        d.enc[i] = (idse_pixel)(extreme ? TOP : (int)(next_random() % (TOP + 1)));
    for( int i = 0; i < 15 * DEC_STRIDE + 16; i++ )
        d.dec[i] = (idse_pixel)(extreme ? 0 : (int)(next_random() % (TOP + 1)));
    for( int i = 0; i < 16; i++ )
        d.weights[i] = (uint16_t)(extreme ? 65535 : next_random() % 1024);
    for( int i = 0; i < padded * size && count; i++ )
        d.sketches[i] = (int16_t)(i >= count * size ? 0 : extreme ? IDSE_MAX_SKETCH
                        : (int)(next_random() % (2 * 90 + 1)) - 90);
    d.block = (idse_block_t){ d.weights, d.sketches, padded, cells, extreme ? 65535 : next_random() % 512 };
    if( !count )
        d.block.count = d.block.cells = 0;
    return d;
}

static void free_data( data_t *d )
{
    free( d->enc );
    free( d->dec );
    free( d->weights );
    free( d->sketches );
}

/* The definition, sample by sample. */
static int expected_cost( const data_t *d, int x, int y, int w, int h )
{
    const idse_block_t *b = &d->block;
    uint64_t weighted = 0, sketched = 0;
    double cost;
    for( int j = y; j < y + h; j++ )
        for( int i = x; i < x + w; i++ )
        {
            int64_t error = (int64_t)d->enc[j * ENC_STRIDE + i] - d->dec[j * DEC_STRIDE + i];
            weighted += (uint64_t)(error * error) * b->weights[(j / 4) * 4 + i / 4];
        }
    weighted = (weighted + 128) >> 8;
    if( !b->sketches )
        return weighted < IDSE_COST_MAX ? (int)weighted : IDSE_COST_MAX;
    for( int s = 0; s < b->count; s++ )
    {
        int64_t product = 0;
        int side = 16 / b->cells;
        for( int j = y; j < y + h; j++ )
            for( int i = x; i < x + w; i++ )
                product += ((int64_t)d->enc[j * ENC_STRIDE + i] - d->dec[j * DEC_STRIDE + i])
                           * b->sketches[(s * b->cells + j / side) * b->cells + i / side];
        sketched += (uint64_t)(product * product);
    }
    cost = (double)((sketched + 32768) >> 16) + (double)((weighted * b->share + 128) >> 8);
    return cost < IDSE_COST_MAX ? (int)cost : IDSE_COST_MAX;
}

static void check_kernels( const idse_ssd_t *kernels, const char *name )
{
    static const int counts[] = { 0, 1, 3, 4, 8, 16 };
    for( int n = 0; n < 6 * 2 * 40; n++ )
    {
        int count = counts[n % 6], cells = n / 6 % 2 ? 8 : 4;
        data_t d = make_data( count, cells, n / 12 == 0 );
        for( int size = 0; size < IDSE_SIZES; size++ )
            for( int y = 0; y < 16; y += heights[size] )
                for( int x = 0; x < 16; x += widths[size] )
                {
                    int found = kernels[size]( &d.block, d.enc + y * ENC_STRIDE + x, ENC_STRIDE,
                                               d.dec + y * DEC_STRIDE + x, DEC_STRIDE, x, y );
                    int expected = expected_cost( &d, x, y, widths[size], heights[size] );
                    CHECK( found == expected, "%s, %d bit, %d sketches of %d cells, %dx%d at %d,%d: %d, expected %d",
                           name, BIT_DEPTH, count, cells, widths[size], heights[size], x, y, found, expected );
                }
        free_data( &d );
    }
}

/* Weights of 1 are stock's squared error, exactly. */
static void check_uniform( const idse_ssd_t *kernels )
{
    for( int n = 0; n < 50; n++ )
    {
        data_t d = make_data( 0, 4, n == 0 );
        int64_t squares = 0;
        for( int i = 0; i < 16; i++ )
            d.weights[i] = IDSE_ONE;
        for( int i = 0; i < 256; i++ )
        {
            int error = d.enc[i / 16 * ENC_STRIDE + i % 16] - d.dec[i / 16 * DEC_STRIDE + i % 16];
            squares += error * error;
        }
        CHECK( kernels[0]( &d.block, d.enc, ENC_STRIDE, d.dec, DEC_STRIDE, 0, 0 ) == squares,
               "%d bit: weights of 1 differ from the squared error", BIT_DEPTH );
        free_data( &d );
    }
}

static void check_largest( int (*largest)( const int16_t *, size_t ) )
{
    for( int n = 0; n < 50; n++ )
        for( int at = 0; at < n; at++ )
        {
            int16_t *values = calloc( (size_t)n, sizeof( *values ) );
            CHECK( values, "no memory" );
            values[0] = 5;
            values[at] = at & 1 ? -2048 : at == 20 ? -32768 : 2048;
            CHECK( largest( values, (size_t)n ) == (at == 20 ? 32768 : 2048), "largest of %d at %d", n, at );
            free( values );
        }
    CHECK( largest( NULL, 0 ) == 0, "largest of nothing" );
}

static void check_depth( void )
{
    check_largest( idse_largest_c );
    check_kernels( idse_ssd_c, "C" );
    check_uniform( idse_ssd_c );
#if IDSE_HAVE_AVX2
    if( __builtin_cpu_supports( "avx2" ) )
    {
        check_kernels( idse_ssd_avx2, "AVX2" );
        check_uniform( idse_ssd_avx2 );
        check_largest( idse_largest_avx2 );
    }
#endif
}
