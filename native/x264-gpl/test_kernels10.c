/* SPDX-License-Identifier: GPL-2.0-or-later */
#define HIGH_BIT_DEPTH 1
#define BIT_DEPTH 10
#include "kernels.c"
#include "test_kernels.h"

void check_10_bit( void );
void check_10_bit( void )
{
    check_depth();
}
