/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kernels.h"

#include <string.h>

/* Width and height of x264's PIXEL_16x16, 16x8, 8x16, 8x8, 8x4, 4x8, 4x4. */
#define FOR_EACH_SIZE( X ) X( 16, 16 ) X( 16, 8 ) X( 8, 16 ) X( 8, 8 ) X( 8, 4 ) X( 4, 8 ) X( 4, 4 )

#define ALWAYS_INLINE_ static inline __attribute__(( always_inline ))

ALWAYS_INLINE_ int rounded_cost( const idse_block_t *block, uint64_t weighted, uint64_t sketched )
{
    uint64_t cost;
    weighted = (weighted + IDSE_ONE / 2) / IDSE_ONE;
    if( block->sketches )
        cost = ((sketched + 32768) >> 16) + ((weighted * block->share + IDSE_ONE / 2) / IDSE_ONE);
    else
        cost = weighted;
    return cost < IDSE_COST_MAX ? (int)cost : IDSE_COST_MAX;
}

/* ---- C */

ALWAYS_INLINE_ int ssd_c( const idse_block_t *block, const idse_pixel *enc, intptr_t enc_stride,
                          const idse_pixel *dec, intptr_t dec_stride, int x, int y, int w, int h )
{
    uint64_t weighted = 0, sketched = 0;
    for( int by = 0; by < h; by += 4 )
        for( int bx = 0; bx < w; bx += 4 )
        {
            uint32_t squares = 0;
            for( int j = by; j < by + 4; j++ )
                for( int i = bx; i < bx + 4; i++ )
                {
                    int error = enc[j * enc_stride + i] - dec[j * dec_stride + i];
                    squares += (uint32_t)(error * error);
                }
            weighted += (uint64_t)squares * block->weights[(y + by) + ((x + bx) >> 2)];
        }
    if( block->sketches )
    {
        int cells = block->cells, shift = cells == 4 ? 2 : 1;
        int sums[IDSE_MAX_CELLS * IDSE_MAX_CELLS] = { 0 };
        for( int j = 0; j < h; j++ )
            for( int i = 0; i < w; i++ )
                sums[((y + j) >> shift) * cells + ((x + i) >> shift)] +=
                    enc[j * enc_stride + i] - dec[j * dec_stride + i];
        for( int s = 0; s < block->count; s++ )
        {
            const int16_t *sketch = block->sketches + s * cells * cells;
            int64_t product = 0;
            for( int c = 0; c < cells * cells; c++ )
                product += sketch[c] * sums[c];
            sketched += (uint64_t)(product * product);
        }
    }
    return rounded_cost( block, weighted, sketched );
}

#define SSD_C( W, H ) \
    static int ssd_c_##W##x##H( const idse_block_t *block, const idse_pixel *enc, intptr_t enc_stride, \
                                const idse_pixel *dec, intptr_t dec_stride, int x, int y ) \
    { \
        return ssd_c( block, enc, enc_stride, dec, dec_stride, x, y, W, H ); \
    }
FOR_EACH_SIZE( SSD_C )

#define NAME_C( W, H ) ssd_c_##W##x##H,
const idse_ssd_t idse_ssd_c[IDSE_SIZES] = { FOR_EACH_SIZE( NAME_C ) };

