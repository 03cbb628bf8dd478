#include "kernels.h"

#include <stdlib.h>

enum {
    BLOCK = IDSE_MB / 2,          /* a macroblock on the half-size plane */
    MARGIN = (IDSE_MB - BLOCK) / 2, /* matched with this much around it: 16 samples across */
    REACH = 64,                   /* longest vector component, half-size samples */
    PENALTY = 12,                 /* SAD that one sample of deviation from the predictors costs */
    PENALTY_REACH = 16,           /* deviations beyond this cost no more */
    GOOD = 3 * 256,               /* a SAD below this is not searched further */
    STEPS = 16,                   /* of the last refinement */
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

/* 16x16 sum of absolute differences, in a form that gcc turns into psadbw. */
static inline uint32_t sad16(const uint8_t *restrict a, const uint8_t *restrict b, ptrdiff_t stride)
{
    int sum = 0;
    for (int y = 0; y < 16; y++, a += stride, b += stride)
        for (int x = 0; x < 16; x++)
            sum += abs(a[x] - b[x]);
    return (uint32_t)sum;
}

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

static int try_vector(match *m, int x, int y)
{
    const vector v = {clip(x, m->low.x, m->high.x), clip(y, m->low.y, m->high.y)};
    const uint32_t extra = penalty(m, v);
    if (extra >= m->best_cost)
        return 0;
    const uint32_t sad = sad16(m->block, m->origin + v.y * m->stride + v.x, m->stride);
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
    for (int radius = 16; radius >= 2 && m->best_sad > GOOD; radius /= 2) {
        const vector c = m->best;
        for (int y = -1; y <= 1; y++)
            for (int x = -1; x <= 1; x++)
                if (x || y)
                    try_vector(m, c.x + x * radius, c.y + y * radius);
    }
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

static inline vector at(const int16_t *vectors, int index)
{
    return (vector){vectors[2 * index], vectors[2 * index + 1]};
}

static void try_temporal(match *m, const int16_t *temporal, int r, int c, int rows, int cols)
{
    const int index = r * cols + c;
    const vector same = at(temporal, index);
    try_vector(m, same.x, same.y);
    if (c + 1 < cols) {
        const vector right = at(temporal, index + 1);
        try_vector(m, right.x, right.y);
    }
    if (r + 1 < rows) {
        const vector below = at(temporal, index + cols);
        try_vector(m, below.x, below.y);
    }
}

/* Left, upper and upper-right neighbours, and their median as the predictor (as H.264's). */
static void try_spatial(match *m, const int16_t *vectors, int r, int c, int cols)
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
    try_vector(m, m->predictor.x, m->predictor.y);
    try_vector(m, left.x, left.y);
    try_vector(m, up.x, up.y);
    try_vector(m, corner.x, corner.y);
}

void idse_kernels_motion_search(const uint8_t *current, const uint8_t *previous, int rows, int cols,
                                const int16_t *temporal, const int16_t *hints, int n_hints,
                                int16_t *vectors)
{
    const ptrdiff_t stride = cols * BLOCK + 2 * IDSE_HALF_PAD;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const int index = r * cols + c;
            /* Position of the window in the padded plane. */
            const int x = c * BLOCK - MARGIN + IDSE_HALF_PAD, y = r * BLOCK - MARGIN + IDSE_HALF_PAD;
            const int right = (cols - c) * BLOCK - BLOCK - MARGIN + IDSE_HALF_PAD;
            const int below = (rows - r) * BLOCK - BLOCK - MARGIN + IDSE_HALF_PAD;
            match m = {
                .block = current + y * stride + x,
                .origin = previous + y * stride + x,
                .stride = stride,
                .low = {x < REACH ? -x : -REACH, y < REACH ? -y : -REACH},
                .high = {right < REACH ? right : REACH, below < REACH ? below : REACH},
                .best_sad = UINT32_MAX,
                .best_cost = UINT32_MAX,
            };
            try_spatial(&m, vectors, r, c, cols);
            if (temporal)
                try_temporal(&m, temporal, r, c, rows, cols);
            for (int h = 0; h < n_hints; h++) {
                const vector hint = at(hints, index * n_hints + h);
                try_vector(&m, hint.x, hint.y);
            }
            refine_diamond(&m);
            vectors[2 * index] = (int16_t)m.best.x;
            vectors[2 * index + 1] = (int16_t)m.best.y;
        }
}

static float block_activity(const uint8_t *block, ptrdiff_t stride)
{
    const uint32_t across = sad16(block, block - 1, stride);
    const uint32_t down = sad16(block, block - stride, stride);
    return (float)(across < down ? across : down) / 256.0f;
}

void idse_kernels_motion_refine(const uint8_t *current, const uint8_t *previous, int rows, int cols,
                                int16_t *vectors, float *residual, float *activity)
{
    const ptrdiff_t stride = cols * IDSE_MB + 2 * IDSE_FULL_PAD;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const int index = r * cols + c;
            const ptrdiff_t place = (r * IDSE_MB + IDSE_FULL_PAD) * stride + c * IDSE_MB + IDSE_FULL_PAD;
            const uint8_t *block = current + place;
            const int x = 2 * vectors[2 * index], y = 2 * vectors[2 * index + 1];
            const uint8_t *origin = previous + place + y * stride + x;
            uint32_t best = sad16(block, origin, stride);
            int best_x = x, best_y = y;
            for (int dy = -1; dy <= 1; dy++)
                for (int dx = -1; dx <= 1; dx++) {
                    if (!dx && !dy)
                        continue;
                    /* One sample of gain must exceed what noise alone gives. */
                    const uint32_t sad = sad16(block, origin + dy * stride + dx, stride) + 32;
                    if (sad < best) {
                        best = sad;
                        best_x = x + dx;
                        best_y = y + dy;
                    }
                }
            if (best_x != x || best_y != y)
                best -= 32;
            vectors[2 * index] = (int16_t)best_x;
            vectors[2 * index + 1] = (int16_t)best_y;
            residual[index] = (float)best / 256.0f;
            activity[index] = block_activity(block, stride);
        }
}
