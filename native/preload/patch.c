#include "patch.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choices.h"
#include "encoder.h"
#include "imports.h"
#include "settings.h"

#define OPEN_PREFIX "x264_encoder_open_"

enum { FUNCTIONS = 5, MOST_IMPORTS = 64 };

struct record {
    _Atomic(void *) handle; /* NULL once it is closed */
    struct encoder *encoder;
    struct idse_patched facts;
};

/* Guards everything below but the handles, which are read for every picture. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Set once, before any entry is changed: threads may be in here long after the last detach. */
static struct x264 real;
static struct import imports[FUNCTIONS];
static void *originals[FUNCTIONS];
static const void *context_class;
static bool on, written, watched;
static int users; /* encoders that are open, or being opened */
static uint64_t numbers;
static struct record records[PYAV_ENCODERS];

/* -- records */

static struct record *find(void *handle)
{
    for (int i = 0; handle && i < PYAV_ENCODERS; i++) {
        if (atomic_load(&records[i].handle) == handle)
            return &records[i];
    }
    return NULL;
}

static void publish(struct record *record)
{
    const struct counters *c = &record->encoder->counters;
    const struct facts facts = idse_encoder_facts(record->encoder);
    pthread_mutex_lock(&lock);
    struct idse_patched *into = &record->facts;
    into->build = facts.build;
    into->width = facts.width;
    into->height = facts.height;
    snprintf(into->mode, sizeof(into->mode), "%s", facts.mode);
    snprintf(into->problem, sizeof(into->problem), "%s", facts.problem);
    into->frames = c->frames;
    into->steered = c->steered;
    into->unsteered = c->unsteered;
    into->lost = c->lost;
    into->late = c->late;
    into->age = c->age;
    into->skipped = c->skipped;
    into->sessions = c->sessions;
    into->own = c->own;
    into->waited = c->waited;
    pthread_mutex_unlock(&lock);
}

/* The record that has been closed for longest; NULL: all are open. */
static struct record *take_record(void)
{
    struct record *oldest = NULL;
    for (int i = 0; i < PYAV_ENCODERS; i++) {
        struct record *record = &records[i];
        if (!record->facts.open && (!oldest || record->facts.number < oldest->facts.number))
            oldest = record;
    }
    return oldest;
}

static bool add(void *handle, struct encoder *encoder)
{
    pthread_mutex_lock(&lock);
    struct record *record = take_record();
    if (record) {
        record->facts = (struct idse_patched){.number = ++numbers, .open = 1};
        record->encoder = encoder;
    }
    pthread_mutex_unlock(&lock);
    if (!record)
        return false;
    publish(record);
    atomic_store(&record->handle, handle);
    return true;
}

/* -- the entries */

static void restore(void)
{
    if (on || users || !written)
        return;
    for (int i = 0; i < FUNCTIONS; i++)
        idse_import_set(&imports[i], originals[i]);
    written = false;
}

static void leave(void)
{
    pthread_mutex_lock(&lock);
    users--;
    restore();
    pthread_mutex_unlock(&lock);
}

/* What an encoder is asked for; NULL: it is left alone. Counts it otherwise. */
static const char *enter(const struct param *param)
{
    /* libavcodec has its log lines say which context they are of. */
    const char *text = idse_choices_take(param->log_private);
    pthread_mutex_lock(&lock);
    if (!on)
        text = NULL;
    users += text != NULL;
    pthread_mutex_unlock(&lock);
    return text;
}

static void *patched_open(struct param *param)
{
    const char *text = enter(param);
    void *handle = real.open(param);
    if (!text)
        return handle;
    struct encoder *encoder = NULL;
    if (handle) {
        idse_settings_use(text);
        encoder = idse_encoder_new(handle, &real, true);
        idse_settings_use(NULL);
    }
    if (encoder && add(handle, encoder))
        return handle;
    if (handle)
        idse_log("an encoder is not steered: there are too many, or there is no memory");
    if (encoder)
        idse_encoder_free(encoder);
    leave();
    return handle;
}

static int patched_encode(void *handle, void **nals, int *count, struct picture *picture,
                          struct picture *out)
{
    struct record *record = find(handle);
    if (!record)
        return real.encode(handle, nals, count, picture, out);
    const struct call call = {nals, count, out};
    const int size = idse_encoder_encode(record->encoder, &call, picture);
    publish(record);
    return size;
}

static int patched_delayed(void *handle)
{
    const struct record *record = find(handle);
    return real.delayed(handle) + (record ? idse_encoder_held(record->encoder) : 0);
}

static int patched_maximum_delayed(void *handle)
{
    const struct record *record = find(handle);
    return real.maximum_delayed(handle) + (record ? idse_encoder_most_held(record->encoder) : 0);
}

static void patched_close(void *handle)
{
    struct record *record = find(handle);
    if (!record) {
        real.close(handle);
        return;
    }
    /* First: another thread may be given the same handle once x264 has freed it. */
    atomic_store(&record->handle, NULL);
    idse_encoder_free(record->encoder);
    real.close(handle);
    pthread_mutex_lock(&lock);
    record->facts.open = 0;
    pthread_mutex_unlock(&lock);
    leave();
}

/* ISO C has no conversion from a function's pointer to an object's; POSIX has. */
#define OBJECT(function) ((void *)(uintptr_t)(function))

static const struct {
    const char *name; /* of the first, a prefix */
    void *replacement;
} FUNCTION[FUNCTIONS] = {
    {OPEN_PREFIX, OBJECT(patched_open)},
    {"x264_encoder_encode", OBJECT(patched_encode)},
    {"x264_encoder_close", OBJECT(patched_close)},
    {"x264_encoder_delayed_frames", OBJECT(patched_delayed)},
    {"x264_encoder_maximum_delayed_frames", OBJECT(patched_maximum_delayed)},
};