int idse_largest_c( const int16_t *values, size_t n )
{
    int largest = 0;
    for( size_t i = 0; i < n; i++ )
    {
        int magnitude = values[i] < 0 ? -values[i] : values[i];
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

/* ---- AVX2 */

#if IDSE_HAVE_AVX2
#include <immintrin.h>

#define AVX2 __attribute__(( target( "avx2" ) ))
#define AVX2_INLINE static inline __attribute__(( always_inline, target( "avx2" ) ))

#if HIGH_BIT_DEPTH
AVX2_INLINE __m256i load16( const idse_pixel *p ) { return _mm256_loadu_si256( (const __m256i *)p ); }
AVX2_INLINE __m128i load8( const idse_pixel *p ) { return _mm_loadu_si128( (const __m128i *)p ); }
AVX2_INLINE __m128i load4( const idse_pixel *p ) { return _mm_loadl_epi64( (const __m128i *)p ); }
#else
AVX2_INLINE __m256i load16( const idse_pixel *p )
{
    return _mm256_cvtepu8_epi16( _mm_loadu_si128( (const __m128i *)p ) );
}
AVX2_INLINE __m128i load8( const idse_pixel *p )
{
    return _mm_cvtepu8_epi16( _mm_loadl_epi64( (const __m128i *)p ) );
}
AVX2_INLINE __m128i load4( const idse_pixel *p )
{
    int samples;
    memcpy( &samples, p, sizeof( samples ) );
    return _mm_cvtepu8_epi16( _mm_cvtsi32_si128( samples ) );
}
#endif

AVX2_INLINE __m128i load_pair( const uint16_t *weights )
{
    int pair;
    memcpy( &pair, weights, sizeof( pair ) );
    return _mm_cvtsi32_si128( pair );
}

AVX2_INLINE uint64_t sum_of_64( __m128i v )
{
    return (uint64_t)_mm_cvtsi128_si64( _mm_add_epi64( v, _mm_unpackhi_epi64( v, v ) ) );
}

/* Sum over the sketches of their product with ``sums``, squared. ``sums`` are groups of 16 cells, zeros
 * outside of the block; ``first`` is where they begin in a sketch of ``size`` cells. */
AVX2_INLINE uint64_t sketch_energy( const idse_block_t *block, const __m256i *sums, int groups, int first, int size )
{
    const int16_t *sketch = block->sketches + first;
    __m128i energy = _mm_setzero_si128();
    for( int s = 0; s < block->count; s += 4, sketch += 4 * size )
    {
        __m256i p[4];
        for( int k = 0; k < 4; k++ )
            for( int g = 0; g < groups; g++ )
            {
                __m256i cells = _mm256_loadu_si256( (const __m256i *)(sketch + k * size + g * 16) );
                __m256i product = _mm256_madd_epi16( sums[g], cells );
                p[k] = g ? _mm256_add_epi32( p[k], product ) : product;
            }
        __m256i four = _mm256_hadd_epi32( _mm256_hadd_epi32( p[0], p[1] ), _mm256_hadd_epi32( p[2], p[3] ) );
        __m128i products = _mm_add_epi32( _mm256_castsi256_si128( four ), _mm256_extracti128_si256( four, 1 ) );
        __m128i odd = _mm_srli_epi64( products, 32 );
        energy = _mm_add_epi64( energy, _mm_mul_epi32( products, products ) );
        energy = _mm_add_epi64( energy, _mm_mul_epi32( odd, odd ) );
    }
    return sum_of_64( energy );
}

/* Four rows of error as two rows of 8 sums over 2x2 samples, at the block's place in the macroblock. */
AVX2_INLINE __m256i sums_2x2( const __m256i *rows, int x, int w )
{
    const __m256i ones = _mm256_set1_epi16( 1 );
    __m256i upper = _mm256_madd_epi16( _mm256_add_epi16( rows[0], rows[1] ), ones );
    __m256i lower = _mm256_madd_epi16( _mm256_add_epi16( rows[2], rows[3] ), ones );
    __m256i sums = _mm256_permute4x64_epi64( _mm256_packs_epi32( upper, lower ), 0xd8 );
    if( w == 16 )
        return sums;
    /* Narrower blocks come with zeros to their right: move each row x / 2 sums up. */
    __m256i up_8 = _mm256_slli_si256( sums, 8 ), mask_8 = _mm256_set1_epi8( x & 8 ? -1 : 0 );
    sums = _mm256_blendv_epi8( sums, up_8, mask_8 );
    if( w == 8 )
        return sums;
    return _mm256_blendv_epi8( sums, _mm256_slli_si256( sums, 4 ), _mm256_set1_epi8( x & 4 ? -1 : 0 ) );
}

/* Four rows of error as one row of 4 sums over 4x4 samples, at the block's place. */
AVX2_INLINE uint64_t sums_4x4( const __m256i *rows, int x, int w )
{
    const __m256i ones = _mm256_set1_epi16( 1 );
    __m256i all = _mm256_add_epi16( _mm256_add_epi16( rows[0], rows[1] ), _mm256_add_epi16( rows[2], rows[3] ) );
    __m256i pairs = _mm256_madd_epi16( all, ones );
    __m128i fours = w == 16 ? _mm_hadd_epi32( _mm256_castsi256_si128( pairs ), _mm256_extracti128_si256( pairs, 1 ) )
                            : _mm_hadd_epi32( _mm256_castsi256_si128( pairs ), _mm_setzero_si128() );
    return (uint64_t)_mm_cvtsi128_si64( _mm_packs_epi32( fours, fours ) ) << (x * 4);
}

/* The rows of the block at its place among the macroblock's four, zeros elsewhere. */
AVX2_INLINE __m256i rows_of_4( const uint64_t *rows, int y, int h )
{
    const __m256i places = _mm256_set_epi64x( 3, 2, 1, 0 );
    __m128i pair = _mm_set_epi64x( (int64_t)rows[1], (int64_t)rows[0] );
    if( h == 16 )
        return _mm256_inserti128_si256( _mm256_castsi128_si256( pair ),
                                        _mm_set_epi64x( (int64_t)rows[3], (int64_t)rows[2] ), 1 );
    if( h == 8 )
        return _mm256_and_si256( _mm256_broadcastsi128_si256( pair ),
            _mm256_cmpeq_epi64( _mm256_srli_epi64( places, 1 ), _mm256_set1_epi64x( y >> 3 ) ) );
    return _mm256_and_si256( _mm256_set1_epi64x( (int64_t)rows[0] ),
                             _mm256_cmpeq_epi64( places, _mm256_set1_epi64x( y >> 2 ) ) );
}

AVX2_INLINE int ssd_avx2( const idse_block_t *block, const idse_pixel *enc, intptr_t enc_stride,
                          const idse_pixel *dec, intptr_t dec_stride, int x, int y, int w, int h, int cells )
{
    uint64_t weighted = 0, sketched = 0, fours[4] = { 0 };
    __m256i total = _mm256_setzero_si256(), twos[4];
    for( int band = 0; band < h / 4; band++ )
    {
        const uint16_t *weights = block->weights + y + 4 * band + (x >> 2);
        __m256i rows[4];
        __m256i squares = _mm256_setzero_si256();
        for( int j = 0; j < 4; j++, enc += enc_stride, dec += dec_stride )
        {
            if( w == 16 )
                rows[j] = _mm256_sub_epi16( load16( enc ), load16( dec ) );
            else if( w == 8 )
                rows[j] = _mm256_zextsi128_si256( _mm_sub_epi16( load8( enc ), load8( dec ) ) );
            else
                rows[j] = _mm256_zextsi128_si256( _mm_sub_epi16( load4( enc ), load4( dec ) ) );
            squares = _mm256_add_epi32( squares, _mm256_madd_epi16( rows[j], rows[j] ) );
        }
        /* 32-bit lanes 2k and 2k + 1 belong to the k-th 4x4 block; mul_epu32 takes the even ones. */
        squares = _mm256_add_epi32( squares, _mm256_srli_epi64( squares, 32 ) );
        if( w == 16 )
            total = _mm256_add_epi64( total, _mm256_mul_epu32( squares,
                _mm256_cvtepu16_epi64( _mm_loadl_epi64( (const __m128i *)weights ) ) ) );
        else if( w == 8 )
            total = _mm256_add_epi64( total, _mm256_mul_epu32( squares,
                _mm256_zextsi128_si256( _mm_cvtepu16_epi64( load_pair( weights ) ) ) ) );
        else
            weighted += (uint64_t)(uint32_t)_mm256_cvtsi256_si32( squares ) * weights[0];
        if( cells == 8 )
            twos[band] = sums_2x2( rows, x, w );
        else if( cells == 4 )
            fours[band] = sums_4x4( rows, x, w );
    }
    if( w != 4 )
        weighted = sum_of_64( _mm_add_epi64( _mm256_castsi256_si128( total ), _mm256_extracti128_si256( total, 1 ) ) );
    if( cells == 8 )
        sketched = sketch_energy( block, twos, h / 4, 4 * y, 64 );
    else if( cells == 4 )
    {
        twos[0] = rows_of_4( fours, y, h );
        sketched = sketch_energy( block, twos, 1, 0, 16 );
    }
    return rounded_cost( block, weighted, sketched );
}

#define SSD_AVX2( W, H ) \
    AVX2 static int ssd_avx2_##W##x##H( const idse_block_t *block, const idse_pixel *enc, intptr_t enc_stride, \
                                        const idse_pixel *dec, intptr_t dec_stride, int x, int y ) \
    { \
        if( !block->sketches ) \
            return ssd_avx2( block, enc, enc_stride, dec, dec_stride, x, y, W, H, 0 ); \
        if( block->cells == 4 ) \
            return ssd_avx2( block, enc, enc_stride, dec, dec_stride, x, y, W, H, 4 ); \
        return ssd_avx2( block, enc, enc_stride, dec, dec_stride, x, y, W, H, 8 ); \
    }
FOR_EACH_SIZE( SSD_AVX2 )

#define NAME_AVX2( W, H ) ssd_avx2_##W##x##H,
const idse_ssd_t idse_ssd_avx2[IDSE_SIZES] = { FOR_EACH_SIZE( NAME_AVX2 ) };

AVX2 int idse_largest_avx2( const int16_t *values, size_t n )
{
    __m256i most = _mm256_setzero_si256();
    uint16_t lanes[16];
    size_t i = 0;
    int largest;
    for( ; i + 16 <= n; i += 16 ) /* the magnitude of -32768 is 32768: unsigned */
        most = _mm256_max_epu16( most, _mm256_abs_epi16( _mm256_loadu_si256( (const __m256i *)(values + i) ) ) );
    _mm256_storeu_si256( (__m256i *)lanes, most );
    largest = idse_largest_c( values + i, n - i );
    for( int k = 0; k < 16; k++ )
        largest = lanes[k] > largest ? lanes[k] : largest;
    return largest;
}
#endif
