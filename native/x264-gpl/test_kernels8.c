/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tests of the distortion kernels and of what is computed around them.
 */
#define HIGH_BIT_DEPTH 0
#define BIT_DEPTH 8
#include "kernels.c"
#include "test_kernels.h"

void check_10_bit( void );

static void check_lambda( void )
{
    CHECK( idse_scaled_lambda( 12345, 256 ) == 12345, "a weight of 1 changes lambda" );
    CHECK( idse_scaled_lambda( 12345, 512 ) == 6173, "a weight of 2 does not halve lambda" );
    CHECK( idse_scaled_lambda( 12345, 128 ) == 24690, "a weight of 1/2 does not double lambda" );
    CHECK( idse_scaled_lambda( 1, 65535 ) == 1, "lambda becomes 0" );
    CHECK( idse_scaled_lambda( 0, 77 ) == 0, "no lambda becomes one" );
    CHECK( idse_scaled_lambda( 134217727, 1 ) == 134217727, "lambda passes x264's largest" );
    CHECK( idse_scaled_lambda( 7, 0 ) == 134217727, "a weight of 0 is divided by" );
}

static void check_means( void )
{
    uint16_t weights[16];
    for( int i = 0; i < 16; i++ )
        weights[i] = (uint16_t)i;
    CHECK( idse_mean_8x8( weights, 0 ) == 3 && idse_mean_8x8( weights, 1 ) == 5
           && idse_mean_8x8( weights, 2 ) == 11 && idse_mean_8x8( weights, 3 ) == 13, "means of 8x8 blocks" );
    CHECK( idse_mean_16x16( weights ) == 8, "mean of a macroblock" );
    for( int i = 0; i < 16; i++ )
        weights[i] = 65535;
    CHECK( idse_mean_8x8( weights, 3 ) == 65535 && idse_mean_16x16( weights ) == 65535, "means overflow" );
}

/* Rows 0 to 7 of the pair's blocks are worth 0, 100, ... 700: a field macroblock's row k lies on rows
 * 2k and 2k + 1, whichever field it is. */
static void check_fields( void )
{
    uint16_t upper[16], lower[16], field[16];
    int16_t sketch_upper[64], sketch_lower[64], sketch[64];
    for( int i = 0; i < 16; i++ )
    {
        upper[i] = (uint16_t)(i / 4 * 100 + i % 4);
        lower[i] = (uint16_t)(upper[i] + 400);
    }
    idse_field_weights( field, upper, lower );
    for( int i = 0; i < 16; i++ )
        CHECK( field[i] == i / 4 * 200 + 50 + i % 4, "field weight %d is %d", i, field[i] );
    for( int i = 0; i < 64; i++ )
    {
        sketch_upper[i] = (int16_t)(-1000 + i / 8 * 100 + i % 8);
        sketch_lower[i] = (int16_t)(sketch_upper[i] + 800);
    }
    idse_field_sketch( sketch, sketch_upper, sketch_lower, 8 );
    for( int i = 0; i < 64; i++ )
        CHECK( sketch[i] == -1000 + i / 8 * 200 + 50 + i % 8, "field sketch %d is %d", i, sketch[i] );
}

int main( void )
{
    check_lambda();
    check_means();
    check_fields();
    check_depth();
    check_10_bit();
    puts( "distortion kernels: ok" );
    return 0;
}
