#include "kernels.h"

#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    BLOCK = IDSE_MB / 4,  /* a macroblock on the small plane */
    MARGIN = 2,           /* matched with this much around it: 8 samples across */
    WINDOW = BLOCK + 2 * MARGIN,
    REACH = 32,           /* longest vector component, small samples */
    PENALTY = 6,          /* SAD that one sample of deviation from the predictors costs */
    PENALTY_REACH = 8,    /* deviations beyond this cost no more */
    STILL = 48,           /* a SAD below this is noise */
    GOOD = 128,           /* a SAD below this is not searched further */
    WIDEST = 16,           /* ring around the best predictor */
    STEPS = 8,            /* of the last refinement */
    SETTLING = 3,         /* steps of a sample at full size */
    COUNTED = IDSE_MB * IDSE_MB / 2, /* samples of a macroblock that are compared */
    GAIN = 16,            /* what such a step must gain over noise */
};

typedef struct {
    int x, y;
} vector;

typedef struct {
    const uint8_t *block;    /* window in the current plane */
    const uint8_t *origin;   /* the same place in the previous plane */
    ptrdiff_t stride;
    vector low, high;        /* inclusive bounds that keep the window inside the padded plane */
    vector predictor;
    vector best;
    uint32_t best_sad, best_cost;
} match;

/* Sums of absolute differences over a window of the small plane, and over every other line of a
 * macroblock: half of it tells as much, and it is memory that this takes time for. */
#ifdef __SSE2__
static inline __m128i two_rows(const uint8_t *from, ptrdiff_t stride)
{
    const __m128i low = _mm_loadl_epi64((const __m128i *)(const void *)from);
    return _mm_unpacklo_epi64(low, _mm_loadl_epi64((const __m128i *)(const void *)(from + stride)));
}

static inline uint32_t total(__m128i sums)
{
    return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_srli_si128(sums, 8)));
}

static inline uint32_t sad_window(const uint8_t *a, const uint8_t *b, ptrdiff_t stride)
{
    __m128i sums = _mm_setzero_si128();
    for (int y = 0; y < WINDOW; y += 2, a += 2 * stride, b += 2 * stride)
        sums = _mm_add_epi32(sums, _mm_sad_epu8(two_rows(a, stride), two_rows(b, stride)));
    return total(sums);
}

static inline uint32_t sad_block(const uint8_t *a, const uint8_t *b, ptrdiff_t stride)
{
    __m128i sums = _mm_setzero_si128();
    for (int y = 0; y < IDSE_MB; y += 2, a += 2 * stride, b += 2 * stride)
        sums = _mm_add_epi32(sums, _mm_sad_epu8(_mm_loadu_si128((const __m128i *)(const void *)a),
                                                _mm_loadu_si128((const __m128i *)(const void *)b)));
    return total(sums);
}
#else
static inline uint32_t sad(const uint8_t *a, const uint8_t *b, ptrdiff_t stride, int size, int rows)
{
    int sum = 0;
    for (int y = 0; y < rows; y++, a += stride, b += stride)
        for (int x = 0; x < size; x++)
            sum += abs(a[x] - b[x]);
    return (uint32_t)sum;
}

static inline uint32_t sad_window(const uint8_t *a, const uint8_t *b, ptrdiff_t stride)
{
    return sad(a, b, stride, WINDOW, WINDOW);
}

static inline uint32_t sad_block(const uint8_t *a, const uint8_t *b, ptrdiff_t stride)
{
    return sad(a, b, 2 * stride, IDSE_MB, IDSE_MB / 2);
}
#endif

