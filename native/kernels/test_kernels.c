/* Runs every kernel at its borders under the sanitizers, on buffers of exactly the promised size. */
#include "kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                   \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                       \
        }                                                                  \
    } while (0)

static uint32_t state = 1;

static uint32_t noise(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 24;
}

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    CHECK(memory);
    return memory;
}

static size_t full_size(int rows, int cols)
{
    return (size_t)(rows * 16 + 2 * IDSE_FULL_PAD) * (size_t)(cols * 16 + 2 * IDSE_FULL_PAD);
}

static size_t small_size(int rows, int cols)
{
    return (size_t)(rows * 4 + 2 * IDSE_SMALL_PAD) * (size_t)(cols * 4 + 2 * IDSE_SMALL_PAD);
}

static int knot(int u, int v)
{
    return (int)(((uint32_t)u * 2654435761u ^ (uint32_t)v * 2246822519u) >> 24);
}

/* A texture that block matching can hold on to, random but smooth, shifted by (dx, dy). */
static void draw(uint8_t *luma, int width, int height, int dx, int dy)
{
    enum { CELL = 24 };
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const int u = x + dx + 480, v = y + dy + 480;
            const int fx = u % CELL, fy = v % CELL, i = u / CELL, j = v / CELL;
            const int top = knot(i, j) * (CELL - fx) + knot(i + 1, j) * fx;
            const int bottom = knot(i, j + 1) * (CELL - fx) + knot(i + 1, j + 1) * fx;
            luma[y * width + x] = (uint8_t)((top * (CELL - fy) + bottom * fy) / (CELL * CELL));
        }
}

static void test_planes(int width, int height)
{
    const int rows = (height + 15) / 16, cols = (width + 15) / 16;
    const int stride = cols * 16 + 2 * IDSE_FULL_PAD;
    uint8_t *luma = allocate((size_t)(width * height)), *full = allocate(full_size(rows, cols));
    uint8_t *small = allocate(small_size(rows, cols)), *deep = allocate(full_size(rows, cols));
    uint16_t *wide = allocate(sizeof(uint16_t) * (size_t)(width * height));
    for (int i = 0; i < width * height; i++) {
        luma[i] = (uint8_t)noise();
        wide[i] = (uint16_t)(luma[i] << 2 | 3);
    }
    idse_kernels_luma_planes(luma, width, width, height, 8, rows, cols, full, small);
    CHECK(full[0] == luma[0]);
    CHECK(full[full_size(rows, cols) - 1] == luma[width * height - 1]);
    CHECK(full[(IDSE_FULL_PAD + height - 1) * stride + IDSE_FULL_PAD + width - 1] ==
          luma[width * height - 1]);
    int sum = 0;
    for (int i = 0; i < 16; i++)
        sum += full[(IDSE_FULL_PAD + i / 4) * stride + IDSE_FULL_PAD + i % 4];
    CHECK(small[IDSE_SMALL_PAD * (cols * 4 + 2 * IDSE_SMALL_PAD) + IDSE_SMALL_PAD] ==
          (sum + 8) / 16);
    idse_kernels_luma_planes(wide, 2 * width, width, height, 10, rows, cols, deep, small);
    CHECK(!memcmp(full, deep, full_size(rows, cols)));
    free(luma);
    free(full);
    free(small);
    free(deep);
    free(wide);
}

