/* A student: its program, checked once, its weights, and its buffers. */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A step, with what its kernel needs. */
typedef struct {
    idse_student_op op;
    student_conv conv;
    int joined; /* whether a convolution does the addition that is the next step, too */
} step;

struct idse_student {
    const student_kernels *kernels;
    step *steps;
    int n_steps, n_buffers;
    int channels[STUDENT_MAX_BUFFERS]; /* 0: there is no such buffer */
    int map;
    float *weights; /* as packed, and the biases */
    int rows, cols; /* of the input that there are buffers for; 0: there are none */
    student_buffer buffers[STUDENT_MAX_BUFFERS];
    student_axis down[3], across[3];
    float *sums; /* a row of a plane */
    int n_sums;
};

/* Changes with every signature or struct; idse.native checks it at load. */
int idse_student_abi(void)
{
    return 1;
}

__attribute__((format(printf, 3, 4))) static int refuse(char *why, size_t size, const char *format,
                                                        ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(why, size, format, values);
    va_end(values);
    return -1;
}

/* Memory that vectors may be read from and written to. */
static float *allocate(size_t floats)
{
    const size_t bytes = (floats * sizeof(float) + 63) / 64 * 64;
    float *memory = aligned_alloc(64, bytes ? bytes : 64);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

int idse_student_best_isa(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return __builtin_cpu_supports("avx512f") ? STUDENT_AVX512 : STUDENT_AVX2;
#endif
    return STUDENT_PORTABLE;
}

static const student_kernels *kernels_of(int isa)
{
    const int best = idse_student_best_isa();
    if (isa < 0 || isa > best)
        return NULL;
#if defined(__x86_64__)
    if ((isa ? isa : best) == STUDENT_AVX512)
        return &student_avx512;
    if ((isa ? isa : best) == STUDENT_AVX2)
        return &student_avx2;
#endif
    return &student_portable;
}

static int check_conv(const idse_student *s, const idse_student_op *op, int64_t n_weights, int at,
                      char *why, size_t size)
{
    const int inputs = s->channels[op->in0];
    if (op->channels < 1 || op->channels > STUDENT_MAX_CHANNELS)
        return refuse(why, size, "op %d: %d channels are not 1 to %d", at, op->channels,
                      STUDENT_MAX_CHANNELS);
    if ((op->kernel != 1 && op->kernel != 3 && op->kernel != 5) ||
        (op->stride != 1 && op->stride != 2))
        return refuse(why, size, "op %d: kernel %d at stride %d is not 1, 3 or 5 at 1 or 2", at,
                      op->kernel, op->stride);
    if (op->groups != 1 && (op->groups != inputs || op->channels != inputs || op->in0 == 0))
        return refuse(why, size,
                      "op %d: %d groups from %d to %d channels are not 1, nor one each of a buffer "
                      "other than the input",
                      at, op->groups, inputs, op->channels);
    const int64_t needed =
        (int64_t)op->channels * op->kernel * op->kernel * (inputs / op->groups);
    if (op->weight < 0 || op->weight > n_weights || needed > n_weights - op->weight ||
        op->bias < 0 || op->bias > n_weights || op->channels > n_weights - op->bias)
        return refuse(why, size, "op %d: its weights lie outside of the %lld that there are", at,
                      (long long)n_weights);
    return 0;
}

/* Checks a step and notes the channels of its output. */
static int check_op(idse_student *s, const idse_student_op *op, int64_t n_weights, int at,
                    char *why, size_t size)
{
    const int two = op->kind == STUDENT_ADD || op->kind == STUDENT_CONCAT;
    if (op->kind < STUDENT_CONV || op->kind > STUDENT_MEAN)
        return refuse(why, size, "op %d: its kind %d is unknown", at, op->kind);
    const int sources[2] = {op->in0, two ? op->in1 : op->in0};
    for (int i = 0; i < 2; i++)
        if (sources[i] < 0 || sources[i] >= STUDENT_MAX_BUFFERS || !s->channels[sources[i]])
            return refuse(why, size, "op %d: buffer %d has not been written", at, sources[i]);
    if (op->out < 0 || op->out >= STUDENT_MAX_BUFFERS || s->channels[op->out])
        return refuse(why, size, "op %d: buffer %d is not a new one below %d", at, op->out,
                      STUDENT_MAX_BUFFERS);
    int channels = s->channels[sources[0]];
    if (op->kind == STUDENT_CONV) {
        if (check_conv(s, op, n_weights, at, why, size))
            return -1;
        channels = op->channels;
    } else if (op->kind == STUDENT_ADD && channels != s->channels[op->in1]) {
        return refuse(why, size, "op %d: %d and %d channels cannot be added", at, channels,
                      s->channels[op->in1]);
    } else if (op->kind == STUDENT_CONCAT) {
        channels += s->channels[op->in1];
        if (channels > STUDENT_MAX_CHANNELS)
            return refuse(why, size, "op %d: %d channels are more than %d", at, channels,
                          STUDENT_MAX_CHANNELS);
    }
    s->channels[op->out] = channels;
    if (op->out >= s->n_buffers)
        s->n_buffers = op->out + 1;
    return 0;
}

/* A vector's worth more than a multiple of it: each array begins where vectors may. */
static size_t rounded(size_t floats)
{
    return (floats + STUDENT_LANES - 1) / STUDENT_LANES * STUDENT_LANES;
}

static size_t conv_size(const student_conv *conv, int lanes)
{
    if (conv->groups == 1)
        return rounded(student_packed_size(conv, lanes));
    return (size_t)(conv->kernel * conv->kernel * student_padded(conv->outputs));
}

/* Packs every convolution's weights and copies its bias. */
static int pack_all(idse_student *s, const float *weights)
{
    const int lanes = s->kernels->lanes;
    size_t total = 0;
    for (int i = 0; i < s->n_steps; i++) {
        const idse_student_op *op = &s->steps[i].op;
        if (op->kind != STUDENT_CONV)
            continue;
        s->steps[i].conv = (student_conv){.kernel = op->kernel,
                                          .stride = op->stride,
                                          .inputs = s->channels[op->in0],
                                          .outputs = op->channels,
                                          .groups = op->groups,
                                          .relu = op->relu != 0};
        total += conv_size(&s->steps[i].conv, lanes) + (size_t)student_padded(op->channels);
    }
    s->weights = allocate(total);
    if (!s->weights)
        return -1;
    float *next = s->weights;
    for (int i = 0; i < s->n_steps; i++) {
        const idse_student_op *op = &s->steps[i].op;
        student_conv *conv = &s->steps[i].conv;
        if (op->kind != STUDENT_CONV)
            continue;
        if (conv->groups == 1)
            student_pack(conv, lanes, weights + op->weight, next);
        else
            student_pack_depthwise(conv, weights + op->weight, next);
        conv->weights = next;
        next += conv_size(conv, lanes);
        memcpy(next, weights + op->bias, (size_t)op->channels * sizeof(*next));
        conv->bias = next;
        next += student_padded(op->channels);
    }
    return 0;
}

static int build(idse_student *s, const idse_student_op *ops, int n_ops, const float *weights,
                 int64_t n_weights, int isa, char *why, size_t size)
{
    s->kernels = kernels_of(isa);
    if (!s->kernels)
        return refuse(why, size, "this machine lacks instruction set %d", isa);
    if (n_ops < 1 || n_ops > STUDENT_MAX_OPS)
        return refuse(why, size, "a program of %d ops is not one of 1 to %d", n_ops,
                      STUDENT_MAX_OPS);
    if (n_weights < 0 || n_weights > STUDENT_MAX_WEIGHTS)
        return refuse(why, size, "%lld weights are more than %d", (long long)n_weights,
                      STUDENT_MAX_WEIGHTS);
    s->channels[0] = STUDENT_INPUT_CHANNELS;
    s->n_buffers = 1;
    s->steps = calloc((size_t)n_ops, sizeof(*s->steps));
    if (!s->steps)
        return refuse(why, size, "no memory for %d ops", n_ops);
    s->n_steps = n_ops;
    for (int i = 0; i < n_ops; i++) {
        if (check_op(s, &ops[i], n_weights, i, why, size))
            return -1;
        s->steps[i].op = ops[i];
    }
    if (s->map < 0 || s->map >= STUDENT_MAX_BUFFERS || !s->channels[s->map])
        return refuse(why, size, "buffer %d of the map has not been written", s->map);
    if (pack_all(s, weights))
        return refuse(why, size, "no memory for %lld weights", (long long)n_weights);
    return 0;
}

idse_student *idse_student_new(const idse_student_op *ops, int n_ops, const float *weights,
                               int64_t n_weights, int map, int isa, char *why, size_t why_size)
{
    idse_student *s = calloc(1, sizeof(*s));
    if (!s) {
        refuse(why, why_size, "no memory");
        return NULL;
    }
    s->map = map;
    if (build(s, ops, n_ops, weights, n_weights, isa, why, why_size)) {
        idse_student_free(s);
        return NULL;
    }
    return s;
}

static void drop_buffers(idse_student *s)
{
    for (int i = 0; i < STUDENT_MAX_BUFFERS; i++) {
        free(s->buffers[i].memory);
        s->buffers[i] = (student_buffer){0};
    }
    s->rows = s->cols = 0;
}

void idse_student_free(idse_student *s)
{
    if (!s)
        return;
    drop_buffers(s);
    for (int i = 0; i < 3; i++) {
        student_axis_free(&s->down[i]);
        student_axis_free(&s->across[i]);
    }
    free(s->sums);
    free(s->weights);
    free(s->steps);
    free(s);
}

static size_t buffer_floats(const student_buffer *b)
{
    return (size_t)(b->rows + 2 * STUDENT_BORDER) * (size_t)(b->cols + 2 * STUDENT_BORDER) *
           (size_t)b->stride;
}

/* Tells whether two buffers can be added or concatenated. */
static int fits(const idse_student_op *op, const student_buffer *a, const student_buffer *b)
{
    const int single = op->kind == STUDENT_ADD && b->rows == 1 && b->cols == 1;
    return single || (a->rows == b->rows && a->cols == b->cols);
}

/* Finds the sides of every buffer, and whether what is combined fits together. */
static int shape_buffers(idse_student *s, int rows, int cols, char *why, size_t size)
{
    student_buffer *b = s->buffers;
    b[0] = (student_buffer){.rows = rows, .cols = cols, .channels = STUDENT_INPUT_CHANNELS,
                            .stride = STUDENT_INPUT_CHANNELS};
    size_t total = buffer_floats(&b[0]);
    for (int i = 0; i < s->n_steps; i++) {
        const idse_student_op *op = &s->steps[i].op;
        const student_buffer *from = &b[op->in0];
        student_buffer *to = &b[op->out];
        *to = (student_buffer){.rows = from->rows, .cols = from->cols,
                               .channels = s->channels[op->out],
                               .stride = student_padded(s->channels[op->out])};
        if (op->kind == STUDENT_CONV) {
            to->rows = (from->rows + op->stride - 1) / op->stride;
            to->cols = (from->cols + op->stride - 1) / op->stride;
        } else if (op->kind == STUDENT_UPSAMPLE) {
            to->rows *= 2;
            to->cols *= 2;
        } else if (op->kind == STUDENT_MEAN) {
            to->rows = to->cols = 1;
        } else if (!fits(op, from, &b[op->in1])) {
            return refuse(why, size, "op %d: buffers of %dx%d and %dx%d cannot be combined", i,
                          from->rows, from->cols, b[op->in1].rows, b[op->in1].cols);
        }
        if (to->rows > STUDENT_MAX_SIDE || to->cols > STUDENT_MAX_SIDE)
            return refuse(why, size, "op %d: a buffer of %dx%d is larger than %d", i, to->rows,
                          to->cols, STUDENT_MAX_SIDE);
        total += buffer_floats(to);
        if (total > STUDENT_MAX_BYTES / sizeof(float))
            return refuse(why, size, "op %d: an input of %dx%d needs more than %d bytes", i, rows,
                          cols, STUDENT_MAX_BYTES);
    }
    return 0;
}

static int make_buffers(idse_student *s, char *why, size_t size)
{
    for (int i = 0; i < s->n_buffers; i++) {
        student_buffer *b = &s->buffers[i];
        if (!b->stride)
            continue; /* no such number */
        b->row = (ptrdiff_t)(b->cols + 2 * STUDENT_BORDER) * b->stride;
        b->memory = allocate(buffer_floats(b));
        if (!b->memory)
            return refuse(why, size, "no memory for a buffer of %dx%dx%d", b->rows, b->cols,
                          b->stride);
        b->origin = b->memory + STUDENT_BORDER * (b->row + b->stride);
    }
    return 0;
}

/* Tells whether a step reads a buffer. */
static int reads(const idse_student_op *op, int buffer)
{
    const int two = op->kind == STUDENT_ADD || op->kind == STUDENT_CONCAT;
    return op->in0 == buffer || (two && op->in1 == buffer);
}

/* Finds convolutions whose result is only added to something of its shape, right away: what has just
 * been computed is then added before it leaves the registers. */
static void join_additions(idse_student *s)
{
    for (int i = 0; i < s->n_steps; i++) {
        const idse_student_op *op = &s->steps[i].op;
        s->steps[i].joined = 0;
        if (op->kind != STUDENT_CONV || op->groups != 1 || op->relu || op->out == s->map ||
            i + 1 == s->n_steps || s->steps[i + 1].op.kind != STUDENT_ADD)
            continue;
        const idse_student_op *sum = &s->steps[i + 1].op;
        const int other = sum->in0 == op->out ? sum->in1 : sum->in0;
        const student_buffer *a = &s->buffers[op->out], *b = &s->buffers[other];
        int readers = 0;
        for (int k = 0; k < s->n_steps; k++)
            readers += reads(&s->steps[k].op, op->out);
        /* Neither the input, whose pixels are no whole vectors, nor a sum with itself. */
        s->steps[i].joined = readers == 1 && reads(sum, op->out) && other != 0 &&
                             other != op->out && a->rows == b->rows && a->cols == b->cols;
        s->steps[i].conv.relu = s->steps[i].joined ? sum->relu != 0 : op->relu != 0;
    }
}

int idse_student_fit(idse_student *s, int rows, int cols, idse_student_shape *shape, char *why,
                     size_t why_size)
{
    if (rows < 1 || cols < 1 || rows > STUDENT_MAX_SIDE || cols > STUDENT_MAX_SIDE)
        return refuse(why, why_size, "an input of %dx%d is not one of 1 to %d", rows, cols,
                      STUDENT_MAX_SIDE);
    if (s->rows != rows || s->cols != cols) {
        drop_buffers(s);
        if (shape_buffers(s, rows, cols, why, why_size) || make_buffers(s, why, why_size)) {
            drop_buffers(s);
            return -1;
        }
        join_additions(s);
        s->rows = rows;
        s->cols = cols;
    }
    const student_buffer *map = &s->buffers[s->map];
    *shape = (idse_student_shape){.rows = map->rows, .cols = map->cols, .heads = map->channels};
    return 0;
}

/* Writes a plane into the input. A turned picture's first output lies in another corner, and its
 * neighbours in another direction. */
static int fill_plane(idse_student *s, const idse_student_plane *plane, int channel, int turns)
{
    const student_buffer *in = &s->buffers[0];
    const int aside = turns & 1;
    const int rows = aside ? in->cols : in->rows, cols = aside ? in->rows : in->cols;
    const ptrdiff_t y = in->row, x = in->stride;
    const ptrdiff_t steps[4][2] = {{y, x}, {x, -y}, {-y, -x}, {-x, y}};
    const ptrdiff_t down = steps[turns][0], right = steps[turns][1];
    float *out = in->origin + channel;
    if (turns == 1 || turns == 2)
        out += (in->rows - 1) * y;
    if (turns == 2 || turns == 3)
        out += (in->cols - 1) * x;
    if (!plane->samples) {
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < cols; j++)
                out[i * down + j * right] = plane->offset;
        return 0;
    }
    student_axis *vertical = &s->down[channel], *horizontal = &s->across[channel];
    if (student_axis_fit(vertical, plane->height, rows) ||
        student_axis_fit(horizontal, plane->width, cols))
        return -1;
    if (s->n_sums < plane->width) {
        free(s->sums);
        s->sums = allocate((size_t)plane->width);
        s->n_sums = s->sums ? plane->width : 0;
        if (!s->sums)
            return -1;
    }
    for (int i = 0; i < rows; i++) {
        s->kernels->sum_rows(plane, vertical->first[i], vertical->reach,
                             vertical->weights + (ptrdiff_t)i * vertical->reach, s->sums);
        s->kernels->sum_columns(s->sums, horizontal->first, horizontal->weights, horizontal->reach,
                                cols, plane->scale, plane->offset, out + i * down, right);
    }
    return 0;
}