static inline int clip(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

static inline int median(int a, int b, int c)
{
    const int low = a < b ? a : b, high = a < b ? b : a;
    return clip(c, low, high);
}

static inline uint32_t distance(vector a, vector b)
{
    return (uint32_t)(abs(a.x - b.x) + abs(a.y - b.y));
}

/* Standing still and moving as the neighbours do are both free: flat or noisy blocks, which match
 * anywhere, must not get a vector by chance. */
static inline uint32_t penalty(const match *m, vector v)
{
    const uint32_t still = distance(v, (vector){0, 0}), along = distance(v, m->predictor);
    const uint32_t least = still < along ? still : along;
    return PENALTY * (least < PENALTY_REACH ? least : PENALTY_REACH);
}

static inline uint32_t sad_at(const match *m, int x, int y)
{
    return sad_window(m->block, m->origin + y * m->stride + x, m->stride);
}

static int try_vector(match *m, int x, int y)
{
    const vector v = {clip(x, m->low.x, m->high.x), clip(y, m->low.y, m->high.y)};
    const uint32_t extra = penalty(m, v);
    if (extra >= m->best_cost)
        return 0;
    const uint32_t sad = sad_at(m, v.x, v.y);
    if (sad + extra >= m->best_cost)
        return 0;
    m->best = v;
    m->best_sad = sad;
    m->best_cost = sad + extra;
    return 1;
}

static void refine_diamond(match *m)
{
    /* Where no predictor fits, look around in widening rings first. */
    const vector start = m->best;
    for (int radius = 2; radius <= WIDEST && m->best_sad > GOOD; radius *= 2)
        for (int y = -1; y <= 1; y++)
            for (int x = -1; x <= 1; x++)
                if (x || y)
                    try_vector(m, start.x + x * radius, start.y + y * radius);
    for (int step = 0; step < STEPS; step++) {
        const vector c = m->best;
        int moved = try_vector(m, c.x - 1, c.y);
        moved |= try_vector(m, c.x + 1, c.y);
        moved |= try_vector(m, c.x, c.y - 1);
        moved |= try_vector(m, c.x, c.y + 1);
        if (!moved)
            return;
    }
}

/* Vectors are kept in luma samples, predictors are in small ones. */
static inline vector at(const int16_t *vectors, int index)
{
    return (vector){(vectors[2 * index] + 2) >> 2, (vectors[2 * index + 1] + 2) >> 2};
}

static inline void try_other(match *m, vector v)
{
    if (v.x != m->best.x || v.y != m->best.y)
        try_vector(m, v.x, v.y);
}

static void try_temporal(match *m, const int16_t *temporal, int r, int c, int rows, int cols)
{
    const int index = r * cols + c;
    try_other(m, at(temporal, index));
    if (c + 1 < cols)
        try_other(m, at(temporal, index + 1));
    if (r + 1 < rows)
        try_other(m, at(temporal, index + cols));
}

/* Left, upper and upper-right neighbours, and their median as the predictor (as H.264's). */
static int try_spatial(match *m, const int16_t *vectors, int r, int c, int cols)
{
    const int index = r * cols + c;
    vector left = {0, 0}, up = {0, 0}, corner = {0, 0};
    if (c > 0)
        left = at(vectors, index - 1);
    if (r > 0) {
        up = at(vectors, index - cols);
        corner = at(vectors, index - cols + (c + 1 < cols ? 1 : 0));
    } else {
        up = corner = left;
    }
    m->predictor = (vector){median(left.x, up.x, corner.x), median(left.y, up.y, corner.y)};
    try_vector(m, 0, 0);
    if (m->best_sad < STILL)
        return 0;
    try_other(m, m->predictor);
    try_other(m, left);
    try_other(m, up);
    try_other(m, corner);
    return 1;
}

/* Luma samples from the middle of three small ones to where the match is best: a V through their
 * SADs (Kanade's equiangular fit), which fits sums of absolute differences better than a parabola. */
static int between(uint32_t before, uint32_t here, uint32_t after)
{
    const int rise = (int)(before > after ? before : after) - (int)here;
    if (rise <= 0)
        return 0;
    const int tilt = 4 * ((int)before - (int)after);
    return (tilt + (tilt < 0 ? -rise : rise)) / (2 * rise);
}

static vector fine_vector(const match *m)
{
    const vector v = m->best;
    vector fine = {4 * v.x, 4 * v.y};
    if (v.x > m->low.x && v.x < m->high.x)
        fine.x += between(sad_at(m, v.x - 1, v.y), m->best_sad, sad_at(m, v.x + 1, v.y));
    if (v.y > m->low.y && v.y < m->high.y)
        fine.y += between(sad_at(m, v.x, v.y - 1), m->best_sad, sad_at(m, v.x, v.y + 1));
    return fine;
}

void idse_kernels_motion_search(const uint8_t *current, const uint8_t *previous, int rows, int cols,
                                const int16_t *temporal, int16_t *vectors)
{
    const ptrdiff_t stride = cols * BLOCK + 2 * IDSE_SMALL_PAD;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            /* Position of the window in the padded plane. */
            const int x = c * BLOCK - MARGIN + IDSE_SMALL_PAD;
            const int y = r * BLOCK - MARGIN + IDSE_SMALL_PAD;
            const int right = (cols - c) * BLOCK - BLOCK - MARGIN + IDSE_SMALL_PAD;
            const int below = (rows - r) * BLOCK - BLOCK - MARGIN + IDSE_SMALL_PAD;
            match m = {
                .block = current + y * stride + x,
                .origin = previous + y * stride + x,
                .stride = stride,
                .low = {x < REACH ? -x : -REACH, y < REACH ? -y : -REACH},
                .high = {right < REACH ? right : REACH, below < REACH ? below : REACH},
                .best_sad = UINT32_MAX,
                .best_cost = UINT32_MAX,
            };
            vector found = {0, 0};
            if (try_spatial(&m, vectors, r, c, cols)) {
                if (temporal)
                    try_temporal(&m, temporal, r, c, rows, cols);
                refine_diamond(&m);
                found = fine_vector(&m);
            }
            vectors[2 * (r * cols + c)] = (int16_t)found.x;
            vectors[2 * (r * cols + c) + 1] = (int16_t)found.y;
        }
}

