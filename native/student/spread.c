/* From the map of a network to the places that a codec asks about. */
#include "internal.h"

#include <string.h>

/* Once more for AVX2. No fused multiplication: every machine computes the same. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

/* Adds blend * exp(values): to 1e-6 of itself, from e^-87 to e^88 and clipped beyond. The C library's
 * differs between versions and machines. */
WIDE static void add_exponentials(const float *restrict values, int n, float blend,
                                  float *restrict out)
{
    for (int i = 0; i < n; i++) {
        float x = values[i];
        x = x < -87.0f ? -87.0f : x;
        x = x > 88.0f ? 88.0f : x;
        /* x = k log 2 + r; adding 1.5 * 2^23 rounds to a whole number. */
        const float k = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
        const float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
        /* Minimax polynomial of e^r on +-log(2) / 2 (Cephes, expf). */
        float y = 1.9875691500e-4f;
        y = y * r + 1.3981999507e-3f;
        y = y * r + 8.3334519073e-3f;
        y = y * r + 4.1665795894e-2f;
        y = y * r + 1.6666665459e-1f;
        y = y * r + 5.0000001201e-1f;
        y = y * r * r + r + 1.0f;
        const int32_t bits = ((int32_t)k + 127) * (1 << 23);
        float power;
        memcpy(&power, &bits, sizeof(power));
        out[i] += blend * (y * power);
    }
}

/* The cells between whose middles a place lies, and how far it is from the first to the second. */
static void neighbours(float place, int n, int *first, int *second, float *part)
{
    const float last = (float)(n - 1);
    float at = place - 0.5f;
    at = at > 0 ? at : 0; /* not a number is 0 */
    at = at < last ? at : last;
    *first = (int)at;
    *second = *first + 1 < n ? *first + 1 : *first;
    *part = at - (float)*first;
}

void idse_student_spread(const float *map, int rows, int cols, int heads, const float *blend,
                         const float *down, int n_down, const float *across, int n_across,
                         float *scratch, float *out)
{
    memset(out, 0, (size_t)n_down * (size_t)n_across * sizeof(*out));
    float *mixed = scratch, *line = scratch + cols;
    for (int head = 0; head < heads; head++) {
        if (blend[head] == 0)
            continue;
        for (int y = 0; y < n_down; y++) {
            int i, j;
            float part;
            neighbours(down[y], rows, &i, &j, &part);
            for (int x = 0; x < cols; x++) {
                const float above = map[((ptrdiff_t)i * cols + x) * heads + head];
                const float below = map[((ptrdiff_t)j * cols + x) * heads + head];
                mixed[x] = above + (below - above) * part;
            }
            for (int x = 0; x < n_across; x++) {
                neighbours(across[x], cols, &i, &j, &part);
                line[x] = mixed[i] + (mixed[j] - mixed[i]) * part;
            }
            add_exponentials(line, n_across, blend[head], out + (ptrdiff_t)y * n_across);
        }
    }
}
