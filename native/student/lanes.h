/* The kernels, for one instruction set: its source defines KERNELS (their name), ISA, LANES, NARROW and
 * WIDE_TILE (pixels of a tile of one vector and of two: as many accumulators as there are registers),
 * and includes this.
 *
 * Sums are in the order bias, row, column, channel for whatever width, each step fused. */
#include "internal.h"

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), may_alias));
typedef int32_t mask __attribute__((vector_size(LANES * sizeof(int32_t)), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vec spread(float value)
{
    return value - (vec){0};
}

#if defined(__AVX512F__) && LANES == 16
#include <immintrin.h>
INLINE vec fused(vec a, vec b, vec c)
{
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE vec widened_uint8_t(const uint8_t *from)
{
    return (vec)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)from)));
}
INLINE vec widened_uint16_t(const uint16_t *from)
{
    return (vec)_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)from)));
}
#elif defined(__FMA__) && LANES == 8
#include <immintrin.h>
INLINE vec fused(vec a, vec b, vec c)
{
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE vec widened_uint8_t(const uint8_t *from)
{
    return (vec)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)from)));
}
INLINE vec widened_uint16_t(const uint16_t *from)
{
    return (vec)_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)from)));
}
#else
INLINE vec fused(vec a, vec b, vec c)
{
    return a * b + c;
}
INLINE vec widened_uint8_t(const uint8_t *from)
{
    return (vec){from[0], from[1], from[2], from[3]};
}
INLINE vec widened_uint16_t(const uint16_t *from)
{
    return (vec){from[0], from[1], from[2], from[3]};
}
#endif

INLINE float fused1(float a, float b, float c)
{
#if defined(__FMA__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

INLINE vec rectified(vec value)
{
    return (vec)((mask)value & (mask)(value > (vec){0}));
}

/* `pixels` neighbouring outputs of `vectors` vectors of channels. `x`: the first input under the first
 * output, `step` floats before that of the next one. `taps`: inputs that follow each other in memory,
 * in each of `per_row` runs in a row of the kernel, which lie `across` floats apart. `added` lies as
 * the outputs do. */
typedef struct {
    ptrdiff_t step, across, row;
    int taps, per_row, rows;
    const float *weights, *bias;
    int relu, out_step;
} tile_job;

INLINE void tile(const tile_job *job, const float *x, const float *added, float *out,
                 const int pixels, const int vectors)
{
    vec sums[24];
    const ptrdiff_t step = job->step;
    const float *w = job->weights;
#pragma GCC unroll 24
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sums[p * vectors + v] = ((const vec *)job->bias)[v];
    for (int ky = 0; ky < job->rows; ky++)
        for (int run = 0; run < job->per_row; run++) {
            const float *from = x + ky * job->row + run * job->across;
            for (int t = 0; t < job->taps; t++, w += vectors * LANES) {
                vec weights[2];
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++)
                    weights[v] = ((const vec *)w)[v];
#pragma GCC unroll 24
                for (int p = 0; p < pixels; p++) {
                    const vec value = spread(from[p * step + t]);
#pragma GCC unroll 2
                    for (int v = 0; v < vectors; v++)
                        sums[p * vectors + v] = fused(value, weights[v], sums[p * vectors + v]);
                }
            }
        }
#pragma GCC unroll 24
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            vec sum = sums[p * vectors + v];
            if (added)
                sum += ((const vec *)(added + p * job->out_step))[v];
            ((vec *)(out + p * job->out_step))[v] = job->relu ? rectified(sum) : sum;
        }
}

#define TILE(vectors, pixels)                                                                      \
    static void tile_##vectors##_##pixels(const tile_job *job, const float *x, const float *added, \
                                          float *out)                                              \
    {                                                                                              \
        tile(job, x, added, out, pixels, vectors);                                                 \
    }
#define TILES_6(v) TILE(v, 1) TILE(v, 2) TILE(v, 3) TILE(v, 4) TILE(v, 5) TILE(v, 6)
#define TILES_12(v) TILES_6(v) TILE(v, 7) TILE(v, 8) TILE(v, 9) TILE(v, 10) TILE(v, 11) TILE(v, 12)
#define TILES_24(v)                                                                                \
    TILES_12(v) TILE(v, 13) TILE(v, 14) TILE(v, 15) TILE(v, 16) TILE(v, 17) TILE(v, 18)            \
    TILE(v, 19) TILE(v, 20) TILE(v, 21) TILE(v, 22) TILE(v, 23) TILE(v, 24)
