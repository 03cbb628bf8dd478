/* Runs a student: a small network that predicts what matters in a picture, from the decoded planes to a
 * map, on one core and with the memory of one handle.
 *
 * A program is untrusted: it comes from a file. `idse_student_new` checks all of it, so that running it
 * stays inside its buffers. A handle is used by one thread at a time.
 *
 * Every output is summed up in the same order, by fused multiplications, whatever the width of the
 * machine's vectors: AVX2 and AVX-512 give the same bits. The portable code, for machines without
 * FMA, does not fuse and differs in the last digits. */
#ifndef IDSE_STUDENT_H
#define IDSE_STUDENT_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum {
    STUDENT_MAX_OPS = 256,
    STUDENT_MAX_BUFFERS = 256,
    STUDENT_MAX_CHANNELS = 1024,
    STUDENT_MAX_SIDE = 8192,            /* of the network's input */
    STUDENT_MAX_BYTES = 256 << 20,      /* of all buffers together */
    STUDENT_MAX_WEIGHTS = 16 << 20,     /* floats */
    STUDENT_INPUT_CHANNELS = 3,
};

enum { /* idse_student_op.kind */
    STUDENT_CONV = 0,
    STUDENT_UPSAMPLE = 1,
    STUDENT_ADD = 2, /* the second buffer may be 1x1: it is added everywhere */
    STUDENT_CONCAT = 3,
    STUDENT_MEAN = 4,
};

enum { /* instruction sets, best last; 0 asks for the best that there is */
    STUDENT_PORTABLE = 1,
    STUDENT_AVX2 = 2,
    STUDENT_AVX512 = 3,
};

/* One step. `weight` and `bias` are where a convolution's (out, k, k, in / groups) and (out) numbers
 * begin among all of the program's; unused fields are 0. */
typedef struct {
    int32_t kind, in0, in1, out;
    int32_t channels; /* of the output of a convolution */
    int32_t kernel, stride, groups, relu;
    int32_t reserved;
    int64_t weight, bias;
} idse_student_op;

/* A plane of a picture: 8-bit samples, or 16-bit ones. The network sees samples * scale + offset;
 * where `samples` is NULL, offset everywhere. */
typedef struct {
    const void *samples;
    ptrdiff_t stride; /* bytes between rows */
    int32_t width, height, sample_bytes;
    float scale, offset;
} idse_student_plane;

/* Height, width and channels of the map. */
typedef struct {
    int32_t rows, cols, heads;
} idse_student_shape;

typedef struct idse_student idse_student;

EXPORT int idse_student_abi(void);

/* The best instruction set of this machine. */
EXPORT int idse_student_best_isa(void);

/* Takes a program, whose result is buffer `map`, and copies its weights. NULL, and the reason in `why`,
 * where it makes no sense, the machine lacks `isa`, or memory is short. */
EXPORT idse_student *idse_student_new(const idse_student_op *ops, int n_ops, const float *weights,
                                      int64_t n_weights, int map, int isa, char *why,
                                      size_t why_size);

EXPORT void idse_student_free(idse_student *student);

/* Makes buffers for an input of this size and tells the map's shape. 0, or -1 and the reason. */
EXPORT int idse_student_fit(idse_student *student, int rows, int cols, idse_student_shape *shape,
                            char *why, size_t why_size);

/* Runs the network over a picture. `turns`: quarter turns, counter-clockwise, by which the picture is
 * shown; the input that `idse_student_fit` was called for is that of the turned picture. `map`:
 * rows*cols*heads, as shown. 0, or -1 where memory is short. */
EXPORT int idse_student_run(idse_student *student, const idse_student_plane planes[3], int turns,
                            float *map);

/* Interpolates the logarithms of a map (rows*cols*heads) at each (down, across): places in units of its
 * cells' sides, cell i reaching from i to i + 1. `out` (n_down*n_across) gets the sum over heads of
 * blend * exp(interpolated). The same bits on every machine. */
EXPORT void idse_student_spread(const float *map, int rows, int cols, int heads, const float *blend,
                                const float *down, int n_down, const float *across, int n_across,
                                float *scratch, float *out);

#endif
