/* The kernels for AVX2 with FMA: 16 registers. */
#define KERNELS student_avx2
#define ISA STUDENT_AVX2
#define LANES 8
#define NARROW 12
#define WIDE_TILE 6
#include "lanes.h"
