#include "kernels.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { LANES = 4 };

/* Sums of what a row of blocks holds, block by block, each in so many parts that add up to it. */
typedef struct {
    uint32_t sum[IDSE_MOST_BLOCKS][LANES]; /* 256 samples of 12 bits fit */
    uint32_t squares[IDSE_MOST_BLOCKS][LANES];
} moments;

/* One line of `cols` whole blocks of 8 or 16 samples: line by line, plane by plane memory is read as
 * it lies, which is what it takes time for. */
#ifdef __SSE2__
static inline void add(uint32_t *lanes, __m128i values)
{
    __m128i *to = (__m128i *)(void *)lanes;
    _mm_storeu_si128(to, _mm_add_epi32(_mm_loadu_si128(to), values));
}

static inline void add_line_8(moments *m, const uint8_t *line, int cols, int width)
{
    const __m128i zero = _mm_setzero_si128();
    for (int c = 0; c < cols; c++, line += width) {
        const __m128i *from = (const __m128i *)(const void *)line;
        const __m128i samples = width == 16 ? _mm_loadu_si128(from) : _mm_loadl_epi64(from);
        const __m128i low = _mm_unpacklo_epi8(samples, zero);
        const __m128i high = _mm_unpackhi_epi8(samples, zero);
        add(m->sum[c], _mm_sad_epu8(samples, zero));
        add(m->squares[c], _mm_add_epi32(_mm_madd_epi16(low, low), _mm_madd_epi16(high, high)));
    }
}
#else
static inline void add_line_8(moments *m, const uint8_t *line, int cols, int width)
{
    for (int c = 0; c < cols; c++, line += width)
        for (int x = 0; x < width; x++) {
            const uint32_t value = line[x];
            m->sum[c][0] += value;
            m->squares[c][0] += value * value;
        }
}
#endif

static inline void add_line_16(moments *m, const uint16_t *line, int cols, int width)
{
    for (int c = 0; c < cols; c++, line += width)
        for (int x = 0; x < width; x++) {
            const uint32_t value = line[x];
            m->sum[c][x % LANES] += value;
            m->squares[c][x % LANES] += value * value;
        }
}

/* The part of a line that is left over, and its last sample up to the end of the block. */
static void add_end(moments *m, const void *line, int from, int width, int sample_bytes,
                    int block_width)
{
    for (int x = from; x < from + block_width; x++) {
        const int at = x < width ? x : width - 1;
        const uint32_t value =
            sample_bytes == 1 ? ((const uint8_t *)line)[at] : ((const uint16_t *)line)[at];
        m->sum[from / block_width][0] += value;
        m->squares[from / block_width][0] += value * value;
    }
}

static inline uint32_t whole_of(const uint32_t lanes[LANES])
{
    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

void idse_kernels_ac_energy(const void *plane, ptrdiff_t stride, int width, int height,
                            int sample_bytes, int block_width, int block_height, int rows, int cols,
                            uint32_t *energy)
{
    const uint64_t count = (uint64_t)block_width * (uint64_t)block_height;
    const int whole = width / block_width < cols ? width / block_width : cols;
    moments m;
    for (int r = 0; r < rows; r++, energy += cols) {
        memset(m.sum, 0, sizeof(*m.sum) * (size_t)cols);
        memset(m.squares, 0, sizeof(*m.squares) * (size_t)cols);
        for (int y = r * block_height; y < (r + 1) * block_height; y++) {
            const uint8_t *line = (const uint8_t *)plane + (y < height ? y : height - 1) * stride;
            if (sample_bytes == 2)
                add_line_16(&m, (const uint16_t *)(const void *)line, whole, block_width);
            else if (block_width == 16) /* constant widths let the compiler unroll */
                add_line_8(&m, line, whole, 16);
            else
                add_line_8(&m, line, whole, 8);
            for (int c = whole; c < cols; c++)
                add_end(&m, line, c * block_width, width, sample_bytes, block_width);
        }
        for (int c = 0; c < cols; c++) {
            const uint64_t sum = whole_of(m.sum[c]);
            energy[c] += whole_of(m.squares[c]) - (uint32_t)(sum * sum / count);
        }
    }
}
