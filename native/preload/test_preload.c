/* The pieces, and a real libx264 behind the interposed functions where the system has one; meant to
 * run under ASan and UBSan. The sidecar is a thread of this process. */
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "encoder.h"

static int failures;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __func__, __LINE__, #condition);              \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

enum { WIDTH = 80, HEIGHT = 48, PICTURES = 40, MACROBLOCKS = 15 };

void *x264_encoder_open_164(struct param *param);
int x264_encoder_encode(void *handle, void **nals, int *count, struct picture *picture,
                        struct picture *out);
int x264_encoder_delayed_frames(void *handle);
int x264_encoder_maximum_delayed_frames(void *handle);
void x264_encoder_close(void *handle);

static struct idse_hello small(void)
{
    return (struct idse_hello){.width = WIDTH,
                               .height = HEIGHT,
                               .chroma = IDSE_420,
                               .bit_depth = 8,
                               .mb_cols = 5,
                               .mb_rows = 3,
                               .slots = 4,
                               .flags = IDSE_WEIGHTS};
}

/* A picture whose rows are `gap` bytes longer than they need be. */
static struct picture noise(uint8_t *memory, int csp, int gap)
{
    struct picture picture = {.image = {.csp = csp}};
    const int planes = csp == CSP_NV12 || csp == CSP_NV21 ? 2 : 3;
    picture.image.planes = planes;
    for (int i = 0; i < planes; i++) {
        const int row = i && planes == 3 ? WIDTH / 2 : WIDTH;
        picture.image.stride[i] = row + gap;
        picture.image.plane[i] = memory;
        memory += (row + gap) * (i ? HEIGHT / 2 : HEIGHT);
    }
    return picture;
}

static void test_ring(void)
{
    const struct idse_hello hello = small();
    CHECK(idse_slot_bytes(&hello) % IDSE_SLOT_ALIGN == 0);
    struct ring *ring = idse_ring_new(&hello);
    CHECK(ring != NULL);
    CHECK(ftruncate(ring->file, 10) != 0); /* sealed */
    CHECK(ftruncate(ring->file, (off_t)ring->bytes * 2) != 0);
    uint8_t *memory = malloc((WIDTH + 8) * HEIGHT * 2);
    for (int i = 0; i < (WIDTH + 8) * HEIGHT * 2; i++)
        memory[i] = (uint8_t)(i * 7 ^ i >> 5);
    static const int CSPS[] = {CSP_I420, CSP_YV12, CSP_I420 | CSP_VFLIP};
    for (int slot = 0; slot < 3; slot++) {
        CHECK(idse_ring_take(ring) == slot);
        const struct picture picture = noise(memory, CSPS[slot], 8);
        struct picture stored;
        idse_ring_store(ring, slot, &picture, &stored);
        const bool flipped = CSPS[slot] & CSP_VFLIP;
        for (int plane = 0; plane < 3; plane++) {
            const int rows = plane ? HEIGHT / 2 : HEIGHT, row = plane ? WIDTH / 2 : WIDTH;
            for (int y = 0; y < rows; y++) {
                const int from = flipped ? rows - 1 - y : y;
                CHECK(memcmp(stored.image.plane[plane] + y * stored.image.stride[plane],
                             picture.image.plane[plane] + from * picture.image.stride[plane],
                             (size_t)row) == 0);
            }
        }
        /* Cb is before Cr in memory, whatever the application's order. */
        CHECK((stored.image.plane[1] < stored.image.plane[2]) == (CSPS[slot] != CSP_YV12));
    }
    CHECK(idse_ring_take(ring) == 3);
    CHECK(idse_ring_take(ring) == -1);
    idse_ring_give(ring, 1);
    CHECK(idse_ring_take(ring) == 1);
    idse_ring_drop(idse_ring_use(ring));
    idse_ring_drop(ring);
    free(memory);
}

static void test_descriptions(void)
{
    struct idse_hello hello = small();
    CHECK(idse_describe(CSP_NV21, &hello) && hello.arrangement == IDSE_PAIRS_CR_CB);
    CHECK(!idse_describe(CSP_I420 | CSP_HIGH_DEPTH, &hello));
    CHECK(!idse_describe(0x0e, &hello)); /* BGR */
    hello.bit_depth = 10;
    CHECK(idse_describe(CSP_I444 | CSP_HIGH_DEPTH, &hello) && hello.chroma == IDSE_444);
}

static int freed;

static void count_free(void *memory)
{
    freed++;
    free(memory);
}

