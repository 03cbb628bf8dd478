/* The symbols of libjpeg's sequential and progressive encoders (jchuff.c, jcphuff.c), either counted or
 * packed. Packing keeps no bytes: only the number of them, and how many are 0xFF, is asked for. */
#include "coding.h"

enum { CORRECTION_BITS = 1000 }; /* libjpeg's buffer: an EOB run ends before it overflows */

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Either counts symbols (`counts` set) or packs them. */
typedef struct {
    scan_counts *counts;
    const huffman *dc, *ac;
    uint64_t word; /* bits not yet counted, from the lowest upwards */
    int filled;
    int64_t bytes;
    uint64_t band; /* natural positions of the scan's AC */
    /* Progressive AC scans: a pending run of ends of blocks and correction bits behind it. */
    uint32_t eob_run;
    int eob_table, held;
    uint8_t correction[CORRECTION_BITS];
} sink;

/* 0xFF bytes of a word. */
static inline int count_ff(uint64_t word)
{
    const uint64_t low = 0x7F7F7F7F7F7F7F7Fu, zero_for_ff = ~word;
    const uint64_t other = ((zero_for_ff & low) + low) | zero_for_ff;
    return __builtin_popcountll(~(other | low));
}

ALWAYS_INLINE void put_bits(sink *s, uint32_t value, int count)
{
    const int room = 64 - s->filled;
    if (count < room) {
        s->word = s->word << count | value;
        s->filled += count;
        return;
    }
    const int left = count - room;
    s->word = s->word << room | value >> left;
    s->bytes += 8 + count_ff(s->word);
    s->word = value & ((UINT64_C(1) << left) - 1);
    s->filled = left;
}

/* Fills the last byte with ones. */
static void finish_bytes(sink *s)
{
    const int padding = -s->filled & 7;
    if (padding)
        put_bits(s, (1U << padding) - 1, padding);
    if (s->filled) {
        const uint64_t rest = s->filled < 64 ? s->word & ((UINT64_C(1) << s->filled) - 1) : s->word;
        s->bytes += s->filled / 8 + count_ff(rest);
    }
    s->word = 0;
    s->filled = 0;
}

/* A symbol and `count` bits that follow it. */
ALWAYS_INLINE void put_symbol(sink *s, int counting, int is_dc, int table, int symbol,
                              uint32_t bits, int count)
{
    if (counting) {
        (is_dc ? s->counts->dc : s->counts->ac)[table].count[symbol]++;
        return;
    }
    const huffman *h = (is_dc ? s->dc : s->ac) + table;
    put_bits(s, (uint32_t)h->code[symbol] << count | bits, h->length[symbol] + count);
}

ALWAYS_INLINE void put_raw(sink *s, int counting, uint32_t bits, int count)
{
    if (counting)
        s->counts->raw_bits += (uint64_t)count;
    else
        put_bits(s, bits, count);
}

/* A value without its lowest `shift` bits. Signs cannot be predicted, hence no branches. */
typedef struct {
    uint32_t magnitude, bits; /* bits: complemented where the value is negative */
} magnitude_and_bits;

static inline magnitude_and_bits split_value(int value, int shift)
{
    const uint32_t negative = -(uint32_t)(value < 0);
    const uint32_t magnitude = (((uint32_t)value ^ negative) - negative) >> shift;
    return (magnitude_and_bits){magnitude, magnitude ^ negative};
}

static inline uint32_t low_bits(uint32_t value, int count)
{
    return value & ((1U << count) - 1);
}

ALWAYS_INLINE void put_difference(sink *s, int counting, int table, int difference)
{
    const magnitude_and_bits value = split_value(difference, 0);
    const int size = magnitude_bits(value.magnitude);
    put_symbol(s, counting, 1, table, size, low_bits(value.bits, size), size);
}

/* Those of some natural positions whose level is not 0 after a shift of the magnitude, in zigzag order. */
static inline uint64_t find_levels(const int16_t *levels, uint64_t positions, int shift)
{
    uint8_t found[BLOCK_SIZE];
    /* |level| >= 2^shift in one comparison of 16 bits, of which a vector holds more than of 32. */
    const uint16_t lowest = (uint16_t)((1 << shift) - 1), width = (uint16_t)(2 * lowest);
    for (int k = 0; k < BLOCK_SIZE; k++)
        found[k] = (uint16_t)((uint16_t)levels[k] + lowest) > width;
    return zigzag_mask(gather_flags(found) & positions);
}

