#include "encoder.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settings.h"

/* Memory that held pictures may take: of large ones fewer are held. */
static const uint64_t RING_BYTES = 256 << 20;

/* Pictures that the sidecar may have in hand in live mode. */
enum { LIVE_SLOTS = 4 };

/* QPs span 0 to 51: an offset of more than twice that can only be a mistake. */
static const float MOST_OFFSET = 128;

bool idse_configured(void)
{
    return idse_setting("IDSE_SOCKET") || idse_setting("IDSE_OFFSETS");
}

static bool is_on(const char *name)
{
    const char *value = idse_setting(name);
    return value && strcmp(value, "0") != 0;
}

static uint64_t timeout(void)
{
    const char *value = idse_setting("IDSE_TIMEOUT");
    const double seconds = value ? atof(value) : 10;
    return (uint64_t)((seconds > 0 && seconds <= 3600 ? seconds : 10) * 1e9);
}

void idse_tell(struct encoder *e, enum trouble trouble, const char *format, ...)
{
    if (e->told & trouble)
        return;
    e->told |= trouble;
    char text[sizeof(e->problem)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    idse_log("%dx%d: %s", e->param.width, e->param.height, text);
    if (!e->problem[0] && trouble != RESUMED)
        memcpy(e->problem, text, sizeof(text));
}

void idse_tell_of_session(struct encoder *e)
{
    const struct session *session = &e->session;
    if (session->state == SESSION_UP && session->serial != e->serial) {
        e->serial = session->serial;
        e->counters.sessions++;
    }
    if (session->state == SESSION_NEVER)
        idse_tell(e, REFUSED, "the sidecar refuses (%s): encoded unsteered", session->why);
    else if (session->state == SESSION_DOWN)
        idse_tell(e, NO_SESSION, "no sidecar (%s): encoded unsteered until there is one",
                  session->why);
    else if (session->state == SESSION_UP && e->told & NO_SESSION)
        idse_tell(e, RESUMED, "the sidecar is there: steered from picture %llu on",
                  (unsigned long long)e->pictures);
}

/* -- opening */

static bool interlaced(const struct param *param)
{
    return param->interlaced || param->fake_interlaced;
}

/* x264 has -1 where nothing is said; H.273 has 2. */
static uint32_t known(int32_t code)
{
    return code < 0 ? 2 : (uint32_t)code;
}

static void describe(struct encoder *e)
{
    const struct param *param = &e->param;
    e->hello = (struct idse_hello){
        .width = (uint32_t)param->width,
        .height = (uint32_t)param->height,
        .bit_depth = (uint32_t)param->bit_depth,
        .matrix = known(param->matrix),
        .transfer = known(param->transfer),
        .full_range = param->full_range == 1,
        .interlaced = interlaced(param) ? param->tff ? IDSE_TOP_FIRST : IDSE_BOTTOM_FIRST
                                        : IDSE_PROGRESSIVE,
        .fps_num = param->fps_num,
        .fps_den = param->fps_den,
        .timebase_num = param->vfr_input ? param->timebase_num : param->fps_den,
        .timebase_den = param->vfr_input ? param->timebase_den : param->fps_num,
        .rate_method = (uint32_t)param->rate_method,
        .crf = param->rate_method == IDSE_RATE_CRF ? param->crf : 0,
        .passes = !!param->stat_write + 2 * !!param->stat_read,
        .aq_mode = (uint32_t)param->aq_mode,
        .aq_strength = param->aq_strength,
        .mb_tree = !!param->mb_tree,
        .mb_cols = ((uint32_t)param->width + 15) / 16,
        .mb_rows = ((uint32_t)param->height + 15) / 16,
        .flags = (e->mode == MODE_LIVE ? IDSE_LIVE : 0) | (e->x264.set_weights ? IDSE_WEIGHTS : 0),
        .build = (uint32_t)e->x264.build,
        .pid = (uint32_t)e->pid,
    };
    /* Pairs of fields: rows of macroblocks are those of 32 lines. */
    e->hello.mb_rows += interlaced(param) ? e->hello.mb_rows & 1 : 0;
    e->macroblocks = (size_t)e->hello.mb_cols * e->hello.mb_rows;
}

/* Reads the parameters as x264 took them, where their layout is known. */
static bool read_parameters(struct encoder *e, bool whole)
{
    const char *problem = whole ? idse_layout_problem(&e->x264) : "it lacks functions";
    if (problem)
        idse_tell(e, NOT_STEERABLE, "not steered: libx264 build %d is not known (%s)",
                  e->x264.build, problem);
    else
        e->x264.parameters(e->handle, &e->param);
    return !problem;
}

/* NULL, or why nothing can be steered. */
static const char *choose(struct encoder *e)
{
    const char *file = idse_setting("IDSE_OFFSETS"), *mode = idse_setting("IDSE_MODE");
    e->mode = file ? MODE_FILE : mode && strcmp(mode, "live") == 0 ? MODE_LIVE : MODE_WAIT;
    describe(e);
    e->offsets = malloc(e->macroblocks * sizeof(*e->offsets));
    e->current = malloc(e->macroblocks * sizeof(*e->current));
    e->weights = malloc(16 * e->macroblocks * sizeof(*e->weights));
    if (!e->offsets || !e->current || !e->weights)
        return "there is no memory";
    /* Nobody is told by x264 itself. */
    if (e->param.aq_mode == 0)
        return "x264 ignores QP offsets with these options: it needs aq-mode=1 or mbtree=1, and "
               "crf or a bitrate instead of qp";
    if (file)
        return idse_offsets_open(&e->file, file, e->hello.mb_cols, e->hello.mb_rows);
    if (!idse_describe(e->param.csp | (e->param.bit_depth > 8 ? CSP_HIGH_DEPTH : 0), &e->hello))
        return "its pictures are RGB or packed, which networks here do not read";
    e->hello.slots = 1;
    const uint64_t fit = RING_BYTES / idse_slot_bytes(&e->hello);
    const uint64_t most = e->mode == MODE_LIVE ? LIVE_SLOTS : IDSE_MAX_SLOTS;
    e->hello.slots = (uint32_t)(fit < 2 ? 2 : fit < most ? fit : most);
    const char *options = idse_setting("IDSE_OPTIONS");
    return idse_session_init(&e->session, &e->hello, idse_setting("IDSE_SOCKET"),
                             options ? options : "", timeout());
}

struct encoder *idse_encoder_new(void *handle, const struct x264 *library, bool whole)
{
    const bool callable =
        library->encode && library->close && library->delayed && library->maximum_delayed;
    struct encoder *e = callable ? calloc(1, sizeof(*e)) : NULL;
    if (!e)
        return NULL;
    e->handle = handle;
    e->x264 = *library;
    e->pid = getpid();
    e->strict = is_on("IDSE_STRICT");
    const char *path = idse_setting("IDSE_REPORT");
    e->report = path ? strdup(path) : NULL;
    e->file.file = -1;
    e->session.socket = -1;
    e->current_of = -1;
    if (!read_parameters(e, whole))
        return e;
    const char *problem = choose(e);
    if (problem) {
        e->mode = MODE_OFF;
        idse_tell(e, NOT_STEERABLE, "not steered: %s", problem);
    } else if (e->mode == MODE_WAIT) {
        idse_wait_open(e);
    } else if (e->mode == MODE_LIVE) {
        idse_live_open(e);
    }
    return e;
}

/* -- pictures */

int idse_pass_on(struct encoder *e, const struct call *call, struct picture *picture)
{
    const uint64_t begin = idse_worked();
    errno = e->error;
    const int size = e->x264.encode(e->handle, call->nals, call->count, picture, call->out);
    e->error = errno;
    e->away += idse_worked() - begin;
    return size;
}

int64_t idse_time_of(const struct encoder *e, const struct picture *picture)
{
    return e->param.vfr_input ? picture->pts : (int64_t)e->pictures;
}

/* Copies offsets that somebody else may go on writing to; false where they are no offsets. */
static bool take_offsets(struct encoder *e, const float *offsets, bool *any)
{
    memcpy(e->offsets, offsets, e->macroblocks * sizeof(*offsets));
    float most = 0;
    bool usable = true;
    for (size_t i = 0; i < e->macroblocks; i++) {
        const float size = fabsf(e->offsets[i]);
        usable &= size <= MOST_OFFSET; /* false of what is no number, too */
        most = size > most ? size : most;
    }
    *any = most > 0;
    return usable;
}

static void hand_weights(struct encoder *e, const uint16_t *weights)
{
    if (!weights || !e->x264.set_weights)
        return;
    memcpy(e->weights, weights, 16 * e->macroblocks * sizeof(*weights));
    const struct distortion distortion = {.size = sizeof(distortion),
                                          .mb_cols = (int32_t)e->hello.mb_cols,
                                          .mb_rows = (int32_t)e->hello.mb_rows,
                                          .weights = e->weights};
    const int code =
        e->x264.set_weights(e->handle, (int64_t)e->counters.frames, &distortion);
    if (code)
        idse_tell(e, BAD_WEIGHTS, "libx264 refuses weights (%d)", code);
}

int idse_submit(struct encoder *e, const struct call *call, const struct picture *picture,
                const float *offsets, const uint16_t *weights)
{
    struct picture given = *picture;
    bool any = false;
    if (offsets && !take_offsets(e, offsets, &any)) {
        idse_tell(e, BAD_OFFSETS, "offsets of picture %llu are no QP offsets",
                  (unsigned long long)e->counters.frames);
        return idse_submit_lost(e, call, picture, false);
    }
    /* Without any the pointer stays as it was, so that x264 does exactly what it does alone. */
    if (any) {
        for (size_t i = 0; picture->quant_offsets && i < e->macroblocks; i++)
            e->offsets[i] += picture->quant_offsets[i];
        given.quant_offsets = e->offsets;
        given.quant_offsets_free = NULL;
    }
    hand_weights(e, weights);
    e->counters.frames++;
    e->counters.steered += any;
    e->counters.unsteered += !any;
    const int size = idse_pass_on(e, call, &given);
    if (any && picture->quant_offsets_free)
        picture->quant_offsets_free(picture->quant_offsets);
    return size;
}

int idse_submit_lost(struct encoder *e, const struct call *call, const struct picture *picture,
                     bool excused)
{
    struct picture given = *picture;
    e->counters.frames++;
    e->counters.lost++;
    if (e->strict && !excused) {
        idse_log("IDSE_STRICT: %s", e->problem);
        return -1;
    }
    return idse_pass_on(e, call, &given);
}

static int encode_from_file(struct encoder *e, const struct call *call,
                            const struct picture *picture)
{
    const bool found = idse_offsets_read(&e->file, e->counters.frames, e->current);
    return idse_submit(e, call, picture, found ? e->current : NULL, NULL);
}

static int encode(struct encoder *e, const struct call *call, const struct picture *picture)
{
    if (!picture && e->mode == MODE_WAIT)
        return idse_wait_flush(e, call);
    if (!picture)
        return idse_pass_on(e, call, NULL);
    switch (e->mode) {
    case MODE_FILE:
        return encode_from_file(e, call, picture);
    case MODE_WAIT:
        return idse_wait_encode(e, call, picture);
    case MODE_LIVE:
        return idse_live_encode(e, call, picture);
    default:
        return idse_submit_lost(e, call, picture, false);
    }
}

/* In a child of fork() the connection is the parent's, the report, too, and so is the ring, which
 * both see: pictures that come get memory of their own. */
static void disown(struct encoder *e)
{
    if (e->pid == getpid())
        return;
    e->pid = getpid();
    if (e->mode == MODE_WAIT || e->mode == MODE_LIVE)
        idse_session_lose(&e->session, SESSION_NEVER, "the process was forked");
    if (e->ring)
        e->ring->hello.slots = 0;
    free(e->report);
    e->report = NULL;
}

int idse_encoder_encode(struct encoder *e, const struct call *call, const struct picture *picture)
{
    e->error = errno;
    const uint64_t begin = idse_worked();
    e->away = 0;
    disown(e);
    const int size = encode(e, call, picture);
    e->counters.own += idse_worked() - begin - e->away;
    e->pictures += picture != NULL;
    errno = e->error;
    return size;
}

int idse_encoder_held(const struct encoder *e)
{
    return (int)e->hold.count;
}

int idse_encoder_most_held(const struct encoder *e)
{
    return e->mode == MODE_WAIT ? (int)e->announced : 0;
}

/* -- closing */

struct facts idse_encoder_facts(const struct encoder *e)
{
    static const char *const NAMES[] = {"off", "file", "wait", "live"};
    return (struct facts){
        .build = e->x264.build,
        .width = e->param.width,
        .height = e->param.height,
        .mode = NAMES[e->mode],
        .problem = e->problem,
    };
}

void idse_encoder_free(struct encoder *e)
{
    disown(e);
    const struct idse_bye bye = {
        .frames = e->counters.frames,
        .steered = e->counters.steered,
        .late = e->counters.late,
        .lost = e->counters.lost,
    };
    idse_session_close(&e->session, &bye);
    if (e->report) {
        const struct facts facts = idse_encoder_facts(e);
        idse_report(e->report, &facts, &e->counters);
    }
    idse_hold_clear(&e->hold);
    idse_ring_drop(e->ring);
    idse_offsets_close(&e->file);
    free(e->offsets);
    free(e->current);
    free(e->weights);
    free(e->report);
    free(e);
}
