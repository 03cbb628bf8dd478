/* How JPEG codes levels, and what its symbols cost. */
#ifndef IDSE_CODING_H
#define IDSE_CODING_H

#include "block.h"

enum {
    SYMBOLS = 256,
    MAX_SIZE = 10,            /* bits of an AC level */
    MAX_AC = 1023,            /* largest AC magnitude of a baseline file */
    LONGEST_EOB_RUN = 0x7FFF, /* libjpeg writes a run out when it gets this long */
    EOB_CLASSES = 15,
    ZRL = 0xF0,
};

/* Occurrences of the symbols of one Huffman table. */
typedef struct {
    uint32_t count[SYMBOLS];
} histogram;

/* Occurrences in one scan: tables 0 (luma) and 1 (chroma) of DC and AC, and bits that belong to no
 * symbol. In a progressive scan only DC's or only AC's are used. */
typedef struct {
    histogram dc[2], ac[2];
    uint64_t raw_bits;
} scan_counts;

typedef struct {
    uint16_t code[SYMBOLS];
    uint8_t length[SYMBOLS]; /* 0: not in the table */
    int symbols;
} huffman;

/* libjpeg's table for these counts. */
void idse_huffman_build(const histogram *counts, huffman *table);

/* Bits of these symbols and of what follows them. */
uint64_t idse_huffman_bits(const histogram *counts, const huffman *table, int is_dc);

static inline int scan_table(int component)
{
    return component > 0;
}

/* Adds the symbols of a scan. `interval`: MCUs between restart markers, or 0. */
void idse_count_scan(const idse_grid *grid, const int16_t *levels, const idse_scan *scan,
                     int progressive, int64_t interval, scan_counts *counts);

/* Bytes of the coded data with these tables, stuffing and restart markers included. */
int64_t idse_pack_scan(const idse_grid *grid, const int16_t *levels, const idse_scan *scan,
                       int progressive, int64_t interval, const huffman dc[2],
                       const huffman ac[2]);

/* Visits a component's blocks in the order in which an interleaved scan codes them. */
typedef struct {
    int rows, cols, high, wide; /* blocks of the component, and of its part of an MCU */
    int row, col;
} walk;

static inline walk walk_start(const idse_grid *grid, int component, int interleaved)
{
    const walk w = {.rows = grid->rows[component],
                    .cols = grid->cols[component],
                    .high = interleaved ? grid->vertical[component] : 1,
                    .wide = interleaved ? grid->horizontal[component] : 1};
    return w;
}

/* Index of the current block within its component, and a step to the next. */
static inline int64_t walk_next(walk *w)
{
    const int64_t at = (int64_t)w->row * w->cols + w->col;
    const int top = w->row - w->row % w->high, left = w->col - w->col % w->wide;
    const int right = left + w->wide < w->cols ? left + w->wide : w->cols;
    const int bottom = top + w->high < w->rows ? top + w->high : w->rows;
    if (++w->col < right)
        return at;
    w->col = left;
    if (++w->row < bottom)
        return at;
    w->row = top;
    w->col = right;
    if (w->col < w->cols)
        return at;
    w->row = bottom;
    w->col = 0;
    return at;
}

#endif
