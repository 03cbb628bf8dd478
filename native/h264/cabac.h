/* The arithmetic decoder of ITU-T H.264 clause 9.3. */
#ifndef IDSE_H264_CABAC_H
#define IDSE_H264_CABAC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CABAC_CONTEXTS 1024
#define CABAC_BASE_CONTEXTS 460

extern const int8_t cabac_init_mn[4][CABAC_BASE_CONTEXTS][2];
extern const uint8_t cabac_range_lps[64][4];
extern const uint8_t cabac_next_lps[64];
extern const uint8_t cabac_significant_8x8[2][63];
extern const uint8_t cabac_last_8x8[63];

typedef struct {
    const uint8_t *data;
    size_t size;  /* bytes; zeros are read after them, and cabac_position tells */
    size_t next;  /* byte to load */
    uint64_t value; /* codIOffset followed by `extra` bits that wait to be shifted in */
    unsigned extra;
    uint32_t range;                  /* codIRange, 9 bits */
    uint8_t states[CABAC_CONTEXTS]; /* pStateIdx << 1 | valMPS */
} cabac_decoder;

/* Sets every context for a slice: `table` 0 for I slices, else 1 + cabac_init_idc. */
void cabac_init_contexts(cabac_decoder *cabac, unsigned table, int slice_qp);

/* Starts the engine at a byte of data. */
void cabac_start(cabac_decoder *cabac, const uint8_t *data, size_t size, size_t byte);

unsigned cabac_bypass(cabac_decoder *cabac);
unsigned cabac_terminate(cabac_decoder *cabac);

/* Bits of data consumed so far; more than 8 * size after reading past the end. */
static inline size_t cabac_position(const cabac_decoder *cabac)
{
    return cabac->next * 8 - cabac->extra;
}

static inline void cabac_refill(cabac_decoder *cabac)
{
    while (cabac->extra <= 40) {
        const uint8_t byte = cabac->next < cabac->size ? cabac->data[cabac->next] : 0;
        cabac->value = cabac->value << 8 | byte;
        cabac->next++;
        cabac->extra += 8;
    }
}

static inline unsigned cabac_bin(cabac_decoder *cabac, unsigned context)
{
    uint8_t *state = &cabac->states[context];
    const unsigned index = *state >> 1;
    unsigned bin = *state & 1;
    const uint32_t lps = cabac_range_lps[index][cabac->range >> 6 & 3];
    cabac->range -= lps;
    const uint64_t scaled = (uint64_t)cabac->range << cabac->extra;
    if (cabac->value < scaled) {
        *state = (uint8_t)(index < 62 ? *state + 2 : *state);
    } else {
        cabac->value -= scaled;
        cabac->range = lps;
        *state = (uint8_t)(cabac_next_lps[index] << 1 | (index == 0 ? bin ^ 1 : bin));
        bin ^= 1;
    }
    while (cabac->range < 256) {
        cabac->range <<= 1;
        cabac->extra--;
    }
    if (cabac->extra < 9) { /* one bin shifts by 7 bits at most */
        cabac_refill(cabac);
    }
    return bin;
}

#endif
