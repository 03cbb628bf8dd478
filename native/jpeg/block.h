/* What the sources of idse_trellis share about blocks. */
#ifndef IDSE_BLOCK_H
#define IDSE_BLOCK_H

#include "trellis.h"

#include <string.h>

enum { BLOCK = 8, BLOCK_SIZE = 64 };

/* On x86-64 the same code once more for AVX2, chosen when the library is loaded. No fused
 * multiplication anywhere: every machine computes the same file. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

/* Natural position of each zigzag position (T.81 figure A.6), and the other way round. */
extern const uint8_t idse_natural[BLOCK_SIZE], idse_zigzag[BLOCK_SIZE];

/* Flags of 64 positions as a mask. */
static inline uint64_t gather_flags(const uint8_t flags[BLOCK_SIZE])
{
    uint64_t mask = 0;
    for (int i = 0; i < BLOCK; i++) {
        uint64_t bytes;
        memcpy(&bytes, flags + BLOCK * i, sizeof(bytes));
        /* The multiplication gathers the lowest bits of eight bytes in the highest. */
        mask |= (bytes * 0x0102040810204080u >> 56) << BLOCK * i;
    }
    return mask;
}

/* A mask of natural positions as one of zigzag positions. */
static inline uint64_t zigzag_mask(uint64_t natural)
{
    uint64_t mask = 0;
    for (; natural; natural &= natural - 1)
        mask |= UINT64_C(1) << idse_zigzag[__builtin_ctzll(natural)];
    return mask;
}

static inline int64_t grid_blocks(const idse_grid *grid, int component)
{
    return (int64_t)grid->rows[component] * grid->cols[component];
}

/* First block of a component in arrays that hold all of them. */
static inline int64_t grid_offset(const idse_grid *grid, int component)
{
    int64_t offset = 0;
    for (int i = 0; i < component; i++)
        offset += grid_blocks(grid, i);
    return offset;
}

/* Bits of a magnitude: JPEG's size category. */
static inline int magnitude_bits(unsigned magnitude)
{
    return magnitude ? 32 - __builtin_clz(magnitude) : 0;
}

/* DCT of the 8x8 samples at `samples`, rows `stride` apart, after subtracting 128. */
void idse_forward_dct(const uint8_t *samples, ptrdiff_t stride, float *out);

#endif
