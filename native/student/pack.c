/* Weights in the order in which kernels read them. */
#include "internal.h"

#include <string.h>

static int covered(const student_conv *conv, int lanes)
{
    return (conv->outputs + lanes - 1) / lanes * lanes;
}

size_t student_packed_size(const student_conv *conv, int lanes)
{
    return (size_t)(conv->kernel * conv->kernel * conv->inputs) * (size_t)covered(conv, lanes);
}

void student_pack(const student_conv *conv, int lanes, const float *weights, float *packed)
{
    const int taps = conv->kernel * conv->kernel * conv->inputs;
    for (int channel = 0; channel < conv->outputs;) {
        const int block = conv->outputs - channel > lanes ? 2 * lanes : lanes;
        for (int t = 0; t < taps; t++)
            for (int k = 0; k < block; k++) {
                const int output = channel + k;
                *packed++ = output < conv->outputs ? weights[(ptrdiff_t)output * taps + t] : 0;
            }
        channel += block;
    }
}

void student_pack_depthwise(const student_conv *conv, const float *weights, float *packed)
{
    const int taps = conv->kernel * conv->kernel, channels = student_padded(conv->outputs);
    memset(packed, 0, (size_t)taps * (size_t)channels * sizeof(*packed));
    for (int c = 0; c < conv->outputs; c++)
        for (int t = 0; t < taps; t++)
            packed[(ptrdiff_t)t * channels + c] = weights[(ptrdiff_t)c * taps + t];
}
