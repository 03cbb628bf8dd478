/* What is known of one open encoder, and what is done to the pictures that it is handed.
 *
 * Like x264's own handle it belongs to one thread at a time; encoders are independent. */
#ifndef IDSE_ENCODER_H
#define IDSE_ENCODER_H

#include <stdbool.h>
#include <sys/types.h>

#include "hold.h"
#include "offsets_file.h"
#include "report.h"
#include "resolve.h"
#include "session.h"

enum mode {
    MODE_OFF,  /* pictures go through as they are */
    MODE_FILE, /* offsets from a file */
    MODE_WAIT, /* pictures are held back until the sidecar has said what is to be done */
    MODE_LIVE, /* the newest offsets that have come */
};

/* x264_encoder_encode's arguments but the handle and the picture. */
struct call {
    void **nals;
    int *count;
    struct picture *out;
};

struct encoder {
    void *handle;
    struct x264 x264;
    enum mode mode;
    bool strict;
    pid_t pid;
    char *report; /* path or NULL */
    int error;    /* errno, as it would be without us */
    struct param param; /* as x264 took it */
    struct idse_hello hello;
    size_t macroblocks;
    uint64_t pictures; /* that the application handed in */
    struct counters counters;
    uint64_t away;     /* nanoseconds of processor time of this call that were x264's */
    uint32_t told;     /* bits of what was logged */
    char problem[200]; /* the first one, or empty */
    float *offsets;    /* of the picture that is handed on */
    uint16_t *weights;
    struct offsets_file file;
    struct session session;
    uint32_t serial; /* of the connection that was counted last */
    /* MODE_WAIT */
    struct hold hold;
    struct ring *ring;  /* where held pictures lie, once there was a session */
    uint32_t announced; /* pictures that the application knows may be held back */
    /* MODE_LIVE */
    float *current;      /* the newest offsets */
    int64_t current_of;  /* the picture that they are of; -1: there are none */
    bool current_steers; /* false: of that picture it is known that it needs none */
    uint64_t most_age;   /* pictures after which offsets are too old */
};

/* True where anything is asked for (settings.h). */
bool idse_configured(void);

/* NULL without memory, and where the library could not even be called. `whole`: every function of it
 * was found. */
struct encoder *idse_encoder_new(void *handle, const struct x264 *library, bool whole);

/* As x264_encoder_encode; `picture` is NULL when there are no more. */
int idse_encoder_encode(struct encoder *encoder, const struct call *call,
                        const struct picture *picture);

/* Pictures held back; the most that ever may be. */
int idse_encoder_held(const struct encoder *encoder);
int idse_encoder_most_held(const struct encoder *encoder);

/* For reports; it points into the encoder. */
struct facts idse_encoder_facts(const struct encoder *encoder);

/* Writes the report and frees everything but x264's handle. */
void idse_encoder_free(struct encoder *encoder);

/* -- of encoder.c, for wait.c and live.c */

/* x264's own function; the time that it takes is not ours. */
int idse_pass_on(struct encoder *encoder, const struct call *call, struct picture *picture);

/* When a picture is shown, in the time base of HELLO: with a constant rate x264 reads no pts, and
 * applications hand in what they like. */
int64_t idse_time_of(const struct encoder *encoder, const struct picture *picture);

/* Hands a picture to x264. `offsets` (NULL: none) are checked; the application's own are added. */
int idse_submit(struct encoder *encoder, const struct call *call, const struct picture *picture,
                const float *offsets, const uint16_t *weights);

/* The same where there should have been offsets: unless excused, an error in strict runs. */
int idse_submit_lost(struct encoder *encoder, const struct call *call,
                     const struct picture *picture, bool excused);

/* The most that is wrong with an encode, told once each. */
enum trouble { NO_SESSION = 1, REFUSED = 2, BAD_OFFSETS = 4, RESUMED = 8, NOT_STEERABLE = 16,
               NO_MEMORY = 32, BAD_WEIGHTS = 64 };
void idse_tell(struct encoder *encoder, enum trouble trouble, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The session's news: new connections are counted, the rest is told once each. */
void idse_tell_of_session(struct encoder *encoder);

/* -- of wait.c and live.c */

void idse_wait_open(struct encoder *encoder);
int idse_wait_encode(struct encoder *encoder, const struct call *call,
                     const struct picture *picture);
int idse_wait_flush(struct encoder *encoder, const struct call *call);
void idse_live_open(struct encoder *encoder);
int idse_live_encode(struct encoder *encoder, const struct call *call,
                     const struct picture *picture);

#endif
