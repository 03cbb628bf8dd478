/* libjpeg's error manager, made to return instead of to exit. */
#ifndef IDSE_JPEG_SHIM_ERRORS_H
#define IDSE_JPEG_SHIM_ERRORS_H

#include "shim.h"

#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs FILE */

#include <jpeglib.h>

typedef struct {
    struct jpeg_error_mgr base; /* first: libjpeg hands out a pointer to it */
    jmp_buf escape;
    int segments; /* COM and APPn, as far as the file has been read */
    int status;
    char message[IDSE_JPEG_MESSAGE];
} idse_errors;

/* Fills in libjpeg's part; what it returns is for cinfo.err. */
struct jpeg_error_mgr *idse_errors_init(idse_errors *errors);

/* Runs action(context); a failure inside it, libjpeg's or idse_fail's, comes back as its status.
 * What the action allocates it must leave where the caller can free it. */
int idse_guard(idse_errors *errors, void (*action)(void *context), void *context);

/* Ends the running action. */
_Noreturn void idse_fail(idse_errors *errors, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
