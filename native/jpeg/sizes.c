/* How many bytes a scan takes. */
#include "coding.h"

enum {
    SOS_BYTES = 2 + 6, /* and 2 a component */
    DHT_BYTES = 2 + 19 /* and 1 a symbol */
};

/* Adds what a table costs: its marker, and its symbols' bits. Unused tables are not written. */
static int64_t table_bytes(const histogram *counts, huffman *table, uint64_t *bits)
{
    idse_huffman_build(counts, table);
    for (int s = 0; s < SYMBOLS; s++)
        *bits += (uint64_t)counts->count[s] * table->length[s];
    return table->symbols ? DHT_BYTES + table->symbols : 0;
}

int64_t idse_trellis_scan_bytes(const idse_grid *grid, const int16_t *levels,
                                const idse_scan *scan, int progressive, int64_t interval,
                                int exact, int64_t *header)
{
    scan_counts counts = {0};
    huffman dc[2], ac[2];
    int64_t bytes = SOS_BYTES + 2 * scan->components;
    idse_count_scan(grid, levels, scan, progressive, interval, &counts);
    uint64_t bits = counts.extra_bits;
    for (int i = 0; i < 2; i++) {
        bytes += table_bytes(&counts.dc[i], &dc[i], &bits);
        bytes += table_bytes(&counts.ac[i], &ac[i], &bits);
    }
    *header = bytes;
    if (exact)
        return bytes + idse_pack_scan(grid, levels, scan, progressive, interval, dc, ac);
    return bytes + (int64_t)((bits + 7) / 8);
}
