/* How many bytes a scan takes. */
#include "coding.h"

enum {
    SOS_BYTES = 2 + 6, /* and 2 a component */
    DHT_BYTES = 2 + 19 /* and 1 a symbol */
};

/* Returns the bytes of a table's marker, and adds its symbols' bits. Unused tables are not written. */
static int64_t build_table(const histogram *counts, int is_dc, huffman *table, uint64_t *bits)
{
    idse_huffman_build(counts, table);
    *bits += idse_huffman_bits(counts, table, is_dc);
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
    uint64_t bits = counts.raw_bits;
    for (int i = 0; i < 2; i++) {
        bytes += build_table(&counts.dc[i], 1, &dc[i], &bits);
        bytes += build_table(&counts.ac[i], 0, &ac[i], &bits);
    }
    *header = bytes;
    if (exact)
        return bytes + idse_pack_scan(grid, levels, scan, progressive, interval, dc, ac);
    return bytes + (int64_t)((bits + 7) / 8);
}
