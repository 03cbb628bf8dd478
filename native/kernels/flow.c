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

/* The four macroblocks that a place lies between, and how far it is from the left and upper ones. */
struct corners {
    int top_left, top_right, bottom_left, bottom_right;
    float fx, fy;
};

/* Where a vector of luma samples leads from a macroblock. */
static inline struct corners corners_of(const float *vector, int r, int c, int rows, int cols)
{
    struct corners at;
    const int left = place((float)c + vector[0] / IDSE_MB, cols, &at.fx);
    const int top = place((float)r + vector[1] / IDSE_MB, rows, &at.fy);
    const int right = left + 1 < cols ? left + 1 : left;
    const int bottom = top + 1 < rows ? top + 1 : top;
    at.top_left = top * cols + left;
    at.top_right = top * cols + right;
    at.bottom_left = bottom * cols + left;
    at.bottom_right = bottom * cols + right;
    return at;
}

void idse_kernels_flow_back(const float *values, int planes, const float *vectors,
                            const float *share, int rows, int cols, float *out)
{
    const int count = rows * cols;
    memset(out, 0, sizeof(float) * (size_t)planes * (size_t)count);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const int index = r * cols + c;
            const struct corners at = corners_of(vectors + 2 * index, r, c, rows, cols);
            const float part = share[index];
            const float upper = part * (1 - at.fy), lower = part * at.fy;
            for (int p = 0; p < planes; p++) {
                const float value = values[p * count + index];
                float *plane = out + p * count;
                plane[at.top_left] += value * upper * (1 - at.fx);
                plane[at.top_right] += value * upper * at.fx;
                plane[at.bottom_left] += value * lower * (1 - at.fx);
                plane[at.bottom_right] += value * lower * at.fx;
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
            const struct corners at = corners_of(vectors + 2 * index, r, c, rows, cols);
            for (int p = 0; p < planes; p++) {
                const float *plane = values + p * count;
                const float upper =
                    plane[at.top_left] * (1 - at.fx) + plane[at.top_right] * at.fx;
                const float lower =
                    plane[at.bottom_left] * (1 - at.fx) + plane[at.bottom_right] * at.fx;
                out[p * count + index] = (upper * (1 - at.fy) + lower * at.fy) * share[index];
            }
        }
}
