#include "shim_errors.h"

#include <jerror.h>
#include <stdarg.h>
#include <string.h>

#ifndef LIBJPEG_TURBO_VERSION
#error "jpeglib.h is not libjpeg-turbo's: install its headers (Debian: libjpeg62-turbo-dev)"
#endif

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* Start-of-frame codes that libjpeg refuses (ITU-T T.81, table B.1). */
static const char *process_name(int code)
{
    switch (code) {
    case 0xC3:
        return "lossless JPEG (SOF3)";
    case 0xC5:
    case 0xC6:
        return "hierarchical JPEG";
    case 0xC7:
        return "hierarchical lossless JPEG (SOF7)";
    case 0xCB:
        return "arithmetic-coded lossless JPEG (SOF11)";
    case 0xCD:
    case 0xCE:
    case 0xCF:
        return "arithmetic-coded hierarchical JPEG";
    default:
        return "reserved kind of JPEG";
    }
}

static int status_of(int code)
{
    switch (code) {
    case JERR_OUT_OF_MEMORY:
        return IDSE_JPEG_NO_MEMORY;
    case JERR_SOF_UNSUPPORTED:
    case JERR_BAD_PRECISION:
    case JERR_ARITH_NOTIMPL:
        return IDSE_JPEG_UNSUPPORTED;
    default:
        return IDSE_JPEG_DAMAGED;
    }
}

static _Noreturn void escape_with_message(j_common_ptr cinfo)
{
    idse_errors *errors = (idse_errors *)cinfo->err;
    char text[JMSG_LENGTH_MAX];
    cinfo->err->format_message(cinfo, text);
    int code = cinfo->err->msg_code;
    if (code == JERR_SOF_UNSUPPORTED) {
        idse_fail(errors, status_of(code), "%s: %s", process_name(cinfo->err->msg_parm.i[0]), text);
    }
    idse_fail(errors, status_of(code), "%s", text);
}

/* Warnings that real files earn although every coefficient of theirs is intact. All others mean
 * that something of the picture was made up. */
static int is_harmless(const struct jpeg_error_mgr *err)
{
    switch (err->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
        return 1;
    case JWRN_EXTRANEOUS_DATA: {
        /* Cameras pad before EOI and other segments; before RSTn it is a segment gone wrong. */
        int marker = err->msg_parm.i[1];
        return marker < 0xD0 || marker > 0xD7;
    }
    default:
        return 0;
    }
}

/* libjpeg's trace messages are the only sign of a segment while it reads a header. */
static void count_segment(idse_errors *errors)
{
    switch (errors->base.msg_code) {
    case JTRC_MISC_MARKER:
    case JTRC_APP0:
    case JTRC_JFIF:
    case JTRC_JFIF_EXTENSION:
    case JTRC_THUMB_JPEG:
    case JTRC_THUMB_PALETTE:
    case JTRC_THUMB_RGB:
    case JTRC_APP14:
    case JTRC_ADOBE:
        if (++errors->segments > IDSE_JPEG_MAX_SEGMENTS) {
            idse_fail(errors, IDSE_JPEG_LIMIT, "more than %d COM and APPn segments",
                      IDSE_JPEG_MAX_SEGMENTS);
        }
        break;
    default:
        break;
    }
}

static void emit_message(j_common_ptr cinfo, int level)
{
    if (level >= 0) { /* a trace message */
        count_segment((idse_errors *)cinfo->err);
        return;
    }
    if (!is_harmless(cinfo->err)) {
        escape_with_message(cinfo);
    }
    cinfo->err->num_warnings++;
}

static void output_message(j_common_ptr cinfo)
{
    (void)cinfo; /* nothing is printed */
}

struct jpeg_error_mgr *idse_errors_init(idse_errors *errors)
{
    jpeg_std_error(&errors->base);
    errors->base.error_exit = escape_with_message;
    errors->base.emit_message = emit_message;
    errors->base.output_message = output_message;
    errors->segments = 0;
    errors->status = IDSE_JPEG_OK;
    errors->message[0] = '\0';
    return &errors->base;
}

int idse_guard(idse_errors *errors, void (*action)(void *context), void *context)
{
    errors->status = IDSE_JPEG_OK;
    errors->message[0] = '\0';
    if (setjmp(errors->escape)) {
        return errors->status;
    }
    action(context);
    return IDSE_JPEG_OK;
}

_Noreturn void idse_fail(idse_errors *errors, int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(errors->message, sizeof errors->message, format, arguments);
    va_end(arguments);
    errors->status = status;
    longjmp(errors->escape, 1);
}

int idse_jpeg_abi(void)
{
    return 1;
}

const char *idse_jpeg_version(void)
{
    return TEXT(LIBJPEG_TURBO_VERSION);
}

typedef struct {
    idse_errors errors;
    struct jpeg_decompress_struct cinfo;
} checker;

static void check(void *context)
{
    checker *c = context;
    struct jpeg_error_mgr *err = c->cinfo.err = idse_errors_init(&c->errors);
    /* The other libjpegs have the same functions, but not the same results. */
    const char *owner = err->jpeg_message_table[JMSG_COPYRIGHT];
    if (!strstr(owner, "libjpeg-turbo")) {
        idse_fail(&c->errors, IDSE_JPEG_UNSUPPORTED, "not a libjpeg-turbo: \"%s\"", owner);
    }
    jpeg_create_decompress(&c->cinfo); /* compares the sizes of structs */
}

int idse_jpeg_check(char message[IDSE_JPEG_MESSAGE])
{
    checker c = {0};
    int status = idse_guard(&c.errors, check, &c);
    jpeg_destroy_decompress(&c.cinfo);
    memcpy(message, c.errors.message, IDSE_JPEG_MESSAGE);
    return status;
}
