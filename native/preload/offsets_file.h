/* Offsets from a file, verbatim: what x264 is to add to each macroblock's QP.
 *
 * Little endian: "IDSEQPO1", uint32 mb_cols, mb_rows, pictures, 0; then float32
 * [pictures][mb_rows][mb_cols], picture by picture as they are handed to the encoder. */
#ifndef IDSE_OFFSETS_FILE_H
#define IDSE_OFFSETS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct offsets_file {
    int file; /* descriptor; -1: not open */
    uint32_t mb_cols, mb_rows, pictures;
};

/* NULL, or why the file cannot be used. */
const char *idse_offsets_open(struct offsets_file *offsets, const char *path, uint32_t mb_cols,
                              uint32_t mb_rows);

/* Reads those of one picture; false where the file has none of it. */
bool idse_offsets_read(const struct offsets_file *offsets, uint64_t picture, float *into);

void idse_offsets_close(struct offsets_file *offsets);

#endif