static void test_hold(void)
{
    const struct idse_hello hello = small();
    struct ring *ring = idse_ring_new(&hello);
    struct hold *hold = calloc(1, sizeof(*hold));
    uint8_t *memory = calloc(WIDTH * HEIGHT * 2, 1);
    for (int i = 0; i < 6; i++) {
        /* Beyond the ring's slots, and of another arrangement: in memory of their own. */
        struct picture picture = noise(memory, i == 1 ? CSP_NV12 : CSP_I420, 0);
        picture.pts = i;
        picture.quant_offsets = calloc(MACROBLOCKS, sizeof(float));
        picture.quant_offsets[3] = (float)i;
        picture.quant_offsets_free = count_free;
        picture.mb_info = malloc(1);
        picture.mb_info_free = count_free;
        CHECK(idse_hold(hold, ring, &picture, MACROBLOCKS) != NULL);
    }
    CHECK(freed == 6);
    struct picture packed = noise(memory, 0x0f, 0);
    CHECK(idse_hold(hold, ring, &packed, MACROBLOCKS) == NULL);
    struct held *head = idse_hold_head(hold);
    CHECK(head->picture.pts == 0 && head->ring == ring);
    free(head->picture.quant_offsets);
    count_free(head->picture.mb_info);
    idse_hold_taken(hold);
    CHECK(idse_hold_head(hold)->ring != ring);
    CHECK(idse_hold_head(hold)->picture.quant_offsets[3] == 1);
    idse_hold_clear(hold);
    CHECK(freed == 12 && idse_hold_head(hold) == NULL);
    idse_ring_drop(ring);
    free(hold);
    free(memory);
}

static void test_offsets_file(const char *path)
{
    struct offsets_file offsets;
    const uint32_t head[6] = {0x45534449, 0x314f5051, 5, 3, 2, 0};
    float values[2 * MACROBLOCKS], read[MACROBLOCKS];
    for (int i = 0; i < 2 * MACROBLOCKS; i++)
        values[i] = (float)i / 4;
    CHECK(idse_offsets_open(&offsets, path, 5, 3) != NULL); /* there is none */
    FILE *file = fopen(path, "wb");
    fwrite(head, sizeof(head), 1, file);
    fwrite(values, sizeof(values), 1, file);
    fclose(file);
    CHECK(idse_offsets_open(&offsets, path, 4, 3) != NULL);
    CHECK(idse_offsets_open(&offsets, path, 5, 3) == NULL);
    CHECK(idse_offsets_read(&offsets, 1, read) && read[2] == values[MACROBLOCKS + 2]);
    CHECK(!idse_offsets_read(&offsets, 2, read));
    CHECK(truncate(path, 100) == 0); /* while it is in use */
    CHECK(!idse_offsets_read(&offsets, 1, read));
    idse_offsets_close(&offsets);
    CHECK(idse_offsets_open(&offsets, "/dev/null", 5, 3) != NULL);
    unlink(path);
}

/* -- a sidecar */

struct sidecar {
    int listener;
    int lookahead;
    int misbehave_after; /* answers; -1: never */
    struct idse_message nonsense;
    int connections, frames;
};

static bool read_whole(int from, void *into, size_t size)
{
    return recv(from, into, size, MSG_WAITALL) == (ssize_t)size;
}

static void answer(int connection, uint8_t *ring, const struct idse_hello *hello,
                   const struct idse_frame *frame)
{
    float *offsets = (float *)(void *)(ring + frame->slot * idse_slot_bytes(hello) +
                                       idse_offsets_at(hello));
    for (int i = 0; i < MACROBLOCKS; i++)
        offsets[i] = (float)(frame->index % 5);
    struct idse_message told = {
        .magic = IDSE_MAGIC, .version = IDSE_PROTOCOL_VERSION, .type = IDSE_OFFSETS};
    told.body.offsets.index = frame->index;
    told.body.offsets.slot = frame->slot;
    send(connection, &told, sizeof(told), MSG_NOSIGNAL);
}

