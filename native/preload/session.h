/* A connection with the sidecar, made anew whenever it is lost.
 *
 * Nothing here blocks but idse_session_wait(). */
#ifndef IDSE_SESSION_H
#define IDSE_SESSION_H

#include <stdbool.h>

#include "protocol.h"
#include "ring.h"

enum session_state {
    SESSION_DOWN,     /* tries again at `next` */
    SESSION_GREETING, /* HELLO is sent */
    SESSION_UP,
    SESSION_NEVER, /* refused for good, or abandoned */
};

struct answer {
    int64_t index;
    uint32_t status, flags;
    bool due, ready;
};

enum { OUT_BYTES = IDSE_MAX_OPTIONS + (IDSE_MAX_SLOTS + 3) * IDSE_MESSAGE_BYTES };

struct session {
    enum session_state state;
    int socket;
    uint32_t serial;      /* of the connection */
    uint32_t lookahead;
    uint64_t next;        /* when DOWN: of the next attempt; when GREETING: when it is given up */
    uint64_t timeout;     /* nanoseconds */
    uint64_t heard;       /* when the server last said something */
    bool ended;
    struct ring *ring;    /* of the connection */
    struct idse_hello hello;
    char path[108]; /* as long as sun_path */
    char options[IDSE_MAX_OPTIONS + 1];
    struct answer answers[IDSE_MAX_SLOTS]; /* kept until the next connection is made */
    char why[160];        /* it was lost, last */
    struct idse_message in;
    size_t in_size;
    size_t out_size;
    uint8_t out[OUT_BYTES];
};

/* `hello` is what is said in every greeting. NULL, or what cannot be used. */
const char *idse_session_init(struct session *session, const struct idse_hello *hello,
                              const char *path, const char *options, uint64_t timeout);

/* Whatever can be done now: connect, send, read. */
void idse_session_step(struct session *session);

/* Waits until there is something to read or `until`, and reads it. */
void idse_session_wait(struct session *session, uint64_t until);

/* Shows the server the picture in a slot of the session's ring; false: it could not be sent. */
bool idse_session_show(struct session *session, int slot, const struct idse_frame *frame);

/* Says that no more pictures follow; may be called again. */
void idse_session_end(struct session *session);

/* Gives the connection up; there will be a new one unless `state` is SESSION_NEVER. */
void idse_session_lose(struct session *session, enum session_state state, const char *why);

/* Says goodbye and frees what the session holds. */
void idse_session_close(struct session *session, const struct idse_bye *bye);

#endif
