#include "kernels.h"

#include <string.h>

/* Where on an axis of `count` macroblocks a place lies: between two of them, or on the edge. */
static inline int place(float at, int count, float *fraction)
{
    /* The comparison is false for NaN, too, which then lies on the edge. */
    if (!(at > 0))
        at = 0;
    if (at > (float)(count - 1))
        at = (float)(count - 1);
    const int low = (int)at;
    *fraction = at - (float)low;
    return low;
}

void idse_kernels_flow_back(const float *values, int planes, const float *vectors,
                            const float *share, int rows, int cols, float *out)
{
    const int count = rows * cols;
    memset(out, 0, sizeof(float) * (size_t)planes * (size_t)count);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const int index = r * cols + c;
            float fx, fy;
            const int left = place((float)c + vectors[2 * index] / IDSE_MB, cols, &fx);
            const int top = place((float)r + vectors[2 * index + 1] / IDSE_MB, rows, &fy);
            const int right = left + 1 < cols ? left + 1 : left;
            const int bottom = top + 1 < rows ? top + 1 : top;
            const float part = share[index];
            const float upper = part * (1 - fy), lower = part * fy;
            for (int p = 0; p < planes; p++) {
                const float value = values[p * count + index];
                float *plane = out + p * count;
                plane[top * cols + left] += value * upper * (1 - fx);
                plane[top * cols + right] += value * upper * fx;
                plane[bottom * cols + left] += value * lower * (1 - fx);
                plane[bottom * cols + right] += value * lower * fx;
            }
        }
}

void idse_kernels_carry(const float *values, int planes, const float *vectors, const float *share,
                        int rows, int cols, float *out)
{
    const int count = rows * cols;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const int index = r * cols + c;
            float fx, fy;
            const int left = place((float)c + vectors[2 * index] / IDSE_MB, cols, &fx);
            const int top = place((float)r + vectors[2 * index + 1] / IDSE_MB, rows, &fy);
            const int right = left + 1 < cols ? left + 1 : left;
            const int bottom = top + 1 < rows ? top + 1 : top;
            for (int p = 0; p < planes; p++) {
                const float *plane = values + p * count;
                const float upper =
                    plane[top * cols + left] * (1 - fx) + plane[top * cols + right] * fx;
                const float lower =
                    plane[bottom * cols + left] * (1 - fx) + plane[bottom * cols + right] * fx;
                out[p * count + index] = (upper * (1 - fy) + lower * fy) * share[index];
            }
        }
}
