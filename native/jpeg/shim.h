/* libjpeg-turbo for callers that must survive bad input: reads JPEG files to quantised coefficients
 * or to pixels, and writes them from either.
 *
 * Nothing here is global: readers and calls are independent of each other, one reader must not be
 * used by two threads at a time. libjpeg never prints, and never ends the process: whatever it calls
 * an error, and every warning that means lost picture data, comes back as a status and a message. */
#ifndef IDSE_JPEG_SHIM_H
#define IDSE_JPEG_SHIM_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum { IDSE_JPEG_COMPONENTS = 3, IDSE_JPEG_BLOCK = 64, IDSE_JPEG_MESSAGE = 256 };

/* No file of more scans is read or written: a small one can hold enough of them to keep a decoder
 * busy for hours. Encoders write about ten. Nor of more COM and APPn segments: libjpeg's time for
 * them grows with their square. */
enum { IDSE_JPEG_MAX_SCANS = 100, IDSE_JPEG_MAX_SEGMENTS = 4096 };

enum {
    IDSE_JPEG_OK = 0,
    IDSE_JPEG_DAMAGED = -1,     /* not a JPEG, cut short, or corrupt */
    IDSE_JPEG_UNSUPPORTED = -2, /* a kind of JPEG that this does not read */
    IDSE_JPEG_NO_MEMORY = -3,
    IDSE_JPEG_LIMIT = -4,   /* more pixels, scans or segments than allowed */
    IDSE_JPEG_REFUSED = -5, /* the caller asked for what cannot be */
};

/* What the samples of a file or of an array are. */
enum { IDSE_JPEG_GREY = 1, IDSE_JPEG_RGB = 2, IDSE_JPEG_YCC = 3 };

typedef struct {
    int32_t width, height;
    int32_t components; /* 1 or 3 */
    int32_t colour;     /* as coded: GREY, YCC, or RGB */
    int32_t horizontal[IDSE_JPEG_COMPONENTS], vertical[IDSE_JPEG_COMPONENTS];
    /* 8x8 blocks that cover the component's samples, those that only fill an MCU not counted. */
    int32_t rows[IDSE_JPEG_COMPONENTS], columns[IDSE_JPEG_COMPONENTS];
    int32_t progressive;
    int32_t restart_interval; /* MCUs between restart markers in the first scan, 0 without them */
    int32_t markers;          /* COM and APPn segments before the first scan */
} idse_jpeg_header;

typedef struct {
    int32_t code;  /* 0xE0 to 0xEF (APPn) or 0xFE (COM) */
    uint32_t size; /* at most 65533 */
    const uint8_t *data;
} idse_jpeg_marker;

/* One scan of a script: indices of components in ascending order, first and last frequency in
 * zigzag order, and successive approximation's bit positions, as in a scan header. */
typedef struct {
    int32_t count;
    int32_t component[IDSE_JPEG_COMPONENTS];
    int32_t ss, se, ah, al;
} idse_jpeg_scan;

typedef struct {
    int32_t width, height;
    int32_t components; /* 1: grey, 3: Y, Cb, Cr */
    int32_t horizontal[IDSE_JPEG_COMPONENTS], vertical[IDSE_JPEG_COMPONENTS];
    uint16_t tables[IDSE_JPEG_COMPONENTS][IDSE_JPEG_BLOCK]; /* natural order */
    int32_t optimise;     /* Huffman tables made for the picture; several scans imply it */
    int32_t restart_rows; /* MCU rows between restart markers, 0 without them */
    int32_t scan_count;   /* 0: one sequential scan */
    const idse_jpeg_scan *scans;
    /* Of the JFIF segment, which always is written. */
    int32_t jfif_minor, density_unit, density_x, density_y;
    int32_t marker_count; /* to be written after it */
    const idse_jpeg_marker *markers;
} idse_jpeg_settings;

/* `data` is to be given back with idse_jpeg_free, also after a failure. */
typedef struct {
    uint8_t *data;
    uint64_t size;
    char message[IDSE_JPEG_MESSAGE];
} idse_jpeg_output;

typedef struct idse_jpeg_reader idse_jpeg_reader;

/* Changes with every signature or struct; idse.native checks it at load. */
EXPORT int idse_jpeg_abi(void);

/* The libjpeg-turbo that this was compiled against, like "2.1.5". */
EXPORT const char *idse_jpeg_version(void);

/* IDSE_JPEG_OK if the library that was loaded is a libjpeg-turbo of the same ABI; else why not. */
EXPORT int idse_jpeg_check(char message[IDSE_JPEG_MESSAGE]);

/* Opens `data` (which must outlive the reader) and reads its header. NULL without memory. On any
 * status but IDSE_JPEG_OK only idse_jpeg_problem and idse_jpeg_close are of use.
 * Pictures of more than `max_pixels` are refused. */
EXPORT idse_jpeg_reader *idse_jpeg_open(const uint8_t *data, size_t size, uint64_t max_pixels,
                                        idse_jpeg_header *header, int *status);
EXPORT void idse_jpeg_close(idse_jpeg_reader *reader);

/* Why the last call failed, in words; an empty string without a failure. */
EXPORT const char *idse_jpeg_problem(const idse_jpeg_reader *reader);

/* Segment `index` of header.markers; `data` points into the reader. Reading coefficients or pixels
 * ends the segments. */
EXPORT int idse_jpeg_get_marker(idse_jpeg_reader *reader, int32_t index, idse_jpeg_marker *marker);

/* Fills coefficients[i] (rows x columns x 64, natural order) and tables (natural order) of every
 * component. One read, of coefficients or of pixels, is all that a reader gives. */
EXPORT int idse_jpeg_read_coefficients(
    idse_jpeg_reader *reader, int16_t *const coefficients[IDSE_JPEG_COMPONENTS],
    uint16_t tables[IDSE_JPEG_COMPONENTS][IDSE_JPEG_BLOCK]);

/* Fills height x width pixels of 1 (GREY) or 3 bytes. */
EXPORT int idse_jpeg_read_pixels(idse_jpeg_reader *reader, int32_t colour, uint8_t *pixels);

/* Encodes height x width pixels, `colour` GREY or RGB, as libjpeg's own encoder does. */
EXPORT int idse_jpeg_encode(const idse_jpeg_settings *settings, const uint8_t *pixels,
                            int32_t colour, idse_jpeg_output *output);

/* Writes quantised coefficients, shaped as idse_jpeg_read_coefficients gives them. */
EXPORT int idse_jpeg_write(const idse_jpeg_settings *settings,
                           const int16_t *const coefficients[IDSE_JPEG_COMPONENTS],
                           idse_jpeg_output *output);
EXPORT void idse_jpeg_free(idse_jpeg_output *output);

#endif