static float block_activity(const uint8_t *block, ptrdiff_t stride)
{
    const uint32_t across = sad_block(block, block - 1, stride);
    const uint32_t down = sad_block(block, block - stride, stride);
    return (float)(across < down ? across : down) / COUNTED;
}

/* The best place on the full-size plane, at most SETTLING samples each way from `v`, or standing still. */
static uint32_t settle(const uint8_t *block, const uint8_t *previous, ptrdiff_t stride, vector *v)
{
    uint32_t best = sad_block(block, previous + v->y * stride + v->x, stride);
    for (int step = 0; step < SETTLING; step++) {
        const vector c = *v;
        const vector tries[] = {{c.x - 1, c.y}, {c.x + 1, c.y}, {c.x, c.y - 1}, {c.x, c.y + 1}};
        for (int i = 0; i < 4; i++) {
            const uint32_t sad =
                sad_block(block, previous + tries[i].y * stride + tries[i].x, stride);
            if (sad + GAIN < best) {
                best = sad;
                *v = tries[i];
            }
        }
        if (v->x == c.x && v->y == c.y)
            break;
    }
    const uint32_t still = sad_block(block, previous, stride);
    if (still <= best + GAIN) {
        best = still;
        *v = (vector){0, 0};
    }
    return best;
}

void idse_kernels_motion_refine(const uint8_t *current, const uint8_t *previous, int rows, int cols,
                                int16_t *vectors, float *residual, float *activity)
{
    const ptrdiff_t stride = cols * IDSE_MB + 2 * IDSE_FULL_PAD;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const int index = r * cols + c;
            const int x = c * IDSE_MB + IDSE_FULL_PAD, y = r * IDSE_MB + IDSE_FULL_PAD;
            const uint8_t *block = current + y * stride + x, *origin = previous + y * stride + x;
            vector v = {vectors[2 * index], vectors[2 * index + 1]};
            uint32_t sad;
            if (v.x || v.y)
                sad = settle(block, origin, stride, &v);
            else
                sad = sad_block(block, origin, stride);
            vectors[2 * index] = (int16_t)v.x;
            vectors[2 * index + 1] = (int16_t)v.y;
            residual[index] = (float)sad / COUNTED;
            activity[index] = block_activity(block, stride);
        }
}
