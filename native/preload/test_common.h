/* What the tests of this folder share. */
#ifndef IDSE_TEST_COMMON_H
#define IDSE_TEST_COMMON_H

#include <stdio.h>
#include <stdlib.h>

#include "x264_abi.h"

static int failures;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __func__, __LINE__, #condition);              \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

enum { WIDTH = 80, HEIGHT = 48, MACROBLOCKS = 15 };

/* A picture whose rows are `gap` bytes longer than they need be. */
static inline struct picture noise(uint8_t *memory, int csp, int gap)
{
    struct picture picture = {.image = {.csp = csp}};
    const int planes = csp == CSP_NV12 || csp == CSP_NV21 ? 2 : 3;
    picture.image.planes = planes;
    for (int i = 0; i < planes; i++) {
        const int row = i && planes == 3 ? WIDTH / 2 : WIDTH;
        picture.image.stride[i] = row + gap;
        picture.image.plane[i] = memory;
        memory += (row + gap) * (i ? HEIGHT / 2 : HEIGHT);
    }
    return picture;
}

static int freed;

static inline void count_free(void *memory)
{
    freed++;
    free(memory);
}

#endif