#define NAMES_6(v) tile_##v##_1, tile_##v##_2, tile_##v##_3, tile_##v##_4, tile_##v##_5, tile_##v##_6
#define NAMES_12(v)                                                                                \
    NAMES_6(v), tile_##v##_7, tile_##v##_8, tile_##v##_9, tile_##v##_10, tile_##v##_11, tile_##v##_12
#define NAMES_24(v)                                                                                \
    NAMES_12(v), tile_##v##_13, tile_##v##_14, tile_##v##_15, tile_##v##_16, tile_##v##_17,        \
        tile_##v##_18, tile_##v##_19, tile_##v##_20, tile_##v##_21, tile_##v##_22, tile_##v##_23,  \
        tile_##v##_24
#define JOIN(a, b) a##b
#define EXPANDED(a, b) JOIN(a, b)

EXPANDED(TILES_, NARROW)(1)
EXPANDED(TILES_, WIDE_TILE)(2)

typedef void (*tile_function)(const tile_job *job, const float *x, const float *added, float *out);

static const tile_function narrow_tiles[NARROW] = {EXPANDED(NAMES_, NARROW)(1)};
static const tile_function wide_tiles[WIDE_TILE] = {EXPANDED(NAMES_, WIDE_TILE)(2)};

static void conv_block(const tile_job *job, const student_conv *conv, const student_buffer *in,
                       const student_buffer *added, student_buffer *out, int channel,
                       const tile_function *tiles, int most)
{
    const int pad = conv->kernel / 2, parts = (out->cols + most - 1) / most;
    for (int y = 0; y < out->rows; y++) {
        const float *from = in->origin + (ptrdiff_t)(y * conv->stride - pad) * in->row -
                            (ptrdiff_t)pad * in->stride;
        float *to = out->origin + y * out->row + channel;
        const float *more = added ? added->origin + y * added->row + channel : NULL;
        for (int part = 0; part < parts; part++) {
            /* Equal parts: a narrow rest would leave most of the machine idle. */
            const int begin = (int)((int64_t)out->cols * part / parts);
            const int end = (int)((int64_t)out->cols * (part + 1) / parts);
            const ptrdiff_t at = (ptrdiff_t)begin * out->stride;
            tiles[end - begin - 1](job, from + begin * job->step, more ? more + at : NULL, to + at);
        }
    }
}

static void convolve(const student_conv *conv, const student_buffer *in,
                     const student_buffer *added, student_buffer *out)
{
    const int dense = conv->inputs == in->stride; /* the kernel's columns follow each other */
    tile_job job = {
        .step = (ptrdiff_t)conv->stride * in->stride,
        .across = in->stride,
        .row = in->row,
        .taps = dense ? conv->kernel * conv->inputs : conv->inputs,
        .per_row = dense ? 1 : conv->kernel,
        .rows = conv->kernel,
        .weights = conv->weights,
        .relu = conv->relu,
        .out_step = out->stride,
    };
    const int inner = conv->kernel * conv->kernel * conv->inputs;
    int channel = 0;
    while (channel < conv->outputs) {
        const int two = conv->outputs - channel > LANES;
        job.bias = conv->bias + channel;
        conv_block(&job, conv, in, added, out, channel, two ? wide_tiles : narrow_tiles,
                   two ? WIDE_TILE : NARROW);
        job.weights += (ptrdiff_t)inner * LANES * (1 + two);
        channel += LANES * (1 + two);
    }
}

enum { DEPTHWISE_RUN = 4 }; /* pixels that are filtered at a time */

/* `pixels` neighbouring outputs, all channels: memory is read as it lies. */
INLINE void depthwise_run(const student_conv *conv, const student_buffer *in, const float *from,
                          float *to, ptrdiff_t out_step, const int kernel, const int pixels)
{
    const int channels = in->stride, step = conv->stride * in->stride;
    for (int c = 0; c < conv->outputs; c += LANES) {
        const float *w = conv->weights + c, *x = from + c;
        vec sums[DEPTHWISE_RUN];
#pragma GCC unroll 8
        for (int p = 0; p < pixels; p++)
            sums[p] = *(const vec *)(conv->bias + c);
#pragma GCC unroll 5
        for (int ky = 0; ky < kernel; ky++)
#pragma GCC unroll 5
            for (int kx = 0; kx < kernel; kx++, w += channels) {
                const vec tap = *(const vec *)w;
#pragma GCC unroll 8
                for (int p = 0; p < pixels; p++)
                    sums[p] = fused(*(const vec *)(x + ky * in->row + kx * channels + p * step),
                                    tap, sums[p]);
            }
#pragma GCC unroll 8
        for (int p = 0; p < pixels; p++)
            *(vec *)(to + p * out_step + c) = conv->relu ? rectified(sums[p]) : sums[p];
    }
}

