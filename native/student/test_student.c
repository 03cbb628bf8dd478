/* Runs random programs, sane and hostile, and pictures of every kind under the sanitizers, on buffers of
 * exactly the promised size. What is computed is compared between instruction sets here, and with
 * other people's convolutions in tests/learned. */
#include "internal.h"

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

enum { WEIGHTS = 4096 };

static uint32_t state = 1;

static uint32_t noise(uint32_t below)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
}

static float weights[WEIGHTS];
static char why[160];

static const idse_student_op PROGRAM[] = {
    {.kind = STUDENT_CONV, .out = 1, .channels = 8, .kernel = 3, .stride = 2, .groups = 1,
     .relu = 1, .weight = 0, .bias = 3000},
    {.kind = STUDENT_CONV, .in0 = 1, .out = 2, .channels = 8, .kernel = 3, .stride = 1,
     .groups = 8, .weight = 216, .bias = 3008},
    {.kind = STUDENT_CONV, .in0 = 2, .out = 3, .channels = 21, .kernel = 1, .stride = 2,
     .groups = 1, .relu = 1, .weight = 300, .bias = 3016},
    {.kind = STUDENT_CONV, .in0 = 3, .out = 4, .channels = 21, .kernel = 5, .stride = 1,
     .groups = 21, .weight = 500, .bias = 3040},
    {.kind = STUDENT_MEAN, .in0 = 4, .out = 5},
    {.kind = STUDENT_ADD, .in0 = 4, .in1 = 5, .out = 6, .relu = 1},
    {.kind = STUDENT_CONV, .in0 = 6, .out = 7, .channels = 40, .kernel = 1, .stride = 1,
     .groups = 1, .weight = 1100, .bias = 3080},
    {.kind = STUDENT_UPSAMPLE, .in0 = 7, .out = 8},
    {.kind = STUDENT_CONCAT, .in0 = 8, .in1 = 2, .out = 9},
    {.kind = STUDENT_CONV, .in0 = 9, .out = 10, .channels = 2, .kernel = 3, .stride = 1,
     .groups = 1, .weight = 2000, .bias = 3130},
};
enum { OPS = sizeof(PROGRAM) / sizeof(*PROGRAM), MAP = 10 };

static idse_student *student(int isa)
{
    return idse_student_new(PROGRAM, OPS, weights, WEIGHTS, MAP, isa, why, sizeof(why));
}

/* A plane whose rows lie further apart than they are long, and which ends where it must. */
static void *plane_of(idse_student_plane *plane, int width, int height, int bytes, int gap)
{
    const size_t stride = (size_t)(width * bytes + gap);
    const size_t size = stride * (size_t)(height - 1) + (size_t)(width * bytes);
    uint8_t *memory = malloc(size);
    CHECK(memory);
    for (size_t i = 0; i < size; i++)
        memory[i] = (uint8_t)(bytes == 2 && i % 2 ? noise(4) : noise(256));
    *plane = (idse_student_plane){.samples = memory, .stride = (ptrdiff_t)stride, .width = width,
                                  .height = height, .sample_bytes = bytes,
                                  .scale = bytes == 2 ? 1 / 256.0f : 1 / 64.0f, .offset = -1};
    return memory;
}

