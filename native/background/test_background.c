/* Runs the kernels at their borders under the sanitizers, on buffers of exactly the promised size. */
#include "background.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

typedef struct {
    int width, height, depth, cell_width, cell_height, rows, cols;
    void *source, *held, *target;
    uint16_t *mean, *gain, *weight;
    uint8_t *action;
    float *difference;
} plane;

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    CHECK(memory);
    memset(memory, 0, size);
    return memory;
}

static size_t bytes(const plane *p)
{
    return (size_t)(p->width * p->height) * (p->depth > 8 ? 2 : 1);
}

static int get(const void *samples, const plane *p, int i)
{
    return p->depth > 8 ? ((const uint16_t *)samples)[i] : ((const uint8_t *)samples)[i];
}

static void put(void *samples, const plane *p, int i, int value)
{
    if (p->depth > 8)
        ((uint16_t *)samples)[i] = (uint16_t)value;
    else
        ((uint8_t *)samples)[i] = (uint8_t)value;
}

static plane make(int width, int height, int depth, int cell_width, int cell_height, int rows,
                  int cols)
{
    plane p = {.width = width, .height = height, .depth = depth, .cell_width = cell_width,
               .cell_height = cell_height, .rows = rows, .cols = cols};
    const size_t cells = (size_t)(rows * cols);
    p.source = allocate(bytes(&p));
    p.held = allocate(bytes(&p));
    p.target = allocate(bytes(&p));
    p.mean = allocate(sizeof(uint16_t) * (size_t)(width * height));
    p.gain = allocate(sizeof(uint16_t) * cells);
    p.weight = allocate(sizeof(uint16_t) * (size_t)((rows + 1) * (cols + 1)));
    p.action = allocate(cells);
    p.difference = allocate(sizeof(float) * cells);
    return p;
}

static void drop(plane *p)
{
    free(p->source);
    free(p->held);
    free(p->target);
    free(p->mean);
    free(p->gain);
    free(p->weight);
    free(p->action);
    free(p->difference);
}

static void fill(plane *p, int value)
{
    for (int i = 0; i < p->width * p->height; i++)
        put(p->source, p, i, value);
}

static void step(plane *p, int action, int gain, int weight)
{
    memset(p->action, action, (size_t)(p->rows * p->cols));
    for (int i = 0; i < p->rows * p->cols; i++)
        p->gain[i] = (uint16_t)gain;
    for (int i = 0; i < (p->rows + 1) * (p->cols + 1); i++)
        p->weight[i] = (uint16_t)weight;
    const ptrdiff_t stride = p->width * (p->depth > 8 ? 2 : 1);
    idse_background_update(p->source, stride, p->width, p->height, p->depth, p->cell_width,
                           p->cell_height, p->rows, p->cols, p->action, p->gain, p->weight, p->mean,
                           p->held, p->target);
}

static float compare(plane *p)
{
    const int sample_bytes = p->depth > 8 ? 2 : 1;
    const ptrdiff_t stride = p->width * sample_bytes;
    float most = 0;
    memset(p->difference, 0, sizeof(float) * (size_t)(p->rows * p->cols));
    idse_background_compare(p->source, stride, p->held, p->width, p->height, sample_bytes,
                            p->cell_width, p->cell_height, p->rows, p->cols, 1.0f, p->difference);
    for (int i = 0; i < p->rows * p->cols; i++)
        most = p->difference[i] > most ? p->difference[i] : most;
    return most;
}

static void test(int width, int height, int depth, int cell_width, int cell_height, int rows,
                 int cols)
{
    plane p = make(width, height, depth, cell_width, cell_height, rows, cols);
    const int last = width * height - 1, largest = (1 << depth) - 1;
    fill(&p, largest);
    step(&p, IDSE_FORGET, 0, 0);
    CHECK(!memcmp(p.source, p.held, bytes(&p)) && !memcmp(p.source, p.target, bytes(&p)));
    CHECK(compare(&p) == 0);
    /* The largest sample neither overflows the mean nor its rounding. */
    step(&p, IDSE_LEARN, IDSE_UNIT_GAIN / 3, IDSE_UNIT_WEIGHT);
    CHECK(get(p.held, &p, 0) == largest && get(p.target, &p, last) == largest);
    /* From one end of the range to the other, at once and slowly. */
    fill(&p, 0);
    const float whole = (float)largest, found = compare(&p);
    CHECK(width < 4 ? found > 0.1f * whole && found < whole : found == whole);
    step(&p, IDSE_HOLD, IDSE_UNIT_GAIN, IDSE_UNIT_WEIGHT);
    CHECK(p.mean[0] == 0 && get(p.held, &p, last) == largest - 1);
    CHECK(!memcmp(p.target, p.held, bytes(&p)));
    step(&p, IDSE_HOLD, IDSE_UNIT_GAIN, IDSE_UNIT_WEIGHT / 2);
    CHECK(get(p.target, &p, last) == (largest - 2) / 2 ||
          get(p.target, &p, last) == (largest - 1) / 2);
    fill(&p, largest);
    step(&p, IDSE_LEARN, IDSE_UNIT_GAIN / 2, 0);
    CHECK(get(p.held, &p, 0) == largest / 2 + 1 && get(p.target, &p, 0) == largest);
    drop(&p);
}

/* A ramp from one corner: source where its weight is 0, held far from it, monotone between. */
static void test_edge(void)
{
    plane p = make(16, 8, 8, 8, 8, 1, 2);
    fill(&p, 100);
    step(&p, IDSE_FORGET, 0, 0);
    fill(&p, 200);
    memset(p.action, IDSE_HOLD, 2);
    const uint16_t weight[6] = {0, IDSE_UNIT_WEIGHT, IDSE_UNIT_WEIGHT, 0, IDSE_UNIT_WEIGHT,
                                IDSE_UNIT_WEIGHT};
    p.gain[0] = p.gain[1] = 0;
    idse_background_update(p.source, 16, 16, 8, 8, 8, 8, 1, 2, p.action, p.gain, weight, p.mean,
                           p.held, p.target);
    for (int x = 1; x < 16; x++)
        CHECK(get(p.target, &p, x) <= get(p.target, &p, x - 1));
    CHECK(get(p.target, &p, 0) > 190 && get(p.target, &p, 7) < 110 && get(p.target, &p, 8) == 100);
    drop(&p);
}

int main(void)
{
    CHECK(idse_background_abi() > 0);
    for (int depth = 8; depth <= 10; depth += 2) {
        test(1, 1, depth, 8, 8, 1, 1);
        test(16, 16, depth, 8, 8, 2, 2);
        test(17, 33, depth, 8, 8, 5, 3);
        test(9, 17, depth, 4, 4, 5, 3);  /* chroma of 17x33 in 4:2:0 */
        test(9, 33, depth, 4, 8, 5, 3);  /* and in 4:2:2 */
    }
    test_edge();
    return 0;
}
