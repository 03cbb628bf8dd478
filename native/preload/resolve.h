/* The real libx264 behind an encoder. */
#ifndef IDSE_RESOLVE_H
#define IDSE_RESOLVE_H

#include <stdbool.h>

#include "x264_abi.h"

/* Functions of one library. The last is NULL where the library takes no weights. */
struct x264 {
    int build;
    void *(*open)(struct param *);
    int (*encode)(void *, void **, int *, struct picture *, struct picture *);
    void (*close)(void *);
    int (*delayed)(void *);
    int (*maximum_delayed)(void *);
    void (*parameters)(void *, struct param *);
    void (*param_default)(struct param *);
    int (*param_parse)(struct param *, const char *, const char *);
    void (*picture_init)(struct picture *);
    int (*picture_alloc)(struct picture *, int csp, int width, int height);
    void (*picture_clean)(struct picture *);
    int (*set_weights)(void *, int64_t, const struct distortion *);
};

/* Finds the library that would have been called if we were not there. `self` is our own function
 * of that name, `caller` an address in the code that called it. NULL: there is none. */
void *idse_resolve(const char *name, const void *self, const void *caller);

/* Finds the library that has x264_encoder_open_`build`. False where a function is missing; `open`
 * is then set if that one was found. */
bool idse_resolve_library(int build, const void *self, const void *caller, struct x264 *found);

/* The same where x264_encoder_open_`build` is known already. */
bool idse_library_of(int build, void *open, struct x264 *found);

/* NULL where the library's structures lie as declared, else what differs. */
const char *idse_layout_problem(const struct x264 *library);

#endif