static void test_motion(int rows, int cols, int dx, int dy)
{
    const int width = cols * 16, height = rows * 16, count = rows * cols;
    uint8_t *luma = allocate((size_t)(width * height));
    uint8_t *full[2], *small[2];
    for (int i = 0; i < 2; i++) {
        full[i] = allocate(full_size(rows, cols));
        small[i] = allocate(small_size(rows, cols));
        draw(luma, width, height, i * dx, i * dy);
        idse_kernels_luma_planes(luma, width, width, height, 8, rows, cols, full[i], small[i]);
    }
    int16_t *vectors = allocate(sizeof(int16_t) * 2 * (size_t)count);
    int16_t *temporal = allocate(sizeof(int16_t) * 2 * (size_t)count);
    float *residual = allocate(sizeof(float) * (size_t)count);
    float *activity = allocate(sizeof(float) * (size_t)count);
    /* Predictors far beyond any bound must be clipped, not followed. */
    for (int i = 0; i < count; i++) {
        temporal[2 * i] = (int16_t)(i % 2 ? 32767 : -32768);
        temporal[2 * i + 1] = (int16_t)(i % 3 ? -32768 : 32767);
    }
    for (int pass = 0; pass < 2; pass++) {
        idse_kernels_motion_search(small[1], small[0], rows, cols, pass ? temporal : NULL, vectors);
        idse_kernels_motion_refine(full[1], full[0], rows, cols, vectors, residual, activity);
    }
    int found = 0;
    for (int i = 0; i < count; i++) {
        CHECK(residual[i] >= 0 && activity[i] >= 0);
        found += vectors[2 * i] == dx && vectors[2 * i + 1] == dy && residual[i] == 0;
    }
    if (rows > 2 && cols > 2)
        CHECK(found >= (rows - 2) * (cols - 2));
    for (int i = 0; i < 2; i++) {
        free(full[i]);
        free(small[i]);
    }
    free(luma);
    free(vectors);
    free(temporal);
    free(residual);
    free(activity);
}

static void test_energy(void)
{
    /* One whole block and one that is a single repeated column. */
    uint8_t plane[16 * 17];
    uint16_t wide[16 * 17];
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 17; x++) {
            plane[y * 17 + x] = (uint8_t)(y < 8 ? 0 : 10);
            wide[y * 17 + x] = (uint16_t)(y < 8 ? 0 : 1023);
        }
    uint32_t energy[2] = {1, 0};
    idse_kernels_ac_energy(plane, 17, 17, 16, 1, 16, 16, 1, 2, energy);
    CHECK(energy[0] == 1 + 256 * 25 && energy[1] == 256 * 25);
    energy[0] = energy[1] = 0;
    idse_kernels_ac_energy(wide, 34, 17, 16, 2, 16, 16, 1, 2, energy);
    CHECK(energy[0] == 1023u * 1023u * 64 && energy[1] == energy[0]);
}

static void test_flow(int rows, int cols)
{
    const int count = rows * cols;
    float *values = allocate(sizeof(float) * 2 * (size_t)count);
    float *vectors = allocate(sizeof(float) * 2 * (size_t)count);
    float *share = allocate(sizeof(float) * (size_t)count);
    float *out = allocate(sizeof(float) * 2 * (size_t)count);
    const float wild[] = {0, -16, 5, 1e9f, -1e9f, NAN, INFINITY, -INFINITY};
    double sent = 0, arrived = 0;
    for (int i = 0; i < count; i++) {
        values[i] = 1;
        values[count + i] = (float)noise();
        share[i] = (float)noise() / 256;
        vectors[2 * i] = wild[noise() % 8];
        vectors[2 * i + 1] = wild[noise() % 8];
        sent += values[count + i] * share[i];
    }
    idse_kernels_flow_back(values, 2, vectors, share, rows, cols, out);
    for (int i = 0; i < count; i++)
        arrived += out[count + i];
    CHECK(fabs(sent - arrived) <= 1e-4 * sent);
    /* What is the same everywhere stays so, wherever it comes from. */
    idse_kernels_carry(values, 1, vectors, share, rows, cols, out);
    for (int i = 0; i < count; i++)
        CHECK(fabsf(out[i] - share[i]) <= 1e-5f);
    free(values);
    free(vectors);
    free(share);
    free(out);
}

/* Taps of random factors; the last block ends with the last sample. */
static idse_taps make_taps(int blocks, int reach, int samples)
{
    int32_t *first = allocate((size_t)blocks * sizeof(*first));
    float *factor = allocate((size_t)(blocks * reach * 8) * sizeof(*factor));
    for (int i = 0; i < blocks; i++)
        first[i] = blocks > 1 ? i * (samples - reach) / (blocks - 1) : samples - reach;
    for (int i = 0; i < blocks * reach * 8; i++)
        factor[i] = (float)noise() / 256 - 0.5F;
    return (idse_taps){first, factor, blocks, reach};
}

