/* Steering the encoders of a library that is in this process already, such as PyAV's libavcodec.
 *
 * Its entries for five functions of libx264 are pointed here, and back again; nothing else of the
 * process is touched. Everything may be called by any thread. */
#ifndef IDSE_PATCH_H
#define IDSE_PATCH_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum { PYAV_ABI = 1, PYAV_ENCODERS = 256 };

/* What is known of one encoder. */
struct idse_patched {
    uint64_t number; /* from 1, in the order in which they were opened */
    int32_t open;
    int32_t build, width, height;
    char mode[8];
    char problem[200];
    /* struct counters */
    uint64_t frames, steered, unsteered, lost, late, age, skipped, sessions, own, waited;
};

EXPORT int idse_pyav_abi(void);

/* Attaches to the libavcodec that the loaded library at `module` uses. 0, or 1 and why not: then
 * nothing was changed. Attaching twice to the same one is no error. */
EXPORT int idse_pyav_attach(const char *module, char *why, size_t size);

/* Encoders that are opened from now on are left alone. Those that are steered go on being so; with
 * the last one the entries are as they were. */
EXPORT void idse_pyav_detach(void);

/* Settings (settings.h) of encoders that nobody has chosen any for; NULL leaves them alone. False:
 * there is no memory. Every block that is ever given is kept, once. */
EXPORT int idse_pyav_default(const char *block, size_t size);

/* The same for the next encoder that the AVCodecContext opens. */
EXPORT int idse_pyav_choose(const void *context, const char *block, size_t size);

/* Whether that encoder is still to come; forgets it. */
EXPORT int idse_pyav_waits(const void *context);
EXPORT void idse_pyav_forget(const void *context);

/* What avcodec_get_class() returns: by it an AVCodecContext can be told. NULL before attaching. */
EXPORT const void *idse_pyav_class(void);

/* Where what is wrong is told, on whatever thread that shows; NULL: standard error. */
EXPORT void idse_pyav_log_to(void (*sink)(const char *line));

/* Open encoders and the latest that were closed, at most PYAV_ENCODERS. Returns their number. */
EXPORT int idse_pyav_encoders(struct idse_patched *into);

#endif
