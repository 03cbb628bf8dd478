#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "descriptor.h"

bool idse_describe(int32_t csp, struct idse_hello *hello)
{
    static const struct {
        int csp;
        uint32_t chroma, arrangement;
    } known[] = {
        {CSP_I400, IDSE_GREY, IDSE_PLANAR},      {CSP_I420, IDSE_420, IDSE_PLANAR},
        {CSP_YV12, IDSE_420, IDSE_PLANAR},       {CSP_NV12, IDSE_420, IDSE_PAIRS_CB_CR},
        {CSP_NV21, IDSE_420, IDSE_PAIRS_CR_CB},  {CSP_I422, IDSE_422, IDSE_PLANAR},
        {CSP_YV16, IDSE_422, IDSE_PLANAR},       {CSP_NV16, IDSE_422, IDSE_PAIRS_CB_CR},
        {CSP_I444, IDSE_444, IDSE_PLANAR},       {CSP_YV24, IDSE_444, IDSE_PLANAR},
    };
    if (!!(csp & CSP_HIGH_DEPTH) != (hello->bit_depth > 8))
        return false;
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (known[i].csp == (csp & CSP_MASK)) {
            hello->chroma = known[i].chroma;
            hello->arrangement = known[i].arrangement;
            return true;
        }
    }
    return false;
}

/* Where files may not be as large as that (ulimit -f), trying raises a signal that ends the process. */
static bool may_be_as_large(uint64_t bytes)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && bytes <= limit.rlim_cur;
}

static int sealed_memory(uint64_t bytes)
{
    if (!may_be_as_large(bytes))
        return -1;
    const int file = idse_apart(memfd_create("idse-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (file < 0)
        return -1;
    /* Neither side can take memory away under the other's hands. */
    if (ftruncate(file, (off_t)bytes) ||
        fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        close(file);
        return -1;
    }
    return file;
}

/* Of the memory of a file, which is closed where there is no ring; of our own where that is -1. */
static struct ring *ring_of(const struct idse_hello *hello, int file)
{
    const int kind = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    const uint64_t bytes = idse_ring_bytes(hello);
    struct ring *ring = calloc(1, sizeof(*ring));
    void *base = MAP_FAILED;
    if (ring)
        base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, kind, file, 0);
    if (base == MAP_FAILED) {
        if (file >= 0)
            close(file);
        free(ring);
        return NULL;
    }
    *ring = (struct ring){.hello = *hello, .base = base, .bytes = bytes, .file = file, .users = 1};
    return ring;
}

struct ring *idse_ring_new(const struct idse_hello *hello)
{
    const int file = sealed_memory(idse_ring_bytes(hello));
    return file < 0 ? NULL : ring_of(hello, file);
}

struct ring *idse_ring_own(const struct idse_hello *hello)
{
    return ring_of(hello, -1);
}

struct ring *idse_ring_use(struct ring *ring)
{
    ring->users++;
    return ring;
}

void idse_ring_drop(struct ring *ring)
{
    if (!ring || --ring->users)
        return;
    munmap(ring->base, ring->bytes);
    if (ring->file >= 0)
        close(ring->file);
    free(ring);
}

static uint8_t *slot_at(const struct ring *ring, int slot)
{
    return ring->base + (uint64_t)slot * idse_slot_bytes(&ring->hello);
}

/* Writing to memory that cannot be had would end the process; here it is only an error. */
static bool reserve(const struct ring *ring, uint32_t slot)
{
    if (ring->file < 0)
        return true;
    const uint64_t size = idse_slot_bytes(&ring->hello);
#ifdef MADV_POPULATE_WRITE
    /* Since Linux 5.14, and quicker than one page after the other. */
    if (madvise(ring->base + slot * size, size, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL)
        return false;
#endif
    return posix_fallocate(ring->file, (off_t)(slot * size), (off_t)size) == 0;
}

int idse_ring_take(struct ring *ring)
{
    for (uint32_t slot = 0; slot < ring->hello.slots; slot++) {
        const uint64_t bit = UINT64_C(1) << slot;
        if (ring->taken & bit)
            continue;
        if (!(ring->reserved & bit) && !reserve(ring, slot))
            return -1;
        ring->reserved |= bit;
        ring->taken |= bit;
        return (int)slot;
    }
    return -1;
}

void idse_ring_give(struct ring *ring, int slot)
{
    ring->taken &= ~(UINT64_C(1) << slot);
}

static void copy_rows(uint8_t *into, const uint8_t *from, ptrdiff_t stride, size_t row, size_t rows)
{
    if (stride == (ptrdiff_t)row) {
        memcpy(into, from, row * rows);
        return;
    }
    for (size_t i = 0; i < rows; i++, from += stride)
        memcpy(into + i * row, from, row);
}

void idse_ring_store(const struct ring *ring, int slot, const struct picture *picture,
                     struct picture *stored)
{
    const struct idse_hello *hello = &ring->hello;
    const int csp = picture->image.csp & CSP_MASK;
    const bool swapped = csp == CSP_YV12 || csp == CSP_YV16 || csp == CSP_YV24;
    const bool planar = hello->arrangement == IDSE_PLANAR;
    const int planes = hello->chroma == IDSE_GREY ? 1 : planar ? 3 : 2;
    *stored = *picture;
    stored->image.csp &= ~CSP_VFLIP; /* rows are copied in the order in which they are seen */
    uint8_t *into = slot_at(ring, slot);
    for (int i = 0; i < planes; i++) {
        const int plane = swapped && i ? 3 - i : i;
        const size_t row = idse_row_bytes(hello, i) * (i && !planar ? 2 : 1);
        const size_t rows = idse_rows(hello, i);
        const uint8_t *from = picture->image.plane[plane];
        ptrdiff_t stride = picture->image.stride[plane];
        if (picture->image.csp & CSP_VFLIP) {
            from += (ptrdiff_t)(rows - 1) * stride;
            stride = -stride;
        }
        copy_rows(into, from, stride, row, rows);
        stored->image.plane[plane] = into;
        stored->image.stride[plane] = (int32_t)row;
        into += row * rows;
    }
}

const float *idse_ring_offsets(const struct ring *ring, int slot)
{
    return (const float *)(const void *)(slot_at(ring, slot) + idse_offsets_at(&ring->hello));
}

const uint16_t *idse_ring_weights(const struct ring *ring, int slot)
{
    return (const uint16_t *)(const void *)(slot_at(ring, slot) + idse_weights_at(&ring->hello));
}