INLINE void depthwise_plane(const student_conv *conv, const student_buffer *in, student_buffer *out,
                            const int kernel)
{
    const int pad = kernel / 2;
    const ptrdiff_t step = (ptrdiff_t)conv->stride * in->stride;
    for (int y = 0; y < out->rows; y++) {
        const float *from = in->origin + (ptrdiff_t)(y * conv->stride - pad) * in->row -
                            (ptrdiff_t)pad * in->stride;
        float *to = out->origin + y * out->row;
        int x = 0;
        for (; x + DEPTHWISE_RUN <= out->cols; x += DEPTHWISE_RUN)
            depthwise_run(conv, in, from + x * step, to + x * out->stride, out->stride, kernel,
                          DEPTHWISE_RUN);
        for (; x < out->cols; x++)
            depthwise_run(conv, in, from + x * step, to + x * out->stride, out->stride, kernel, 1);
    }
}

static void depthwise(const student_conv *conv, const student_buffer *in, student_buffer *out)
{
    if (conv->kernel == 3)
        depthwise_plane(conv, in, out, 3);
    else if (conv->kernel == 1)
        depthwise_plane(conv, in, out, 1);
    else
        depthwise_plane(conv, in, out, 5);
}

typedef vec loose __attribute__((aligned(4)));

enum { STRIP = 64 / LANES }; /* vectors that are summed at a time: whole cache lines of bytes */

#define SUM_ROWS(type)                                                                             \
    static void sum_##type(const idse_student_plane *plane, int first, int count,                  \
                           const float *weights, float *sums)                                      \
    {                                                                                              \
        const char *rows = (const char *)plane->samples + first * plane->stride;                   \
        const int width = plane->width;                                                            \
        int x = 0;                                                                                 \
        for (; x + STRIP * LANES <= width; x += STRIP * LANES) {                                   \
            vec strip[STRIP] = {{0}};                                                              \
            for (int r = 0; r < count; r++) {                                                      \
                const type *row = (const type *)(rows + r * plane->stride) + x;                    \
                const vec weight = spread(weights[r]);                                             \
                _Pragma("GCC unroll 16") for (int i = 0; i < STRIP; i++)                           \
                    strip[i] = fused(weight, widened_##type(row + i * LANES), strip[i]);           \
            }                                                                                      \
            for (int i = 0; i < STRIP; i++)                                                        \
                *(loose *)(sums + x + i * LANES) = strip[i];                                       \
        }                                                                                          \
        for (; x < width; x++) {                                                                   \
            float sum = 0;                                                                         \
            for (int r = 0; r < count; r++)                                                        \
                sum = fused1(weights[r], (float)((const type *)(rows + r * plane->stride))[x],     \
                             sum);                                                                 \
            sums[x] = sum;                                                                         \
        }                                                                                          \
    }

SUM_ROWS(uint8_t)
SUM_ROWS(uint16_t)

static void sum_rows(const idse_student_plane *plane, int first, int count, const float *weights,
                     float *sums)
{
    (plane->sample_bytes == 1 ? sum_uint8_t : sum_uint16_t)(plane, first, count, weights, sums);
}

/* Whole pixels, with the channels that mean nothing: 0 + 0 is 0. */
static void add_rows(const student_buffer *a, const student_buffer *b, student_buffer *out,
                     int relu)
{
    const int single = b->rows == 1 && b->cols == 1, inner = single ? out->stride : 0;
    const int floats = single ? out->stride : out->cols * out->stride;
    const int runs = single ? out->cols : 1;
    for (int y = 0; y < out->rows; y++)
        for (int run = 0; run < runs; run++) {
            const float *first = a->origin + y * a->row + run * inner;
            const float *second = single ? b->origin : b->origin + y * b->row;
            float *to = out->origin + y * out->row + run * inner;
            for (int i = 0; i < floats; i += LANES) {
                const vec sum = *(const vec *)(first + i) + *(const vec *)(second + i);
                *(vec *)(to + i) = relu ? rectified(sum) : sum;
            }
        }
}

static void sum_columns(const float *sums, const int32_t *first, const float *weights, int reach,
                        int n, float scale, float offset, float *out, ptrdiff_t step)
{
    for (int i = 0; i < n; i++, weights += reach, out += step) {
        const float *from = sums + first[i];
        float sum = weights[0] * from[0];
        for (int t = 1; t < reach; t++)
            sum = fused1(weights[t], from[t], sum);
        *out = fused1(scale, sum, offset);
    }
}

const student_kernels KERNELS = {
    .isa = ISA,
    .lanes = LANES,
    .conv = convolve,
    .depthwise = depthwise,
    .add = add_rows,
    .sum_rows = sum_rows,
    .sum_columns = sum_columns,
};
