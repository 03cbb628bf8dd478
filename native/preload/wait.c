/* Pictures wait until the sidecar has said what is to be done with them, so that an encode depends
 * on nothing but its input. At most one picture is handed to x264 for each that comes in: no more
 * than one can come out of a call. */
#include "encoder.h"

/* Pictures beyond the sidecar's lookahead, so that it works while x264 does. */
enum { SLACK = 4 };

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Notes what was said of held pictures; a later connection would say it of others. */
static void absorb(struct encoder *e)
{
    for (uint32_t i = 0; i < e->hold.count; i++) {
        struct held *held = &e->hold.items[(e->hold.first + i) % IDSE_MAX_SLOTS];
        struct answer *answer = &e->session.answers[held->slot];
        if (held->serial == 0 || held->serial != e->session.serial || !answer->ready)
            continue;
        if (held->answered)
            continue;
        held->answered = true;
        held->status = answer->status;
        held->flags = answer->flags;
        answer->ready = false;
    }
}

/* Takes on a connection that has come up. */
static void adopt(struct encoder *e)
{
    struct session *session = &e->session;
    if (session->state == SESSION_UP && session->lookahead > e->announced)
        idse_session_lose(session, SESSION_NEVER, "it wants to see more pictures than announced");
    if (session->state == SESSION_UP && e->ring != session->ring) {
        idse_ring_drop(e->ring);
        e->ring = idse_ring_use(session->ring);
    }
    idse_tell_of_session(e);
}

void idse_wait_open(struct encoder *e)
{
    struct session *session = &e->session;
    const uint64_t until = idse_now() + session->timeout;
    idse_session_step(session);
    while (session->state == SESSION_GREETING && idse_now() < until)
        idse_session_wait(session, until);
    e->announced = e->hello.slots - 1;
    if (session->state == SESSION_UP)
        e->announced = least(e->announced, session->lookahead + SLACK);
    adopt(e);
}

static bool settled(const struct encoder *e, const struct held *held)
{
    return held->answered || held->serial != e->session.serial ||
           e->session.state != SESSION_UP || held->serial == 0;
}

static void wait_for(struct encoder *e, const struct held *held)
{
    struct session *session = &e->session;
    const uint64_t begin = idse_now();
    uint64_t until = begin + session->timeout;
    while (!settled(e, held) && idse_now() < until) {
        idse_session_wait(session, until);
        absorb(e);
        if (session->heard > begin)
            until = session->heard + session->timeout;
    }
    if (!settled(e, held))
        idse_session_lose(session, SESSION_DOWN, "it does not answer");
    e->counters.waited += idse_now() - begin;
    idse_tell_of_session(e);
}

/* Hands the oldest picture to x264. */
static int let_go(struct encoder *e, const struct call *call)
{
    struct held *held = idse_hold_head(&e->hold);
    wait_for(e, held);
    int size;
    if (!held->answered || held->status == IDSE_REFUSED) {
        size = idse_submit_lost(e, call, &held->picture, false);
    } else if (held->status == IDSE_UNSTEERED) {
        size = idse_submit(e, call, &held->picture, NULL, NULL);
    } else {
        const bool weighted = held->flags & IDSE_HAS_WEIGHTS && e->x264.set_weights;
        size = idse_submit(e, call, &held->picture, idse_ring_offsets(held->ring, held->slot),
                           weighted ? idse_ring_weights(held->ring, held->slot) : NULL);
    }
    idse_hold_taken(&e->hold);
    return size;
}

static void show(struct encoder *e, struct held *held)
{
    if (held->ring != e->session.ring)
        return;
    const struct idse_frame frame = {
        .index = (int64_t)e->pictures,
        .pts = idse_time_of(e, &held->picture),
        .flags = held->picture.type == TYPE_IDR || held->picture.type == TYPE_KEYFRAME
                     ? IDSE_KEYFRAME
                     : 0,
        .frames = e->counters.frames,
        .steered = e->counters.steered,
    };
    if (idse_session_show(&e->session, held->slot, &frame))
        held->serial = e->session.serial;
}

/* What x264 answers while it collects pictures. */
static int nothing_yet(const struct call *call)
{
    *call->nals = NULL;
    *call->count = 0;
    call->out->type = TYPE_AUTO;
    return 0;
}

int idse_wait_encode(struct encoder *e, const struct call *call, const struct picture *picture)
{
    struct session *session = &e->session;
    absorb(e);
    idse_session_step(session);
    absorb(e);
    adopt(e);
    if (!e->hold.count && session->state != SESSION_UP)
        return idse_submit_lost(e, call, picture, false);
    struct held *held = idse_hold(&e->hold, e->ring, picture, e->macroblocks);
    if (!held) {
        idse_tell(e, NO_MEMORY, "picture %llu cannot be held back",
                  (unsigned long long)e->pictures);
        return e->hold.count ? -1 : idse_submit_lost(e, call, picture, false);
    }
    show(e, held);
    const uint32_t depth = least(e->announced, session->lookahead + SLACK);
    if (e->hold.count <= depth && !settled(e, idse_hold_head(&e->hold)))
        return nothing_yet(call);
    return let_go(e, call);
}

int idse_wait_flush(struct encoder *e, const struct call *call)
{
    idse_session_end(&e->session);
    while (e->hold.count) {
        const int size = let_go(e, call);
        if (size || *call->count)
            return size;
    }
    return idse_pass_on(e, call, NULL);
}
