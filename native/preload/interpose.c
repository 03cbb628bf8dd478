/* The functions of libx264 that are called in its place: only these are exported.
 *
 * This library is preloaded into any process, and inherited by its children: nothing happens in it
 * before somebody opens an encoder. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "encoder.h"

#define EXPORT __attribute__((visibility("default")))

/* Encoders that are open at once; further ones are left alone. */
enum { MOST_ENCODERS = 256 };

/* Read without a lock for every picture. What a handle stands for is removed by the thread that
 * closes it, after which nobody asks for it. */
static struct {
    _Atomic(void *) handle;
    _Atomic(struct encoder *) encoder;
} entries[MOST_ENCODERS];

static struct encoder *find(void *handle)
{
    for (int i = 0; handle && i < MOST_ENCODERS; i++) {
        if (atomic_load(&entries[i].handle) == handle)
            return atomic_load(&entries[i].encoder);
    }
    return NULL;
}

static void add(struct encoder *encoder)
{
    for (int i = 0; encoder && i < MOST_ENCODERS; i++) {
        struct encoder *none = NULL;
        if (atomic_compare_exchange_strong(&entries[i].encoder, &none, encoder)) {
            atomic_store(&entries[i].handle, encoder->handle);
            return;
        }
    }
    idse_log("an encoder is not steered: there are too many, no memory, or no libx264 to call");
    if (encoder)
        idse_encoder_free(encoder);
}

static void forget(void *handle)
{
    for (int i = 0; i < MOST_ENCODERS; i++) {
        if (atomic_load(&entries[i].handle) == handle) {
            atomic_store(&entries[i].handle, NULL);
            atomic_store(&entries[i].encoder, NULL);
            return;
        }
    }
}

static void *open_encoder(int build, const void *self, struct param *param, const void *caller)
{
    struct x264 library;
    const bool whole = idse_resolve_library(build, self, caller, &library);
    if (!library.open) {
        idse_log("there is no libx264 of build %d behind the one that was asked for", build);
        return NULL;
    }
    void *handle = library.open(param);
    const int error = errno;
    if (handle && idse_configured())
        add(idse_encoder_new(handle, &library, whole));
    errno = error;
    return handle;
}

#define OPEN(build)                                                                                \
    EXPORT void *x264_encoder_open_##build(struct param *param);                                   \
    void *x264_encoder_open_##build(struct param *param)                                           \
    {                                                                                              \
        return open_encoder(build, (const void *)(uintptr_t)x264_encoder_open_##build, param,      \
                            __builtin_return_address(0));                                          \
    }

/* From the first build that codes 8 and 10 bit by one library up to those that may come; what is not
 * laid out as we know it is told of and left alone. */
OPEN(153) OPEN(154) OPEN(155) OPEN(156) OPEN(157) OPEN(158) OPEN(159) OPEN(160) OPEN(161) OPEN(162)
OPEN(163) OPEN(164) OPEN(165) OPEN(166) OPEN(167) OPEN(168) OPEN(169) OPEN(170) OPEN(171) OPEN(172)
OPEN(173) OPEN(174) OPEN(175) OPEN(176) OPEN(177) OPEN(178) OPEN(179) OPEN(180) OPEN(181) OPEN(182)

/* Says once that there are encoders whose opening was not seen: of other builds than those above. */
static void tell_of_strangers(void)
{
    static atomic_flag told = ATOMIC_FLAG_INIT;
    if (idse_configured() && !atomic_flag_test_and_set(&told))
        idse_log("an encoder of a libx264 of unknown build is not steered");
}

/* What a handle that is none of ours is for. ISO C converts no pointer to a function's. */
#define REAL(name)                                                                                 \
    ((union {                                                                                      \
         void *object;                                                                             \
         __typeof__(&name) function;                                                               \
     }){.object = idse_resolve(#name, (const void *)(uintptr_t)name, __builtin_return_address(0))} \
         .function)

EXPORT int x264_encoder_encode(void *handle, void **nals, int *count, struct picture *picture,
                               struct picture *out);
int x264_encoder_encode(void *handle, void **nals, int *count, struct picture *picture,
                        struct picture *out)
{
    struct encoder *encoder = find(handle);
    if (encoder) {
        const struct call call = {nals, count, out};
        return idse_encoder_encode(encoder, &call, picture);
    }
    tell_of_strangers();
    int (*real)(void *, void **, int *, struct picture *, struct picture *) =
        REAL(x264_encoder_encode);
    return real ? real(handle, nals, count, picture, out) : -1;
}

EXPORT int x264_encoder_delayed_frames(void *handle);
int x264_encoder_delayed_frames(void *handle)
{
    const struct encoder *encoder = find(handle);
    if (encoder)
        return encoder->x264.delayed(handle) + idse_encoder_held(encoder);
    int (*real)(void *) = REAL(x264_encoder_delayed_frames);
    return real ? real(handle) : 0;
}

EXPORT int x264_encoder_maximum_delayed_frames(void *handle);
int x264_encoder_maximum_delayed_frames(void *handle)
{
    const struct encoder *encoder = find(handle);
    if (encoder)
        return encoder->x264.maximum_delayed(handle) + idse_encoder_most_held(encoder);
    int (*real)(void *) = REAL(x264_encoder_maximum_delayed_frames);
    return real ? real(handle) : 0;
}

EXPORT void x264_encoder_close(void *handle);
void x264_encoder_close(void *handle)
{
    struct encoder *encoder = find(handle);
    void (*real)(void *) = encoder ? encoder->x264.close : REAL(x264_encoder_close);
    if (encoder) {
        /* First: another thread may be given the same handle once x264 has freed it. */
        const int error = errno;
        forget(handle);
        idse_encoder_free(encoder);
        errno = error;
    }
    if (real)
        real(handle);
}