static void serve(struct sidecar *sidecar, int connection)
{
    struct idse_message in;
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&in, sizeof(in)};
    struct msghdr all = {.msg_iov = &part, .msg_iovlen = 1};
    all.msg_control = control;
    all.msg_controllen = sizeof(control);
    if (recvmsg(connection, &all, MSG_WAITALL) != (ssize_t)sizeof(in))
        return;
    int memory;
    memcpy(&memory, CMSG_DATA(CMSG_FIRSTHDR(&all)), sizeof(memory));
    const struct idse_hello hello = in.body.hello;
    struct stat facts;
    CHECK(fstat(memory, &facts) == 0 && (uint64_t)facts.st_size == idse_ring_bytes(&hello));
    const size_t size = idse_ring_bytes(&hello);
    uint8_t *ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    close(memory);
    char options[IDSE_MAX_OPTIONS];
    CHECK(hello.options_length == 0 || read_whole(connection, options, hello.options_length));
    struct idse_message told = {
        .magic = IDSE_MAGIC, .version = IDSE_PROTOCOL_VERSION, .type = IDSE_WELCOME};
    told.body.welcome.lookahead = hello.flags & IDSE_LIVE ? 0 : (uint32_t)sidecar->lookahead;
    send(connection, &told, sizeof(told), MSG_NOSIGNAL);
    struct idse_frame pending[IDSE_MAX_SLOTS];
    int count = 0, answered = 0;
    while (read_whole(connection, &in, sizeof(in)) && in.type != IDSE_BYE) {
        if (in.type == IDSE_FRAME) {
            pending[count++] = in.body.frame;
            sidecar->frames++;
        }
        const int keep = in.type == IDSE_END ? 0 : sidecar->lookahead;
        for (; count > keep; count--) {
            if (answered++ == sidecar->misbehave_after)
                send(connection, &sidecar->nonsense, sizeof(in), MSG_NOSIGNAL);
            answer(connection, ring, &hello, &pending[0]);
            memmove(pending, pending + 1, sizeof(pending) - sizeof(*pending));
        }
    }
    munmap(ring, size);
}

static void *accept_all(void *given)
{
    struct sidecar *sidecar = given;
    int connection;
    while ((connection = accept(sidecar->listener, NULL, NULL)) >= 0) {
        sidecar->connections++;
        serve(sidecar, connection);
        close(connection);
    }
    return NULL;
}

/* -- a real encoder */

static void (*param_default)(struct param *);
static int (*param_parse)(struct param *, const char *, const char *);

static bool find_x264(void)
{
    void *library = dlopen("libx264.so.164", RTLD_NOW | RTLD_GLOBAL);
    if (!library)
        return false;
    void *found = dlsym(library, "x264_param_default");
    memcpy(&param_default, &found, sizeof(found));
    found = dlsym(library, "x264_param_parse");
    memcpy(&param_parse, &found, sizeof(found));
    return true;
}

static void *open_one(void)
{
    struct param param;
    param_default(&param);
    param_parse(&param, "log", "-1");
    param_parse(&param, "threads", "2");
    param_parse(&param, "lookahead-threads", "1");
    param_parse(&param, "rc-lookahead", "8");
    param.width = WIDTH;
    param.height = HEIGHT;
    return x264_encoder_open_164(&param);
}

struct totals {
    int in, out, most_delayed;
    uint64_t bytes;
};

/* Encodes pictures, each with offsets, messages and an opaque pointer of its own. */
static struct totals encode_all(void *handle)
{
    struct totals sum = {0};
    static int tags[PICTURES];
    uint8_t *memory = malloc(WIDTH * HEIGHT * 2);
    for (int i = 0; sum.out < PICTURES && i < 4 * PICTURES; i++) {
        struct picture picture = {0}, out;
        if (i < PICTURES) {
            for (int k = 0; k < WIDTH * HEIGHT * 2; k++)
                memory[k] = (uint8_t)((k * 31 + i * 5) ^ k >> 6);
            picture = noise(memory, CSP_I420, 0);
            picture.pts = 3 * i;
            picture.opaque = &tags[i];
            picture.quant_offsets = calloc(MACROBLOCKS, sizeof(float));
            picture.quant_offsets_free = count_free;
            picture.sei.count = 1;
            picture.sei.payloads = calloc(1, sizeof(*picture.sei.payloads));
            picture.sei.payloads[0].payload = calloc(20, 1);
            picture.sei.payloads[0].size = 20;
            picture.sei.payloads[0].type = 5;
            picture.sei.free = count_free;
        }
        void *nals;
        int count = 0;
        const int size =
            x264_encoder_encode(handle, &nals, &count, i < PICTURES ? &picture : NULL, &out);
        CHECK(size >= 0);
        sum.in += i < PICTURES;
        sum.bytes += (uint64_t)size;
        if (count) {
            CHECK(out.opaque == &tags[out.pts / 3]);
            sum.out++;
        }
        const int delayed = x264_encoder_delayed_frames(handle);
        CHECK(delayed == sum.in - sum.out);
        CHECK(delayed <= x264_encoder_maximum_delayed_frames(handle));
        sum.most_delayed = delayed > sum.most_delayed ? delayed : sum.most_delayed;
    }
    free(memory);
    return sum;
}