static void put_eob_run(sink *s, int counting)
{
    if (!s->eob_run)
        return;
    const int class = magnitude_bits(s->eob_run) - 1;
    put_symbol(s, counting, 0, s->eob_table, class << 4, low_bits(s->eob_run, class), class);
    s->eob_run = 0;
    if (counting)
        s->counts->raw_bits += (uint64_t)s->held;
    else
        for (int i = 0; i < s->held; i++)
            put_bits(s, s->correction[i], 1);
    s->held = 0;
}

/* Levels with the zeros between them; returns the position of the last one, or first - 1. */
ALWAYS_INLINE int put_levels(sink *s, int counting, int table, const int16_t *levels,
                             uint64_t found, int first, int shift)
{
    int last = first - 1;
    for (; found; found &= found - 1) {
        const int k = __builtin_ctzll(found);
        int run = k - last - 1;
        last = k;
        for (; run > 15; run -= 16)
            put_symbol(s, counting, 0, table, ZRL, 0, 0);
        const magnitude_and_bits value = split_value(levels[idse_natural[k]], shift);
        const int size = 32 - __builtin_clz(value.magnitude); /* it is not 0 */
        put_symbol(s, counting, 0, table, run << 4 | size, low_bits(value.bits, size), size);
    }
    return last;
}

ALWAYS_INLINE void sequential_ac(sink *s, int counting, int table, const int16_t *levels)
{
    const uint64_t found = find_levels(levels, s->band, 0);
    if (put_levels(s, counting, table, levels, found, 1, 0) < 63)
        put_symbol(s, counting, 0, table, 0, 0, 0);
}

ALWAYS_INLINE void first_ac(sink *s, int counting, const idse_scan *scan, const int16_t *levels)
{
    const uint64_t found = find_levels(levels, s->band, scan->al);
    if (found)
        put_eob_run(s, counting);
    const int last =
        put_levels(s, counting, s->eob_table, levels, found, scan->ss, scan->al);
    if (last < scan->se && ++s->eob_run == LONGEST_EOB_RUN)
        put_eob_run(s, counting);
}

/* One more bit of levels that are known not to be 0, and new ones (T.81 G.1.2.3). */
ALWAYS_INLINE void refine_ac(sink *s, int counting, const idse_scan *scan, const int16_t *levels)
{
    const uint64_t found = find_levels(levels, s->band, scan->al);
    const uint64_t known = find_levels(levels, s->band, scan->al + 1);
    const uint64_t fresh = found & ~known;
    const int last_fresh = fresh ? 63 - __builtin_clzll(fresh) : -1;
    int run = 0, at = scan->ss, first_bit = s->held, count = 0;
    for (uint64_t left = found; left; left &= left - 1) {
        const int k = __builtin_ctzll(left);
        run += k - at;
        at = k + 1;
        for (; run > 15 && k <= last_fresh; run -= 16) {
            put_eob_run(s, counting);
            put_symbol(s, counting, 0, s->eob_table, ZRL, 0, 0);
            for (int i = 0; i < count; i++)
                put_raw(s, counting, s->correction[first_bit + i], 1);
            first_bit = count = 0;
        }
        const int level = levels[idse_natural[k]], magnitude = level < 0 ? -level : level;
        if (known >> k & 1) {
            s->correction[first_bit + count++] = (uint8_t)(magnitude >> scan->al & 1);
            continue;
        }
        put_eob_run(s, counting);
        put_symbol(s, counting, 0, s->eob_table, run << 4 | 1, level > 0, 1);
        for (int i = 0; i < count; i++)
            put_raw(s, counting, s->correction[first_bit + i], 1);
        first_bit = count = run = 0;
    }
    if (run + scan->se + 1 - at > 0 || count) {
        s->held = first_bit + count;
        if (++s->eob_run == LONGEST_EOB_RUN || s->held > CORRECTION_BITS - BLOCK_SIZE + 1)
            put_eob_run(s, counting);
    }
}

/* One block of a scan; `last_dc` is its component's prediction. */
ALWAYS_INLINE void put_block(sink *s, int counting, const idse_scan *scan, int progressive,
                             int table, const int16_t *levels, int *last_dc)
{
    if (progressive && scan->ss) {
        if (scan->ah)
            refine_ac(s, counting, scan, levels);
        else
            first_ac(s, counting, scan, levels);
        return;
    }
    if (progressive && scan->ah) {
        put_raw(s, counting, (uint32_t)(levels[0] >> scan->al) & 1, 1);
        return;
    }
    const int value = progressive ? levels[0] >> scan->al : levels[0];
    put_difference(s, counting, table, value - *last_dc);
    *last_dc = value;
    if (!progressive)
        sequential_ac(s, counting, table, levels);
}