static void test_picture(int width, int height, int shift, int bytes, int turns)
{
    idse_student_plane planes[3];
    void *memory[3];
    const int gap = bytes * (int)noise(5);
    for (int i = 0; i < 3; i++)
        memory[i] = plane_of(&planes[i], i ? (width + shift) >> shift : width,
                             i ? (height + shift) >> shift : height, bytes, gap);
    const int rows = 4 * (1 + (int)noise(9)), cols = 4 * (1 + (int)noise(20));
    float *maps[4] = {NULL};
    const int best = idse_student_best_isa();
    idse_student_shape shape = {0};
    for (int isa = STUDENT_PORTABLE; isa <= best; isa++) {
        idse_student *s = student(isa);
        CHECK(s);
        /* Buffers of another size before, as when pictures of a folder differ. */
        CHECK(!idse_student_fit(s, 4, 8, &shape, why, sizeof(why)));
        CHECK(!idse_student_fit(s, rows, cols, &shape, why, sizeof(why)));
        CHECK(shape.rows == rows / 2 && shape.cols == cols / 2 && shape.heads == 2);
        const size_t size = sizeof(float) * (size_t)(shape.rows * shape.cols * shape.heads);
        maps[isa] = malloc(size);
        float *again = malloc(size);
        CHECK(maps[isa] && again);
        CHECK(!idse_student_run(s, planes, turns, maps[isa]));
        CHECK(!idse_student_run(s, planes, turns, again));
        CHECK(!memcmp(maps[isa], again, size));
        for (size_t i = 0; i < size / sizeof(float); i++)
            CHECK(fabsf(maps[isa][i] - maps[1][i]) < 1e-4f);
        if (isa == STUDENT_AVX512)
            CHECK(!memcmp(maps[isa], maps[STUDENT_AVX2], size));
        free(again);
        idse_student_free(s);
    }
    for (int i = 0; i < 4; i++)
        free(maps[i]);
    for (int i = 0; i < 3; i++)
        free(memory[i]);
}

/* Grey pictures have no chroma: it is the offset. */
static void test_grey(void)
{
    idse_student_plane planes[3] = {{0}};
    planes[1].offset = planes[2].offset = 0.5f;
    void *memory = plane_of(&planes[0], 33, 17, 1, 0);
    idse_student *s = student(0);
    idse_student_shape shape;
    CHECK(s && !idse_student_fit(s, 8, 12, &shape, why, sizeof(why)));
    float map[4 * 6 * 2];
    CHECK(!idse_student_run(s, planes, 3, map));
    idse_student_free(s);
    free(memory);
}

/* Whatever numbers a file holds, a program is refused or runs inside its buffers. */
static void test_hostile(void)
{
    static const int64_t odd[] = {-1, 0, 1, 2, 3, 5, 8, 21, 255, 256, 257, 513, 1 << 20,
                                  INT32_MAX, INT32_MIN};
    int taken = 0;
    for (int round = 0; round < 6000; round++) {
        idse_student_op ops[OPS];
        memcpy(ops, PROGRAM, sizeof(ops));
        for (uint32_t change = 0; change <= noise(2); change++) {
            idse_student_op *op = &ops[noise(OPS)];
            const int64_t value = odd[noise(sizeof(odd) / sizeof(*odd))];
            int32_t *const fields[] = {&op->kind, &op->in0, &op->in1, &op->out, &op->channels,
                                       &op->kernel, &op->stride, &op->groups};
            const uint32_t field = noise(10);
            if (field < 8)
                *fields[field] = (int32_t)value;
            else if (field == 8)
                op->weight = noise(2) ? value : INT64_MAX - 5 + (int64_t)noise(6);
            else
                op->bias = noise(2) ? value : INT64_MAX - 5 + (int64_t)noise(6);
        }
        const int map = noise(8) ? MAP : (int)odd[noise(15)];
        idse_student *s =
            idse_student_new(ops, OPS, weights, WEIGHTS, map, 0, why, sizeof(why));
        if (!s)
            continue;
        idse_student_shape shape;
        if (!idse_student_fit(s, 8, 12, &shape, why, sizeof(why))) {
            idse_student_plane planes[3] = {{0}};
            float *out =
                malloc(sizeof(float) * (size_t)shape.rows * (size_t)shape.cols * (size_t)shape.heads);
            CHECK(out && !idse_student_run(s, planes, 0, out));
            free(out);
            taken++;
        }
        idse_student_free(s);
    }
    CHECK(taken > 30);
}

