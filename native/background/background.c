#include "background.h"

#include <stdlib.h>
#include <string.h>

/* Changes with every signature or struct; idse.native checks it at load. */
int idse_background_abi(void)
{
    return 1;
}

static inline int least(int a, int b)
{
    return a < b ? a : b;
}

/* One line of one cell. `n` is nearly always a constant 8 or 4, for which gcc vectorises. */
#define KERNELS(type, name)                                                                       \
    static inline void forget_##name(const type *restrict source, int n, int shift,               \
                                     uint16_t *restrict mean, type *restrict held)                \
    {                                                                                             \
        for (int x = 0; x < n; x++) {                                                             \
            mean[x] = (uint16_t)(source[x] << shift);                                             \
            held[x] = source[x];                                                                  \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    static inline void learn_##name(const type *restrict source, int n, int shift, int gain,      \
                                    uint16_t *restrict mean)                                      \
    {                                                                                             \
        for (int x = 0; x < n; x++) {                                                             \
            const int32_t change = (int32_t)(source[x] << shift) - mean[x];                       \
            mean[x] = (uint16_t)(mean[x] +                                                        \
                                 ((change * gain + IDSE_UNIT_GAIN / 2) >> 14));                   \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    /* Rounding up cannot pass the largest sample: the mean never exceeds it, shifted. */         \
    static inline void round_##name(const uint16_t *restrict mean, int n, int shift,              \
                                    type *restrict held)                                          \
    {                                                                                             \
        for (int x = 0; x < n; x++)                                                               \
            held[x] = (type)((mean[x] + (1 << shift >> 1)) >> shift);                             \
    }                                                                                             \
                                                                                                  \
    /* Follow by one code value where the mean is more than 3/4 of an 8-bit one away (256 in      \
     * the mean's units): no noise of the mean toggles a sample, no step of the light shows. */   \
    static inline void follow_##name(const uint16_t *restrict mean, int n, int shift,             \
                                     type *restrict held)                                         \
    {                                                                                             \
        const int32_t far = 3 * 256 / 4;                                                          \
        for (int x = 0; x < n; x++) {                                                             \
            const int32_t away = mean[x] - (int32_t)(held[x] << shift);                           \
            held[x] = (type)(held[x] + (away > far) - (away < -far));                             \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    /* Mixes by weights that run linearly from left to right, both in units of 1 / (256 n h). */  \
    static inline void mix_##name(const type *restrict source, const type *restrict held, int n,  \
                                  int32_t first, int32_t step, int32_t unit,                      \
                                  type *restrict target)                                          \
    {                                                                                             \
        for (int x = 0; x < n; x++) {                                                             \
            const int32_t weight = (int32_t)((first + step * x) / unit);                          \
            const int32_t change = ((int32_t)held[x] - source[x]) * weight;                       \
            target[x] = (type)(source[x] + ((change + IDSE_UNIT_WEIGHT / 2) >> 8));               \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    static inline uint32_t far_##name(const type *restrict source, ptrdiff_t stride,              \
                                      const type *restrict held, ptrdiff_t pitch, int width,      \
                                      int height)                                                 \
    {                                                                                             \
        int32_t sum = 0;                                                                          \
        for (int y = 0; y < height; y++)                                                          \
            for (int x = 0; x < width; x++)                                                       \
                sum += source[y * stride + x] - held[y * pitch + x];                              \
        return (uint32_t)abs(sum);                                                                \
    }

KERNELS(uint8_t, 8)
KERNELS(uint16_t, 16)

typedef struct {
    int x, y, width, height;
} rect;

static rect cell_rect(int r, int c, int width, int height, int cell_width, int cell_height)
{
    const int x = c * cell_width, y = r * cell_height;
    return (rect){x, y, least(cell_width, width - x), least(cell_height, height - y)};
}

/* |mean of source - held| of one 4x4 block. One that is cut off averages less noise away: half of what
 * it lacks counts as equal, so that no noise makes it stand out. */
static float block_difference(const uint8_t *source, ptrdiff_t stride, const uint8_t *held,
                              ptrdiff_t pitch, int sample_bytes, rect b)
{
    const uint8_t *from = source + b.y * stride + (ptrdiff_t)b.x * sample_bytes;
    const uint8_t *like = held + b.y * pitch + (ptrdiff_t)b.x * sample_bytes;
    uint32_t sum;
    if (sample_bytes == 2)
        sum = far_16((const uint16_t *)(const void *)from, stride / 2,
                     (const uint16_t *)(const void *)like, pitch / 2, b.width, b.height);
    else if (b.width == 4 && b.height == 4)
        sum = far_8(from, stride, like, pitch, 4, 4);
    else
        sum = far_8(from, stride, like, pitch, b.width, b.height);
    return 2.0f * (float)sum / (float)(b.width * b.height + 16);
}

void idse_background_compare(const void *source, ptrdiff_t stride, const void *held, int width,
                             int height, int sample_bytes, int cell_width, int cell_height, int rows,
                             int cols, float scale, float *difference)
{
    const ptrdiff_t pitch = (ptrdiff_t)width * sample_bytes;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const rect cell = cell_rect(r, c, width, height, cell_width, cell_height);
            float most = 0;
            for (int y = 0; y < cell.height; y += 4)
                for (int x = 0; x < cell.width; x += 4) {
                    const rect block = {cell.x + x, cell.y + y, least(4, cell.width - x),
                                        least(4, cell.height - y)};
                    const float found =
                        block_difference(source, stride, held, pitch, sample_bytes, block);
                    most = found > most ? found : most;
                }
            most *= scale;
            float *result = difference + r * cols + c;
            *result = most > *result ? most : *result;
        }
}

/* Weights at the four corners of a cell, and its full size, which the weights run over. */
typedef struct {
    int32_t top_left, top_right, bottom_left, bottom_right;
    int width, height;
} corners;

static inline int32_t edge_weight(int32_t top, int32_t bottom, int y, int height)
{
    return top * (2 * height - 2 * y - 1) + bottom * (2 * y + 1);
}

#define UPDATE(type, name)                                                                        \
    static void mix_line_##name(const type *source, const type *held, int n, int y, corners w,    \
                                type *target)                                                     \
    {                                                                                             \
        const int32_t left = edge_weight(w.top_left, w.bottom_left, y, w.height);                 \
        const int32_t right = edge_weight(w.top_right, w.bottom_right, y, w.height);              \
        const int32_t step = 2 * (right - left), first = left * 2 * w.width + (right - left);     \
        mix_##name(source, held, n, first, step, (int32_t)4 * w.width * w.height, target);        \
    }                                                                                             \
                                                                                                  \
    static void update_line_##name(const type *source, int n, int shift, int action, int gain,    \
                                   uint16_t *mean, type *held)                                    \
    {                                                                                             \
        if (action == IDSE_FORGET) {                                                              \
            forget_##name(source, n, shift, mean, held);                                          \
            return;                                                                               \
        }                                                                                         \
        learn_##name(source, n, shift, gain, mean);                                               \
        if (action == IDSE_HOLD)                                                                  \
            follow_##name(mean, n, shift, held);                                                  \
        else                                                                                      \
            round_##name(mean, n, shift, held);                                                   \
    }                                                                                             \
                                                                                                  \
    static void update_cell_##name(const type *source, ptrdiff_t stride, ptrdiff_t pitch, rect r, \
                                   int shift, int action, int gain, corners w, uint16_t *mean,    \
                                   type *held, type *target)                                      \
    {                                                                                             \
        const int32_t all = w.top_left + w.top_right + w.bottom_left + w.bottom_right;            \
        for (int y = 0; y < r.height; y++) {                                                      \
            const type *from = source + (r.y + y) * stride + r.x;                                 \
            const ptrdiff_t at = (r.y + y) * pitch + r.x;                                         \
            const size_t bytes = (size_t)r.width * sizeof(type);                                  \
            if (r.width == 8) /* constants let the compiler vectorise */                          \
                update_line_##name(from, 8, shift, action, gain, mean + at, held + at);           \
            else if (r.width == 4)                                                                \
                update_line_##name(from, 4, shift, action, gain, mean + at, held + at);           \
            else                                                                                  \
                update_line_##name(from, r.width, shift, action, gain, mean + at, held + at);     \
            if (all == 0)                                                                         \
                memcpy(target + at, from, bytes);                                                 \
            else if (all == 4 * IDSE_UNIT_WEIGHT)                                                 \
                memcpy(target + at, held + at, bytes);                                            \
            else                                                                                  \
                mix_line_##name(from, held + at, r.width, y, w, target + at);                     \
        }                                                                                         \
    }

UPDATE(uint8_t, 8)
UPDATE(uint16_t, 16)

void idse_background_update(const void *source, ptrdiff_t stride, int width, int height, int depth,
                            int cell_width, int cell_height, int rows, int cols,
                            const uint8_t *action, const uint16_t *gain, const uint16_t *weight,
                            uint16_t *mean, void *held, void *target)
{
    const int shift = 16 - depth;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const int cell = r * cols + c;
            const uint16_t *above = weight + r * (cols + 1) + c, *below = above + cols + 1;
            const corners w = {above[0], above[1], below[0], below[1], cell_width, cell_height};
            const rect place = cell_rect(r, c, width, height, cell_width, cell_height);
            if (depth == 8)
                update_cell_8(source, stride, width, place, shift, action[cell], gain[cell], w, mean,
                              held, target);
            else
                update_cell_16(source, stride / 2, width, place, shift, action[cell], gain[cell], w,
                               mean, held, target);
        }
}
