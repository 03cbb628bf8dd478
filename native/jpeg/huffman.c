/* Optimal Huffman tables as libjpeg makes them (T.81 K.2, with one code point reserved so that no code
 * is all ones). Ties are broken as libjpeg breaks them: where codes are cut to 16 bits, and for the
 * bytes that need stuffing, the choice shows in the file's size. */
#include "coding.h"

enum { LONGEST = 32, LONGEST_CODE = 16 };

/* One more than the symbols: the reserved code point, counted once. */
typedef struct {
    uint8_t symbol[SYMBOLS + 1];
    uint8_t size[SYMBOLS + 1];
    int used;
} code_sizes;

static void merge_branches(uint8_t *size, int16_t *next, int one, int two)
{
    size[one]++;
    while (next[one] >= 0) {
        one = next[one];
        size[one]++;
    }
    next[one] = (int16_t)two;
    for (; two >= 0; two = next[two])
        size[two]++;
}

/* Huffman's algorithm; of equal weights the larger symbol is merged first. */
static void assign_sizes(const histogram *counts, code_sizes *out)
{
    uint64_t weight[SYMBOLS + 1];
    int16_t next[SYMBOLS + 1];
    memset(out, 0, sizeof(*out));
    for (int s = 0; s < SYMBOLS; s++)
        if (counts->count[s]) {
            out->symbol[out->used] = (uint8_t)s;
            weight[out->used++] = counts->count[s];
        }
    weight[out->used++] = 1;
    memset(next, -1, sizeof(next));
    for (int left = out->used; left > 1; left--) {
        uint64_t least = UINT64_MAX - 1, second = UINT64_MAX - 1;
        int one = -1, two = -1;
        for (int i = 0; i < out->used; i++) {
            if (weight[i] > second)
                continue;
            if (weight[i] <= least) {
                two = one;
                second = least;
                one = i;
                least = weight[i];
            } else {
                two = i;
                second = weight[i];
            }
        }
        weight[one] += weight[two];
        weight[two] = UINT64_MAX;
        merge_branches(out->size, next, one, two);
    }
}

/* Numbers of codes per length, none longer than 16 (T.81 figure K.3), without the reserved point. */
static void limit_lengths(const code_sizes *sizes, int lengths[LONGEST + 1])
{
    memset(lengths, 0, sizeof(int) * (LONGEST + 1));
    for (int i = 0; i < sizes->used; i++)
        lengths[sizes->size[i] < LONGEST ? sizes->size[i] : LONGEST]++;
    for (int i = LONGEST; i > LONGEST_CODE; i--)
        while (lengths[i] > 0) {
            int j = i - 2;
            while (!lengths[j])
                j--;
            lengths[i] -= 2;
            lengths[i - 1]++;
            lengths[j + 1] += 2;
            lengths[j]--;
        }
    int last = LONGEST_CODE;
    while (!lengths[last])
        last--;
    lengths[last]--;
}

void idse_huffman_build(const histogram *counts, huffman *table)
{
    code_sizes sizes;
    int lengths[LONGEST + 1];
    memset(table, 0, sizeof(*table));
    assign_sizes(counts, &sizes);
    if (sizes.used == 1)
        return;
    limit_lengths(&sizes, lengths);
    table->symbols = sizes.used - 1;
    /* Symbols in the order of the sizes before limiting, codes counted up in canonical order. */
    int length = 1, left = lengths[1];
    uint32_t code = 0;
    for (int size = 1; size <= LONGEST; size++)
        for (int i = 0; i < table->symbols; i++) {
            if ((sizes.size[i] < LONGEST ? sizes.size[i] : LONGEST) != size)
                continue;
            while (!left) {
                left = lengths[++length];
                code <<= 1;
            }
            table->length[sizes.symbol[i]] = (uint8_t)length;
            table->code[sizes.symbol[i]] = (uint16_t)code++;
            left--;
        }
}

uint64_t idse_huffman_bits(const histogram *counts, const huffman *table, int is_dc)
{
    uint64_t bits = 0;
    for (int s = 0; s < SYMBOLS; s++) {
        /* DC: a size. AC: a run and a size, or, without one, the bits of a run of ends of blocks. */
        const int ends = !(s & 15) && s != ZRL, follow = is_dc ? s : ends ? s >> 4 : s & 15;
        bits += (uint64_t)counts->count[s] * (uint64_t)(table->length[s] + follow);
    }
    return bits;
}
