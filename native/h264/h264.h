/* Reads the QP of every macroblock from H.264 streams, without decoding pictures.
 *
 * Nothing here is global: parsers are independent of each other, one must not be used by two
 * threads at a time. */
#ifndef IDSE_H264_H
#define IDSE_H264_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

typedef struct idse_h264_parser idse_h264_parser;

/* Results of reading. Negative ones end a parser: only its problem and close are of use then. */
enum {
    IDSE_H264_DONE = 0,
    IDSE_H264_PICTURE = 1,
    IDSE_H264_DAMAGED = -1,
    IDSE_H264_UNSUPPORTED = -2,
    IDSE_H264_NO_MEMORY = -3,
};

/* Bits of slice_types, of structure and of flags. */
enum { IDSE_H264_P = 1, IDSE_H264_B = 2, IDSE_H264_I = 4 };
enum { IDSE_H264_FRAME = 0, IDSE_H264_MBAFF = 1, IDSE_H264_FIELDS = 2 };

/* A coded frame, or two fields. The arrays have mb_height rows of mb_width macroblocks and stay
 * valid until the next call with the same parser. Of a field pair, macroblock (r, c) of the top
 * field stands in row 2r, of the bottom field in row 2r + 1; of an MBAFF pair, the top macroblock
 * stands above the bottom one, be they frame or field macroblocks. */
typedef struct {
    int64_t tag;   /* as handed in with its first slice */
    int64_t order; /* rises in output order */
    int32_t mb_width, mb_height;
    int32_t slice_types;
    int32_t structure;
    int32_t bit_depth;
    const int8_t *qp;     /* QP_Y, -6 (bit_depth - 8) to 51 */
    const uint8_t *flags; /* 1 carries mb_qp_delta, 2 skipped, 4 intra, 8 I_PCM, 16 present */
    const int32_t *bits;  /* spent on the macroblock, slice header excluded */
} idse_h264_picture;

/* Changes with every signature or struct; idse.native checks it at load. */
EXPORT int idse_h264_abi(void);

/* NULL without memory. */
EXPORT idse_h264_parser *idse_h264_open(void);
EXPORT void idse_h264_close(idse_h264_parser *parser);

/* Reads NAL units from data[*offset] on and advances *offset. `length_size` is the number of bytes
 * of each unit's length (1 to 4), 0 for Annex B. IDSE_H264_PICTURE: the picture before the unit at
 * *offset is complete; fetch it and call again with the same data. A picture is only known to be
 * complete when the next one starts. */
EXPORT int idse_h264_read(idse_h264_parser *parser, const uint8_t *data, size_t size,
                          unsigned length_size, int64_t tag, size_t *offset);

/* Ends the stream: IDSE_H264_PICTURE for its last picture, IDSE_H264_DONE where there was none. */
EXPORT int idse_h264_flush(idse_h264_parser *parser);

/* The picture that the last IDSE_H264_PICTURE announced. */
EXPORT void idse_h264_fetch(const idse_h264_parser *parser, idse_h264_picture *picture);

/* Why the last call failed, in words; an empty string without a failure. */
EXPORT const char *idse_h264_problem(const idse_h264_parser *parser);

/* Where it failed: macroblock address, -1 outside slice data. */
EXPORT int64_t idse_h264_problem_macroblock(const idse_h264_parser *parser);

#endif