/* -- attaching */

/* A thread may fork while another one is in here. */
static void lock_all(void)
{
    pthread_mutex_lock(&lock);
    idse_choices_lock();
}

static void unlock_all(void)
{
    idse_choices_unlock();
    pthread_mutex_unlock(&lock);
}

static bool is_function(const char *name, int index)
{
    return index ? strcmp(name, FUNCTION[index].name) == 0
                 : strncmp(name, OPEN_PREFIX, strlen(OPEN_PREFIX)) == 0;
}

/* The library's entries, each of which must be bound to what `scope` has by that name: whoever
 * else has changed them stays in charge. NULL, or why not. */
static const char *choose_imports(const void *avcodec, void *scope, struct import chosen[FUNCTIONS])
{
    struct import found[MOST_IMPORTS];
    const int count = idse_imports(avcodec, "x264_encoder_", found, MOST_IMPORTS);
    if (count < 0)
        return "its libavcodec cannot be read";
    memset(chosen, 0, FUNCTIONS * sizeof(*chosen));
    for (int i = 0; i < count; i++) {
        for (int f = 0; f < FUNCTIONS; f++) {
            if (!is_function(found[i].name, f))
                continue;
            if (chosen[f].slot)
                return "its libavcodec takes a function of libx264 in two ways";
            if (atomic_load(found[i].slot) != dlsym(scope, found[i].name))
                return "its libx264 is steered already (idse shell), or hooked by somebody else";
            chosen[f] = found[i];
        }
    }
    for (int f = 0; f < FUNCTIONS; f++) {
        if (!chosen[f].slot)
            return "its libavcodec takes no libx264 from a library of its own";
    }
    return NULL;
}

/* Whether pf_log and i_log_level are where they are thought, and p_log_private between them. */
static bool logs_as_known(const struct x264 *library)
{
    struct param param;
    Dl_info log, open;
    enum { LOG_INFO = 2 };
    library->param_default(&param);
    return param.log && !param.log_private && param.log_level == LOG_INFO &&
           dladdr(OBJECT(param.log), &log) && dladdr(OBJECT(library->open), &open) &&
           log.dli_fbase == open.dli_fbase;
}

static const char *examine(const void *avcodec, void *scope, struct import chosen[FUNCTIONS],
                           struct x264 *library)
{
    const char *problem = choose_imports(avcodec, scope, chosen);
    if (problem)
        return problem;
    const int build = atoi(chosen[0].name + strlen(OPEN_PREFIX));
    if (!idse_library_of(build, atomic_load(chosen[0].slot), library))
        return "its libx264 lacks functions";
    problem = idse_layout_problem(library);
    if (problem)
        return problem;
    return logs_as_known(library) ? NULL : "its libx264 logs in another way";
}

static const char *write_entries(void)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        if (idse_import_set(&imports[i], FUNCTION[i].replacement))
            continue;
        while (i--)
            idse_import_set(&imports[i], originals[i]);
        return "the kernel keeps its memory from being changed";
    }
    written = true;
    return NULL;
}

static const char *attach(void *scope)
{
    void *avcodec = dlsym(scope, "avcodec_get_class");
    Dl_info info;
    if (!avcodec || !dladdr(avcodec, &info))
        return "it uses no libavcodec that can be found";
    const void *(*get_class)(void);
    memcpy(&get_class, &avcodec, sizeof(get_class));
    if (context_class && get_class() != context_class)
        return "another libavcodec has been steered in this process";
    if (written)
        return NULL;
    struct import chosen[FUNCTIONS];
    struct x264 library;
    const char *problem = examine(avcodec, scope, chosen, &library);
    if (problem)
        return problem;
    if (!context_class) {
        real = library;
        memcpy(imports, chosen, sizeof(imports));
        for (int i = 0; i < FUNCTIONS; i++)
            originals[i] = atomic_load(imports[i].slot);
        context_class = get_class();
    }
    return write_entries();
}

int idse_pyav_attach(const char *module, char *why, size_t size)
{
    void *scope = dlopen(module, RTLD_LAZY | RTLD_NOLOAD);
    pthread_mutex_lock(&lock);
    const char *problem = scope ? attach(scope) : "it is not loaded";
    on = on || !problem;
    const bool watch = !watched;
    watched = true;
    pthread_mutex_unlock(&lock);
    if (watch)
        pthread_atfork(lock_all, unlock_all, unlock_all);
    if (scope && problem)
        dlclose(scope); /* else it stays loaded as long as entries of its point here */
    snprintf(why, size, "%s", problem ? problem : "");
    return problem != NULL;
}

void idse_pyav_detach(void)
{
    pthread_mutex_lock(&lock);
    on = false;
    idse_choices_clear();
    restore();
    pthread_mutex_unlock(&lock);
}

/* -- what can be asked */

int idse_pyav_abi(void)
{
    return PYAV_ABI;
}

const void *idse_pyav_class(void)
{
    pthread_mutex_lock(&lock);
    const void *found = context_class;
    pthread_mutex_unlock(&lock);
    return found;
}

void idse_pyav_log_to(void (*sink)(const char *line))
{
    idse_log_to(sink);
}

int idse_pyav_encoders(struct idse_patched *into)
{
    int count = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < PYAV_ENCODERS; i++) {
        if (records[i].facts.number)
            into[count++] = records[i].facts;
    }
    pthread_mutex_unlock(&lock);
    return count;
}
