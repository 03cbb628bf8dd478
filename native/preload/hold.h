/* Pictures that are held back, in the order in which they came. */
#ifndef IDSE_HOLD_H
#define IDSE_HOLD_H

#include <stdbool.h>

#include "ring.h"

struct held {
    struct picture picture; /* its planes in the ring, its offsets the application's, copied */
    struct ring *ring;
    int slot;
    uint32_t serial; /* of the connection that was shown the picture; 0: none was */
    bool answered;
    uint32_t status, flags; /* of the answer */
};

struct hold {
    struct held items[IDSE_MAX_SLOTS];
    uint32_t first, count;
};

/* Copies a picture into a slot of `ring`, or into memory of its own where the ring has another
 * layout or no slot. NULL: there is no memory, or no way to copy such a picture. */
struct held *idse_hold(struct hold *hold, struct ring *ring, const struct picture *picture,
                       size_t macroblocks);

/* The oldest one; NULL: there is none. */
struct held *idse_hold_head(struct hold *hold);

/* Forgets the oldest one, which x264 has taken. */
void idse_hold_taken(struct hold *hold);

/* Forgets all; what the application gave along is freed as x264 does it. */
void idse_hold_clear(struct hold *hold);

#endif