static struct totals encode_one(void)
{
    freed = 0;
    void *handle = open_one();
    CHECK(handle != NULL);
    const struct totals sum = encode_all(handle);
    CHECK(sum.out == PICTURES);
    x264_encoder_close(handle);
    /* The offsets, the messages and their list. */
    CHECK(freed == 3 * PICTURES);
    return sum;
}

static void test_session(const char *path, const char *mode, int lookahead, int misbehave_after)
{
    struct sidecar sidecar = {.lookahead = lookahead, .misbehave_after = misbehave_after};
    memset(&sidecar.nonsense, 0x3c, sizeof(sidecar.nonsense));
    sidecar.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    CHECK(bind(sidecar.listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(sidecar.listener, 4) == 0);
    pthread_t thread;
    pthread_create(&thread, NULL, accept_all, &sidecar);
    setenv("IDSE_SOCKET", path, 1);
    setenv("IDSE_MODE", mode, 1);
    const struct totals sum = encode_one();
    CHECK(strcmp(mode, "live") == 0 || misbehave_after >= 0 || sum.most_delayed >= lookahead);
    /* Closed with pictures held back, as an application that is interrupted does. */
    void *handle = open_one();
    uint8_t *memory = calloc(WIDTH * HEIGHT * 2, 1);
    for (int i = 0; i < 9; i++) {
        struct picture picture = noise(memory, CSP_I420, 0), out;
        void *nals;
        int count;
        picture.pts = i;
        CHECK(x264_encoder_encode(handle, &nals, &count, &picture, &out) >= 0);
    }
    x264_encoder_close(handle);
    free(memory);
    shutdown(sidecar.listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(sidecar.listener);
    unlink(path);
    CHECK(sidecar.connections >= 2 && sidecar.frames > 0);
}

/* -- libraries that differ from what is known */

static struct x264 real;

static void longer_default(struct param *param)
{
    real.param_default(param);
    memset((uint8_t *)param + sizeof(*param), 0, 8);
}

static int other_parse(struct param *param, const char *name, const char *value)
{
    const int code = real.param_parse(param, name, value);
    if (strcmp(name, "aq-mode") == 0)
        param->aq_strength = 3;
    return code;
}

static void test_layouts(void)
{
    CHECK(idse_resolve_library(164, NULL, (const void *)(uintptr_t)test_layouts, &real));
    CHECK(idse_layout_problem(&real) == NULL);
    struct x264 other = real;
    other.param_default = longer_default;
    CHECK(idse_layout_problem(&other) != NULL);
    other = real;
    other.param_parse = other_parse;
    CHECK(idse_layout_problem(&other) != NULL);
    struct x264 none;
    CHECK(!idse_resolve_library(123, NULL, (const void *)(uintptr_t)test_layouts, &none));
    CHECK(none.open == NULL);
    /* Such a library goes on encoding, unsteered. */
    setenv("IDSE_SOCKET", "/nowhere", 1);
    struct param param;
    param_default(&param);
    param_parse(&param, "log", "-1");
    param.width = WIDTH;
    param.height = HEIGHT;
    void *handle = real.open(&param);
    other.param_parse = real.param_parse;
    other.param_default = longer_default;
    struct encoder *encoder = idse_encoder_new(handle, &other, true);
    CHECK(encoder && encoder->mode == MODE_OFF && strstr(encoder->problem, "not known"));
    uint8_t *memory = calloc(WIDTH * HEIGHT * 2, 1);
    struct picture picture = noise(memory, CSP_I420, 0), out;
    void *nals;
    int count;
    const struct call call = {&nals, &count, &out};
    CHECK(idse_encoder_encode(encoder, &call, &picture) >= 0);
    CHECK(encoder->counters.lost == 1);
    idse_encoder_free(encoder);
    real.close(handle);
    free(memory);
}

int main(void)
{
    char folder[] = "/tmp/idse-preload-XXXXXX", path[64];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/x", folder);
    test_ring();
    test_descriptions();
    test_hold();
    test_offsets_file(path);
    if (find_x264()) {
        encode_one();
        test_layouts();
        test_session(path, "wait", 0, -1);
        test_session(path, "wait", 6, -1);
        test_session(path, "wait", 6, 5);
        test_session(path, "live", 0, -1);
        test_session(path, "live", 0, 5);
    } else {
        fprintf(stderr, "no libx264.so.164: the interposed functions are not tested here\n");
    }
    rmdir(folder);
    if (failures)
        fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}
