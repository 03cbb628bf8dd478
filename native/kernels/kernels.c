#include "kernels.h"

/* Changes with every signature or struct; idse.native checks it at load. */
int idse_kernels_abi(void)
{
    return 5;
}
