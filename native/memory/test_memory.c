/* Zeroes what this program itself allocates, whatever was in that memory before. */
#include "memory.h"

#include <malloc.h>
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

static int here;

static void dirty(size_t alignment, size_t size)
{
    char *memory = memalign(alignment, size);
    CHECK(memory);
    memset(memory, 77, size);
    free(memory);
}

static void check_zeroed(size_t alignment, size_t size)
{
    for (int turn = 0; turn < 3; turn++) {
        dirty(alignment, size);
        char *memory = memalign(alignment, size);
        CHECK(memory && (size_t)memory % alignment == 0);
        for (size_t i = 0; i < size; i++)
            CHECK(memory[i] == 0);
        memset(memory, 99, size);
        free(memory);
    }
}

int main(void)
{
    CHECK(idse_memory_abi() > 0);
    /* memory.c imports it, and this program with it. */
    CHECK(idse_memory_zero(&here) > 0);
    CHECK(idse_memory_zero(&here) > 0);
    check_zeroed(64, 1);
    check_zeroed(64, 4097);
    check_zeroed(64, 300001);
    check_zeroed(1 << 21, 5000003);
    CHECK(idse_memory_zero((void *)0) < 0);
    return 0;
}
