/* Pictures never wait: each gets the newest offsets that have come. Nothing here blocks. */
#include "encoder.h"

#include <string.h>

/* Seconds after which offsets say nothing of the picture any more. */
enum { MOST_AGE_SECONDS = 2 };

void idse_live_open(struct encoder *e)
{
    const uint64_t num = e->param.fps_num, den = e->param.fps_den;
    const uint64_t rate = num && den ? num / den + 1 : 30;
    e->most_age = MOST_AGE_SECONDS * (rate < 1000 ? rate : 1000);
    idse_session_step(&e->session);
}

/* Takes the newest of what was answered. */
static void collect(struct encoder *e)
{
    struct ring *ring = e->session.ring;
    for (uint32_t slot = 0; ring && slot < ring->hello.slots; slot++) {
        struct answer *answer = &e->session.answers[slot];
        if (!answer->ready)
            continue;
        answer->ready = false;
        if (answer->status != IDSE_REFUSED && answer->index > e->current_of) {
            e->current_of = answer->index;
            e->current_steers = answer->status == IDSE_STEERED;
            memcpy(e->current, idse_ring_offsets(ring, (int)slot),
                   e->macroblocks * sizeof(*e->current));
        }
        idse_ring_give(ring, (int)slot);
    }
}

static bool fits(const struct encoder *e, const struct picture *picture)
{
    struct idse_hello hello = e->hello;
    return idse_describe(picture->image.csp, &hello) && hello.chroma == e->hello.chroma &&
           hello.arrangement == e->hello.arrangement;
}

static void show(struct encoder *e, const struct picture *picture)
{
    struct session *session = &e->session;
    if (session->state != SESSION_UP || !fits(e, picture))
        return;
    const int slot = idse_ring_take(session->ring);
    if (slot < 0) {
        e->counters.skipped++;
        return;
    }
    struct picture stored;
    idse_ring_store(session->ring, slot, picture, &stored);
    const uint64_t patience = UINT64_C(1000000) * MOST_AGE_SECONDS;
    const struct idse_frame frame = {
        .index = (int64_t)e->pictures,
        .pts = idse_time_of(e, picture),
        .flags = picture->type == TYPE_IDR || picture->type == TYPE_KEYFRAME ? IDSE_KEYFRAME : 0,
        .deadline = idse_now() / 1000 + patience,
        .frames = e->counters.frames,
        .steered = e->counters.steered,
    };
    idse_session_show(session, slot, &frame);
}

int idse_live_encode(struct encoder *e, const struct call *call, const struct picture *picture)
{
    idse_session_step(&e->session);
    if (e->session.state != SESSION_GREETING)
        idse_tell_of_session(e);
    collect(e);
    show(e, picture);
    const uint64_t age = e->pictures - (uint64_t)e->current_of;
    if (e->current_of < 0 || age > e->most_age) {
        /* A map that is late is no error: the sidecar is there. */
        const enum session_state state = e->session.state;
        const bool there = state == SESSION_UP || state == SESSION_GREETING;
        return idse_submit_lost(e, call, picture, there);
    }
    if (e->current_steers) {
        e->counters.late += age > 1;
        e->counters.age += age;
    }
    return idse_submit(e, call, picture, e->current_steers ? e->current : NULL, NULL);
}
