/* A real libx264 behind the interposed functions, where the system has one; meant to run under ASan
 * and UBSan. The sidecar is a thread of this process. */
#include <dlfcn.h>
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
#include "test_common.h"

enum { PICTURES = 40 };

void *x264_encoder_open_164(struct param *param);
int x264_encoder_encode(void *handle, void **nals, int *count, struct picture *picture,
                        struct picture *out);
int x264_encoder_delayed_frames(void *handle);
int x264_encoder_maximum_delayed_frames(void *handle);
void x264_encoder_close(void *handle);

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
static int (*reconfig)(void *, struct param *);
static void (*parameters)(void *, struct param *);
static int (*headers)(void *, void **, int *);

static void find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof(found));
}

static bool find_x264(void)
{
    void *library = dlopen("libx264.so.164", RTLD_NOW | RTLD_GLOBAL);
    if (!library)
        return false;
    find(library, "x264_param_default", &param_default);
    find(library, "x264_param_parse", &param_parse);
    find(library, "x264_encoder_reconfig", &reconfig);
    find(library, "x264_encoder_parameters", &parameters);
    find(library, "x264_encoder_headers", &headers);
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
    void *nals;
    int count = 0;
    CHECK(headers(handle, &nals, &count) > 0);
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
        if (i == PICTURES / 2) {
            /* What goes past us, while pictures are held back. */
            struct param param;
            parameters(handle, &param);
            param.crf += 1;
            CHECK(reconfig(handle, &param) == 0);
        }
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
