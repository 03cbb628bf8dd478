#include "offsets_file.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "descriptor.h"

enum { MAGIC_BYTES = 8 };

struct header {
    char magic[MAGIC_BYTES];
    uint32_t mb_cols, mb_rows, pictures, reserved;
};

/* The file is read, not mapped: one that is truncated meanwhile must not end the process. */
static bool read_whole(int file, void *into, size_t size, uint64_t from)
{
    return pread(file, into, size, (off_t)from) == (ssize_t)size;
}

const char *idse_offsets_open(struct offsets_file *offsets, const char *path, uint32_t mb_cols,
                              uint32_t mb_rows)
{
    struct header header;
    offsets->file = idse_apart(open(path, O_RDONLY | O_CLOEXEC));
    if (offsets->file < 0)
        return "IDSE_OFFSETS cannot be opened";
    const char *problem = NULL;
    if (!read_whole(offsets->file, &header, sizeof(header), 0) ||
        memcmp(header.magic, "IDSEQPO1", MAGIC_BYTES) != 0)
        problem = "IDSE_OFFSETS is no file of QP offsets";
    else if (header.mb_cols != mb_cols || header.mb_rows != mb_rows)
        problem = "IDSE_OFFSETS is for pictures of another size";
    if (problem) {
        idse_offsets_close(offsets);
        return problem;
    }
    offsets->mb_cols = mb_cols;
    offsets->mb_rows = mb_rows;
    offsets->pictures = header.pictures;
    return NULL;
}

bool idse_offsets_read(const struct offsets_file *offsets, uint64_t picture, float *into)
{
    const size_t size = sizeof(float) * offsets->mb_cols * offsets->mb_rows;
    return offsets->file >= 0 && picture < offsets->pictures &&
           read_whole(offsets->file, into, size, sizeof(struct header) + picture * size);
}

void idse_offsets_close(struct offsets_file *offsets)
{
    if (offsets->file >= 0)
        close(offsets->file);
    offsets->file = -1;
}