static void test_refusals(void)
{
    idse_student_shape shape;
    CHECK(!idse_student_new(PROGRAM, 0, weights, WEIGHTS, MAP, 0, why, sizeof(why)));
    CHECK(!idse_student_new(PROGRAM, 257, weights, WEIGHTS, MAP, 0, why, sizeof(why)));
    CHECK(!idse_student_new(PROGRAM, OPS, weights, INT64_MAX, MAP, 0, why, sizeof(why)));
    CHECK(!idse_student_new(PROGRAM, OPS, weights, WEIGHTS, MAP, 4, why, sizeof(why)));
    CHECK(!idse_student_new(PROGRAM, OPS, weights, WEIGHTS, MAP, -1, why, sizeof(why)));
    idse_student *s = student(0);
    CHECK(s);
    CHECK(idse_student_fit(s, 0, 8, &shape, why, sizeof(why)));
    CHECK(idse_student_fit(s, 8, STUDENT_MAX_SIDE + 1, &shape, why, sizeof(why)));
    CHECK(idse_student_fit(s, STUDENT_MAX_SIDE, STUDENT_MAX_SIDE, &shape, why, sizeof(why)));
    CHECK(idse_student_fit(s, 6, 8, &shape, why, sizeof(why))); /* 2x2 and 3x4 do not add up */
    CHECK(!idse_student_fit(s, 8, 8, &shape, why, sizeof(why)));
    idse_student_free(s);
    idse_student_free(NULL);
}

static void test_spread(int rows, int cols, int heads, int n_down, int n_across)
{
    float *map = malloc(sizeof(float) * (size_t)(rows * cols * heads));
    float *down = malloc(sizeof(float) * (size_t)n_down);
    float *across = malloc(sizeof(float) * (size_t)n_across);
    float *blend = malloc(sizeof(float) * (size_t)heads);
    float *scratch = malloc(sizeof(float) * (size_t)(cols + n_across));
    float *out = malloc(sizeof(float) * (size_t)(n_down * n_across));
    CHECK(map && down && across && blend && scratch && out);
    for (int i = 0; i < rows * cols * heads; i++)
        map[i] = (float)noise(1000) / 50 - 10;
    for (int i = 0; i < heads; i++)
        blend[i] = (float)(i + 1) / 4;
    for (int i = 0; i < n_down; i++)
        down[i] = (float)(rows * (2 * i + 1)) / (float)(2 * n_down);
    for (int i = 0; i < n_across; i++)
        across[i] = (float)(cols * (2 * i + 1)) / (float)(2 * n_across);
    idse_student_spread(map, rows, cols, heads, blend, down, n_down, across, n_across, scratch, out);
    if (n_down == rows && n_across == cols)
        for (int i = 0; i < rows * cols; i++) {
            double wanted = 0;
            for (int h = 0; h < heads; h++)
                wanted += (double)blend[h] * exp((double)map[i * heads + h]);
            CHECK(fabs((double)out[i] - wanted) <= 4e-6 * wanted);
        }
    /* Places outside, and none at all, are the edge's. */
    down[0] = NAN;
    across[0] = 1e30f;
    across[n_across - 1] = -1e30f;
    map[0] = 1e30f;
    idse_student_spread(map, rows, cols, heads, blend, down, n_down, across, n_across, scratch, out);
    for (int i = 0; i < n_down * n_across; i++)
        CHECK(isfinite(out[i]) && out[i] >= 0);
    free(map);
    free(down);
    free(across);
    free(blend);
    free(scratch);
    free(out);
}

int main(void)
{
    for (int i = 0; i < WEIGHTS; i++)
        weights[i] = ((float)noise(2001) - 1000) / 4000;
    for (int i = 0; i < 24; i++) {
        const int width = 1 + (int)noise(90), height = 1 + (int)noise(60);
        test_picture(width, height, (int)noise(2), 1 + (int)noise(2), i % 4);
    }
    test_picture(1, 1, 0, 1, 0);
    test_picture(700, 3, 1, 2, 1);
    test_grey();
    test_refusals();
    test_hostile();
    test_spread(3, 5, 3, 3, 5);
    test_spread(1, 1, 1, 1, 1);
    test_spread(7, 2, 2, 20, 31);
    return 0;
}
