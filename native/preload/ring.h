/* Pictures in memory that the sidecar can see. */
#ifndef IDSE_RING_H
#define IDSE_RING_H

#include <stdbool.h>

#include "protocol.h"
#include "x264_abi.h"

/* Held by everybody who points into it; the last one to drop it frees it. */
struct ring {
    struct idse_hello hello; /* the layout */
    uint8_t *base;
    uint64_t bytes;
    uint64_t taken;    /* bits of slots in use */
    uint64_t reserved; /* bits of slots that have memory */
    int file;          /* memfd; -1: memory of our own */
    int users;
};

/* Sets chroma and arrangement of `hello` to what pictures of `csp` have; false for packed and RGB
 * pictures, which no network is shown here, and where the samples' width contradicts the depth. */
bool idse_describe(int32_t csp, struct idse_hello *hello);

/* NULL without memory. The second is seen by nobody else. */
struct ring *idse_ring_new(const struct idse_hello *hello);
struct ring *idse_ring_own(const struct idse_hello *hello);
struct ring *idse_ring_use(struct ring *ring);
void idse_ring_drop(struct ring *ring);

/* The lowest free slot, from now on taken; -1: there is none, or no memory for it. */
int idse_ring_take(struct ring *ring);
void idse_ring_give(struct ring *ring, int slot);

/* Copies the samples of `picture` into a slot, and points the image of `stored`, a copy of it, to
 * them. The picture must be one that idse_describe() describes as the ring's. */
void idse_ring_store(const struct ring *ring, int slot, const struct picture *picture,
                     struct picture *stored);

const float *idse_ring_offsets(const struct ring *ring, int slot);
const uint16_t *idse_ring_weights(const struct ring *ring, int slot);

#endif
