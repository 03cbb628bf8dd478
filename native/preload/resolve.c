#include "resolve.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The scope of the code that called us, where it is not the global one: Python loads PyAV's
 * libavcodec, and GStreamer its plugins, with RTLD_LOCAL, and libx264 with them. */
static void *scope_of(const void *address)
{
    Dl_info info;
    if (!dladdr(address, &info) || !info.dli_fname)
        return NULL;
    return dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
}

void *idse_resolve(const char *name, const void *self, const void *caller)
{
    /* In the dynamic linker's own order: what is global and after us, then what is the caller's. */
    void *found = dlsym(RTLD_NEXT, name);
    if (found && found != self)
        return found;
    void *scope = scope_of(caller);
    if (!scope)
        return NULL;
    found = dlsym(scope, name);
    dlclose(scope); /* the caller keeps it loaded */
    return found == self ? NULL : found;
}

/* ISO C has no conversion from an object's pointer to a function's; POSIX has, for dlsym. */
static bool take(void *scope, const char *name, void *function)
{
    void *found = dlsym(scope, name);
    memcpy(function, &found, sizeof(found));
    return found != NULL;
}

bool idse_library_of(int build, void *open, struct x264 *found)
{
    memset(found, 0, sizeof(*found));
    found->build = build;
    memcpy(&found->open, &open, sizeof(open));
    /* Everything else from the same file: a process may hold several libraries of x264. */
    void *scope = scope_of(open);
    if (!scope)
        return false;
    const bool all = take(scope, "x264_encoder_encode", &found->encode) &&
                     take(scope, "x264_encoder_close", &found->close) &&
                     take(scope, "x264_encoder_delayed_frames", &found->delayed) &&
                     take(scope, "x264_encoder_maximum_delayed_frames", &found->maximum_delayed) &&
                     take(scope, "x264_encoder_parameters", &found->parameters) &&
                     take(scope, "x264_param_default", &found->param_default) &&
                     take(scope, "x264_param_parse", &found->param_parse) &&
                     take(scope, "x264_picture_init", &found->picture_init) &&
                     take(scope, "x264_picture_alloc", &found->picture_alloc) &&
                     take(scope, "x264_picture_clean", &found->picture_clean);
    take(scope, "x264_encoder_set_distortion_weights", &found->set_weights);
    dlclose(scope);
    return all;
}

bool idse_resolve_library(int build, const void *self, const void *caller, struct x264 *found)
{
    char name[40];
    snprintf(name, sizeof(name), "x264_encoder_open_%d", build);
    void *open = idse_resolve(name, self, caller);
    if (open)
        return idse_library_of(build, open, found);
    memset(found, 0, sizeof(*found));
    return false;
}