static float *pixel(const student_buffer *b, int y, int x)
{
    return b->origin + y * b->row + (ptrdiff_t)x * b->stride;
}

/* Steps that move or add pixels. */
static void upsample(const student_buffer *in, student_buffer *out)
{
    const size_t size = (size_t)in->channels * sizeof(float);
    for (int y = 0; y < out->rows; y++)
        for (int x = 0; x < out->cols; x++)
            memcpy(pixel(out, y, x), pixel(in, y / 2, x / 2), size);
}

static void concatenate(const student_buffer *a, const student_buffer *b, student_buffer *out)
{
    for (int y = 0; y < out->rows; y++)
        for (int x = 0; x < out->cols; x++) {
            float *to = pixel(out, y, x);
            memcpy(to, pixel(a, y, x), (size_t)a->channels * sizeof(*to));
            memcpy(to + a->channels, pixel(b, y, x), (size_t)b->channels * sizeof(*to));
        }
}

/* Where the input is one of the summands. */
static void add_pixels(const student_buffer *a, const student_buffer *b, student_buffer *out,
                       int relu)
{
    const int single = b->rows == 1 && b->cols == 1;
    for (int y = 0; y < out->rows; y++)
        for (int x = 0; x < out->cols; x++) {
            const float *first = pixel(a, y, x), *second = single ? b->origin : pixel(b, y, x);
            float *to = pixel(out, y, x);
            for (int c = 0; c < out->channels; c++) {
                const float sum = first[c] + second[c];
                to[c] = relu && !(sum > 0) ? 0 : sum;
            }
        }
}

