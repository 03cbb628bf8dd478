/* A sidecar that thinks nothing, as a thread of the test, and a real libx264. */
#ifndef IDSE_TEST_SIDECAR_H
#define IDSE_TEST_SIDECAR_H

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol.h"
#include "test_common.h"

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
    bool full;           /* refuses everybody, and hangs up at once */
    struct idse_message nonsense;
    int connections, frames;
    struct idse_bye bye; /* the last one */
    pthread_t thread;
};

static inline bool read_whole(int from, void *into, size_t size)
{
    return recv(from, into, size, MSG_WAITALL) == (ssize_t)size;
}

static inline void answer(int connection, uint8_t *ring, const struct idse_hello *hello,
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

static inline void serve(struct sidecar *sidecar, int connection)
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
            CHECK(count < IDSE_MAX_SLOTS);
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
    if (in.type == IDSE_BYE)
        sidecar->bye = in.body.bye;
    munmap(ring, size);
}

static inline void refuse(int connection)
{
    struct idse_message told = {
        .magic = IDSE_MAGIC, .version = IDSE_PROTOCOL_VERSION, .type = IDSE_WELCOME};
    told.body.welcome.status = IDSE_BUSY;
    snprintf(told.body.welcome.reason, sizeof(told.body.welcome.reason), "it is full");
    send(connection, &told, sizeof(told), MSG_NOSIGNAL);
}

static inline void *accept_all(void *given)
{
    struct sidecar *sidecar = given;
    int connection;
    while ((connection = accept(sidecar->listener, NULL, NULL)) >= 0) {
        sidecar->connections++;
        if (sidecar->full)
            refuse(connection);
        else
            serve(sidecar, connection);
        close(connection);
    }
    return NULL;
}

static inline void begin_sidecar(struct sidecar *sidecar, const char *path)
{
    memset(&sidecar->nonsense, 0x3c, sizeof(sidecar->nonsense));
    sidecar->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    CHECK(bind(sidecar->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(sidecar->listener, 4) == 0);
    pthread_create(&sidecar->thread, NULL, accept_all, sidecar);
    setenv("IDSE_SOCKET", path, 1);
}

/* Once every encoder is closed. */
static inline void end_sidecar(struct sidecar *sidecar, const char *path)
{
    shutdown(sidecar->listener, SHUT_RDWR);
    pthread_join(sidecar->thread, NULL);
    close(sidecar->listener);
    unlink(path);
}

/* -- a real encoder */

static void (*param_default)(struct param *);
static int (*param_parse)(struct param *, const char *, const char *);
static int (*reconfig)(void *, struct param *);
static void (*parameters)(void *, struct param *);
static int (*headers)(void *, void **, int *);

static inline void find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof(found));
}

static inline bool find_x264(void)
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

static inline void *open_one(const char *threads)
{
    struct param param;
    param_default(&param);
    param_parse(&param, "log", "-1");
    param_parse(&param, "threads", threads);
    param_parse(&param, "lookahead-threads", "1");
    param_parse(&param, "rc-lookahead", "8");
    param.width = WIDTH;
    param.height = HEIGHT;
    return x264_encoder_open_164(&param);
}

#endif