/* Blocks of one component within one MCU; those beyond its edge repeat the DC before them. */
ALWAYS_INLINE void put_mcu(sink *s, int counting, const idse_grid *grid, const idse_scan *scan,
                           int progressive, int component, const int16_t *levels, int mcu_row,
                           int mcu_col, int *last_dc)
{
    static const int16_t zeros[BLOCK_SIZE];
    const int wide = grid->horizontal[component], high = grid->vertical[component];
    const int rows = grid->rows[component], cols = grid->cols[component];
    int16_t before = 0;
    for (int y = 0; y < high; y++)
        for (int x = 0; x < wide; x++) {
            const int row = mcu_row * high + y, col = mcu_col * wide + x;
            const int16_t *block = levels + ((int64_t)row * cols + col) * BLOCK_SIZE;
            int16_t filler[BLOCK_SIZE];
            if (row < rows && col < cols) {
                before = block[0];
            } else {
                memcpy(filler, zeros, sizeof(filler));
                filler[0] = before;
                block = filler;
            }
            put_block(s, counting, scan, progressive, scan_table(component), block, last_dc);
        }
}

static void restart(sink *s, int counting, int last_dc[3])
{
    put_eob_run(s, counting);
    if (!counting) {
        finish_bytes(s);
        s->bytes += 2;
    }
    memset(last_dc, 0, 3 * sizeof(*last_dc));
}

ALWAYS_INLINE void put_interleaved(sink *s, int counting, const idse_grid *grid,
                                   const int16_t *levels, const idse_scan *scan, int progressive,
                                   int64_t interval)
{
    const int16_t *start[3] = {0};
    int last_dc[3] = {0};
    const int first = scan->component[0];
    const int high = grid->vertical[first], wide = grid->horizontal[first];
    for (int i = 0; i < scan->components; i++)
        start[i] = levels + grid_offset(grid, scan->component[i]) * BLOCK_SIZE;
    const int mcu_rows = (grid->rows[first] + high - 1) / high;
    const int mcu_cols = (grid->cols[first] + wide - 1) / wide;
    int64_t left = interval;
    for (int row = 0; row < mcu_rows; row++)
        for (int col = 0; col < mcu_cols; col++) {
            if (interval && !left--) {
                restart(s, counting, last_dc);
                left = interval - 1;
            }
            for (int i = 0; i < scan->components; i++)
                put_mcu(s, counting, grid, scan, progressive, scan->component[i], start[i], row,
                        col, &last_dc[i]);
        }
}

ALWAYS_INLINE void put_single(sink *s, int counting, const idse_grid *grid, const int16_t *levels,
                              const idse_scan *scan, int progressive, int64_t interval)
{
    const int component = scan->component[0], table = scan_table(component);
    const int64_t blocks = grid_blocks(grid, component);
    levels += grid_offset(grid, component) * BLOCK_SIZE;
    int last_dc[3] = {0};
    int64_t left = interval;
    for (int64_t i = 0; i < blocks; i++) {
        if (interval && !left--) {
            restart(s, counting, last_dc);
            left = interval - 1;
        }
        put_block(s, counting, scan, progressive, table, levels + i * BLOCK_SIZE, last_dc);
    }
}

ALWAYS_INLINE void put_scan(sink *s, int counting, const idse_grid *grid, const int16_t *levels,
                            const idse_scan *scan, int progressive, int64_t interval)
{
    s->eob_table = scan_table(scan->component[0]);
    for (int k = scan->ss > 1 ? scan->ss : 1; k <= scan->se; k++)
        s->band |= UINT64_C(1) << idse_natural[k];
    if (scan->components > 1)
        put_interleaved(s, counting, grid, levels, scan, progressive, interval);
    else
        put_single(s, counting, grid, levels, scan, progressive, interval);
    put_eob_run(s, counting);
}

void idse_count_scan(const idse_grid *grid, const int16_t *levels, const idse_scan *scan,
                     int progressive, int64_t interval, scan_counts *counts)
{
    sink s = {.counts = counts};
    if (progressive)
        put_scan(&s, 1, grid, levels, scan, 1, interval);
    else
        put_scan(&s, 1, grid, levels, scan, 0, interval);
}

int64_t idse_pack_scan(const idse_grid *grid, const int16_t *levels, const idse_scan *scan,
                       int progressive, int64_t interval, const huffman dc[2],
                       const huffman ac[2])
{
    sink s = {.dc = dc, .ac = ac};
    if (progressive)
        put_scan(&s, 0, grid, levels, scan, 1, interval);
    else
        put_scan(&s, 0, grid, levels, scan, 0, interval);
    finish_bytes(&s);
    return s.bytes;
}