static void mean(const student_buffer *in, student_buffer *out)
{
    float *to = out->origin;
    memset(to, 0, (size_t)out->channels * sizeof(*to));
    for (int y = 0; y < in->rows; y++)
        for (int x = 0; x < in->cols; x++) {
            const float *from = pixel(in, y, x);
            for (int c = 0; c < in->channels; c++)
                to[c] += from[c];
        }
    for (int c = 0; c < out->channels; c++)
        to[c] /= (float)(in->rows * in->cols);
}

static void copy_out(const student_buffer *b, float *out)
{
    for (int y = 0; y < b->rows; y++)
        for (int x = 0; x < b->cols; x++, out += b->channels)
            memcpy(out, pixel(b, y, x), (size_t)b->channels * sizeof(*out));
}

/* A convolution, and the addition after it. */
static void take_joined(idse_student *s, const step *now)
{
    const idse_student_op *sum = &now[1].op;
    const int other = sum->in0 == now->op.out ? sum->in1 : sum->in0;
    s->kernels->conv(&now->conv, &s->buffers[now->op.in0], &s->buffers[other],
                     &s->buffers[sum->out]);
}

static void take(idse_student *s, const step *now)
{
    const idse_student_op *op = &now->op;
    const student_buffer *in = &s->buffers[op->in0];
    student_buffer *out = &s->buffers[op->out];
    if (op->kind == STUDENT_CONV && now->conv.groups == 1)
        s->kernels->conv(&now->conv, in, NULL, out);
    else if (op->kind == STUDENT_CONV)
        s->kernels->depthwise(&now->conv, in, out);
    else if (op->kind == STUDENT_UPSAMPLE)
        upsample(in, out);
    else if (op->kind == STUDENT_ADD)
        (op->in0 && op->in1 ? s->kernels->add : add_pixels)(in, &s->buffers[op->in1], out,
                                                             op->relu);
    else if (op->kind == STUDENT_CONCAT)
        concatenate(in, &s->buffers[op->in1], out);
    else
        mean(in, out);
}

int idse_student_run(idse_student *s, const idse_student_plane planes[3], int turns, float *map)
{
    for (int i = 0; i < 3; i++)
        if (fill_plane(s, &planes[i], i, turns))
            return -1;
    for (int i = 0; i < s->n_steps; i++)
        if (s->steps[i].joined)
            take_joined(s, &s->steps[i++]);
        else
            take(s, &s->steps[i]);
    copy_out(&s->buffers[s->map], map);
    return 0;
}
