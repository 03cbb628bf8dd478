/* The forward DCT, in single precision: libjpeg's integers err by up to an eighth of a level, which
 * a table entry of 1 or 2 makes visible. */
#include "block.h"

/* Row u, column x: cos((2x + 1) u pi / 16) / 2, row 0 divided by sqrt(2): orthonormal. */
static const float basis[BLOCK][BLOCK] = {
    {0.35355339F, 0.35355339F, 0.35355339F, 0.35355339F, 0.35355339F, 0.35355339F, 0.35355339F,
     0.35355339F},
    {0.49039264F, 0.41573481F, 0.27778512F, 0.09754516F, -0.09754516F, -0.27778512F, -0.41573481F,
     -0.49039264F},
    {0.46193977F, 0.19134172F, -0.19134172F, -0.46193977F, -0.46193977F, -0.19134172F, 0.19134172F,
     0.46193977F},
    {0.41573481F, -0.09754516F, -0.49039264F, -0.27778512F, 0.27778512F, 0.49039264F, 0.09754516F,
     -0.41573481F},
    {0.35355339F, -0.35355339F, -0.35355339F, 0.35355339F, 0.35355339F, -0.35355339F, -0.35355339F,
     0.35355339F},
    {0.27778512F, -0.49039264F, 0.09754516F, 0.41573481F, -0.41573481F, -0.09754516F, 0.49039264F,
     -0.27778512F},
    {0.19134172F, -0.46193977F, 0.46193977F, -0.19134172F, -0.19134172F, 0.46193977F, -0.46193977F,
     0.19134172F},
    {0.09754516F, -0.27778512F, 0.41573481F, -0.49039264F, 0.49039264F, -0.41573481F, 0.27778512F,
     -0.09754516F},
};

/* The same, transposed: columns of a product are then contiguous. */
static const float across[BLOCK][BLOCK] = {
    {0.35355339F, 0.49039264F, 0.46193977F, 0.41573481F, 0.35355339F, 0.27778512F, 0.19134172F,
     0.09754516F},
    {0.35355339F, 0.41573481F, 0.19134172F, -0.09754516F, -0.35355339F, -0.49039264F, -0.46193977F,
     -0.27778512F},
    {0.35355339F, 0.27778512F, -0.19134172F, -0.49039264F, -0.35355339F, 0.09754516F, 0.46193977F,
     0.41573481F},
    {0.35355339F, 0.09754516F, -0.46193977F, -0.27778512F, 0.35355339F, 0.41573481F, -0.19134172F,
     -0.49039264F},
    {0.35355339F, -0.09754516F, -0.46193977F, 0.27778512F, 0.35355339F, -0.41573481F, -0.19134172F,
     0.49039264F},
    {0.35355339F, -0.27778512F, -0.19134172F, 0.49039264F, -0.35355339F, -0.09754516F, 0.46193977F,
     -0.41573481F},
    {0.35355339F, -0.41573481F, 0.19134172F, 0.09754516F, -0.35355339F, 0.49039264F, -0.46193977F,
     0.27778512F},
    {0.35355339F, -0.49039264F, 0.46193977F, -0.41573481F, 0.35355339F, -0.27778512F, 0.19134172F,
     -0.09754516F},
};

WIDE void idse_forward_dct(const uint8_t *samples, ptrdiff_t stride, float *out)
{
    float half[2][4][BLOCK], down[BLOCK][BLOCK];
    /* The basis is even or odd in x: sums and differences of mirrored rows halve the products. */
    for (int y = 0; y < 4; y++) {
        const uint8_t *upper = samples + y * stride, *lower = samples + (7 - y) * stride;
        for (int x = 0; x < BLOCK; x++) {
            half[0][y][x] = (float)(upper[x] + lower[x] - 256);
            half[1][y][x] = (float)(upper[x] - lower[x]);
        }
    }
    for (int v = 0; v < BLOCK; v++)
        for (int x = 0; x < BLOCK; x++)
            down[v][x] = basis[v][0] * half[v & 1][0][x] + basis[v][1] * half[v & 1][1][x] +
                         basis[v][2] * half[v & 1][2][x] + basis[v][3] * half[v & 1][3][x];
    for (int v = 0; v < BLOCK; v++) {
        float sum[BLOCK] = {0};
        for (int x = 0; x < BLOCK; x++)
            for (int u = 0; u < BLOCK; u++)
                sum[u] += down[v][x] * across[x][u];
        memcpy(out + v * BLOCK, sum, sizeof(sum));
    }
}
