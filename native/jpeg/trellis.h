/* From pixels to the quantised coefficients of a JPEG, and how many bytes those take.
 *
 * Blocks are 64 values in natural order (row-major 8x8), row by row of blocks. Coefficients and weights
 * have one array a component, quantised levels one array for all: component by component. Everything
 * is validated by the caller (plugin/idse/codecs/jpeg), unless said otherwise. No function keeps
 * state; those that need scratch memory return IDSE_NO_MEMORY when there is none. */
#ifndef IDSE_TRELLIS_H
#define IDSE_TRELLIS_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum {
    IDSE_OK = 0,
    IDSE_NO_MEMORY = -1,
    IDSE_NOT_FINITE = -2,
    IDSE_NEGATIVE = -3,
};

/* Components with their sampling factors and their blocks, without those that only fill an MCU. */
typedef struct {
    int32_t components;
    int32_t horizontal[3], vertical[3];
    int32_t rows[3], cols[3];
} idse_grid;

/* One scan: which components, which band of zigzag positions, which bits (T.81 G.1.1). Sequential
 * scans have se 63 with ss 0. */
typedef struct {
    int32_t components;
    int32_t component[3];
    int32_t ss, se, ah, al;
} idse_scan;

EXPORT int idse_trellis_abi(void);

/* Colour conversion, downsampling and edges of libjpeg-turbo (its default encoder), then an 8x8 DCT
 * scaled so that a coefficient divided by its table entry is what JPEG codes. `pixels`: `channels`
 * (1 or 3: RGB) bytes a pixel, rows `stride` bytes apart. `out[i]`: rows*cols*64 of component i;
 * `planes[i]`: its samples, without those that only fill blocks. */
EXPORT int idse_trellis_transform(const uint8_t *pixels, ptrdiff_t stride, int width, int height,
                                  int channels, const idse_grid *grid, float *const out[3],
                                  uint8_t *const planes[3]);

/* IDSE_NOT_FINITE where one of `count` values is not, and IDSE_NEGATIVE where one is below 0. */
EXPORT int idse_trellis_check(const float *values, int64_t count);

/* Chooses `levels` that minimise sum of weight * (coefficient - table entry * level)^2 + `lambda` *
 * bits. `tables`: 64 entries for each component. Bits are those of a sequential file with
 * one scan, or of a progressive one where each component's AC is one scan and DC of luma another. */
EXPORT int idse_trellis_run(const idse_grid *grid, const float *const coefficients[3],
                            const float *const weights[3], const uint16_t *tables, float lambda,
                            int progressive, int16_t *levels);

/* About how many bits the levels that idse_trellis_run() chooses will take, from a sample of the blocks:
 * by what factor two settings differ is told better than how large either is. */
EXPORT double idse_trellis_estimate(const idse_grid *grid, const float *const coefficients[3],
                                    const float *const weights[3], const uint16_t *tables,
                                    float lambda, int progressive);

/* The weighted squared error of `levels`. */
EXPORT double idse_trellis_distortion(const idse_grid *grid,
                                      const float *const coefficients[3],
                                      const float *const weights[3], const uint16_t *tables,
                                      const int16_t *levels);

/* Bytes that a scan takes in a file of libjpeg's with optimised Huffman tables: DHT and SOS, which
 * `header` tells alone, and the coded data. `interval`: MCUs between restart markers, or 0. With
 * `exact` 0 neither stuffed bytes nor restart markers are counted, which is faster. */
EXPORT int64_t idse_trellis_scan_bytes(const idse_grid *grid, const int16_t *levels,
                                       const idse_scan *scan, int progressive, int64_t interval,
                                       int exact, int64_t *header);

/* Takes the first `count` blocks in a spread order from `one` and the others from `two`. */
EXPORT void idse_trellis_mix(const int16_t *one, const int16_t *two, int64_t blocks, int64_t count,
                             int16_t *out);

#endif
