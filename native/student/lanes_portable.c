/* The kernels for any machine. */
#define KERNELS student_portable
#define ISA STUDENT_PORTABLE
#define LANES 4
#define NARROW 12
#define WIDE_TILE 6
#include "lanes.h"
