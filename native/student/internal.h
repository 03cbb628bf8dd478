/* What the student's sources share. */
#ifndef IDSE_STUDENT_INTERNAL_H
#define IDSE_STUDENT_INTERNAL_H

#include "student.h"

enum {
    STUDENT_BORDER = 2, /* zeros around every buffer: half of the largest kernel */
    STUDENT_LANES = 16, /* channels are padded to whole vectors of the widest machine */
};

/* Rows of pixels of `stride` floats, `channels` of which mean something; the others are 0. */
typedef struct {
    int rows, cols, channels, stride;
    ptrdiff_t row;  /* floats from a row to the next one, borders included */
    float *memory;  /* with its borders */
    float *origin;  /* the first pixel inside */
} student_buffer;

/* A convolution's weights as its kernels read them. */
typedef struct {
    int kernel, stride, inputs, outputs, groups, relu;
    const float *weights, *bias;
} student_conv;

/* What there is once for each instruction set. `lanes`: floats of a vector. */
typedef struct {
    int isa, lanes;
    /* `added`, of the output's shape, is added before negative sums become 0; NULL: nothing is. */
    void (*conv)(const student_conv *conv, const student_buffer *in, const student_buffer *added,
                 student_buffer *out);
    void (*depthwise)(const student_conv *conv, const student_buffer *in, student_buffer *out);
    /* Of buffers whose pixels are whole vectors: any but the input. */
    void (*add)(const student_buffer *a, const student_buffer *b, student_buffer *out, int relu);
    /* sums[x] = the weighted sum of `count` rows */
    void (*sum_rows)(const idse_student_plane *plane, int first, int count, const float *weights,
                     float *sums);
    /* out[i * step] = scale * (the sum of reach samples from first[i]) + offset */
    void (*sum_columns)(const float *sums, const int32_t *first, const float *weights, int reach,
                        int n, float scale, float offset, float *out, ptrdiff_t step);
} student_kernels;

extern const student_kernels student_portable;
#if defined(__x86_64__)
extern const student_kernels student_avx2, student_avx512;
#endif

/* Floats of weights that a full convolution's kernels read: see `student_pack`. */
size_t student_packed_size(const student_conv *conv, int lanes);

/* Orders weights (out, k, k, in) for vectors over output channels: blocks of two vectors while there are
 * as many, then of one; inside a block by tap, input channel, output channel. Missing ones are 0. */
void student_pack(const student_conv *conv, int lanes, const float *weights, float *packed);

/* Orders the weights of a depthwise convolution by tap, channel; missing channels are 0. */
void student_pack_depthwise(const student_conv *conv, const float *weights, float *packed);

/* For each of n outputs: the first input that it covers, and the shares of that and the next ones. */
typedef struct {
    int n_in, n, reach;
    int32_t *first;
    float *weights; /* n * reach */
} student_axis;

/* 0, or -1 where memory is short. An axis that fits already is left as it is. */
int student_axis_fit(student_axis *axis, int n_in, int n);
void student_axis_free(student_axis *axis);

static inline int student_padded(int channels)
{
    return (channels + STUDENT_LANES - 1) / STUDENT_LANES * STUDENT_LANES;
}

#endif
