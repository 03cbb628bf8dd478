/* The kernels for AVX-512F: 32 registers. */
#define KERNELS student_avx512
#define ISA STUDENT_AVX512
#define LANES 16
#define NARROW 24
#define WIDE_TILE 12
#include "lanes.h"