static void free_taps(const idse_taps *taps)
{
    free((void *)(uintptr_t)taps->first);
    free((void *)(uintptr_t)taps->factor);
}

static double weight_by_definition(const idse_gradients *g, const idse_taps *down,
                                   const idse_taps *across, int row, int col, int v, int u)
{
    double sum = 0;
    for (int n = 0; n < g->count; n++) {
        double coefficient = 0;
        for (int y = 0; y < down->reach; y++)
            for (int x = 0; x < across->reach; x++)
                coefficient += (double)down->factor[(row * down->reach + y) * 8 + v] *
                               (double)across->factor[(col * across->reach + x) * 8 + u] *
                               (double)g->values[n * g->row_step +
                                                 (down->first[row] + y) * g->width +
                                                 across->first[col] + x];
        sum += coefficient * coefficient;
    }
    return sum;
}

static void test_weights(int count, int rows, int cols, int reach)
{
    const int height = reach + 2 * rows, width = reach + cols, step = 3 * height * width;
    const size_t size = (size_t)((count - 1) * step + height * width);
    float *values = allocate(size * sizeof(*values));
    for (size_t i = 0; i < size; i++)
        values[i] = (float)noise() / 128 - 1;
    const idse_gradients g = {values, step, count, width};
    const idse_taps down = make_taps(rows, reach, height), across = make_taps(cols, reach, width);
    float *scratch = allocate((size_t)(8 * width * count) * sizeof(*scratch));
    float *out = allocate((size_t)(rows * cols * 64) * sizeof(*out));
    idse_kernels_coefficient_weights(&g, &down, &across, scratch, out);
    for (int i = 0; i < rows * cols * 64; i++) {
        const int row = i / 64 / cols, col = i / 64 % cols;
        const double expected =
            weight_by_definition(&g, &down, &across, row, col, i % 64 / 8, i % 8);
        CHECK(fabs((double)out[i] - expected) <= 1e-5 * expected + 1e-6);
    }
    float factor[64], *common = allocate((size_t)(rows * cols) * sizeof(*common));
    double sums[64];
    for (int k = 0; k < 64; k++)
        factor[k] = (float)k;
    CHECK(!idse_kernels_frequency_sums(out, rows * cols, sums));
    idse_kernels_block_sums(out, rows * cols, factor, common);
    double one = 0, two = 0;
    for (int k = 0; k < 64; k++)
        one += k * sums[k];
    for (int b = 0; b < rows * cols; b++)
        two += (double)common[b];
    CHECK(fabs(one - two) <= 1e-5 * one);
    float *mixed = allocate((size_t)(rows * cols * 64) * sizeof(*mixed));
    idse_kernels_blend_weights(out, rows * cols, factor, common, factor, 2, mixed);
    for (int i = 0; i < rows * cols * 64; i++) {
        const float k = (float)(i % 64);
        CHECK(fabsf(mixed[i] - (common[i / 64] * k + out[i] * k + 2)) <= 1e-5F * mixed[i]);
    }
    out[0] = -1;
    CHECK(idse_kernels_frequency_sums(out, rows * cols, sums));
    free(values);
    free_taps(&down);
    free_taps(&across);
    free(scratch);
    free(out);
    free(common);
    free(mixed);
}

int main(void)
{
    CHECK(idse_kernels_abi() > 0);
    test_planes(1, 1);
    test_planes(17, 33);
    test_planes(64, 48);
    test_motion(1, 1, 0, 0);
    test_motion(2, 3, 1, 0);
    test_motion(6, 8, 0, 0);
    test_motion(6, 8, -8, 4);
    test_motion(8, 8, 12, -8);
    test_energy();
    test_flow(1, 1);
    test_flow(1, 7);
    test_flow(9, 5);
    test_weights(1, 1, 1, 1);
    test_weights(3, 2, 5, 4);
    test_weights(8, 4, 3, 9);
    return 0;
}
