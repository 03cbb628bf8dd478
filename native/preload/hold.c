#include "hold.h"

#include <stdlib.h>
#include <string.h>

/* The ring's slot, or one of memory of its own. */
static bool place(struct held *held, struct ring *ring, const struct picture *picture)
{
    struct idse_hello hello = ring->hello;
    held->ring = NULL;
    held->slot = -1;
    if (!idse_describe(picture->image.csp, &hello))
        return false;
    if (hello.chroma == ring->hello.chroma && hello.arrangement == ring->hello.arrangement) {
        held->slot = idse_ring_take(ring);
        if (held->slot >= 0)
            held->ring = idse_ring_use(ring);
    }
    if (held->slot < 0) {
        hello.slots = 1;
        held->ring = idse_ring_own(&hello);
        if (held->ring)
            held->slot = idse_ring_take(held->ring);
    }
    return held->slot >= 0;
}

struct held *idse_hold(struct hold *hold, struct ring *ring, const struct picture *picture,
                       size_t macroblocks)
{
    struct held *held = &hold->items[(hold->first + hold->count) % IDSE_MAX_SLOTS];
    float *own = NULL;
    if (hold->count == IDSE_MAX_SLOTS)
        return NULL;
    if (picture->quant_offsets) {
        own = malloc(macroblocks * sizeof(*own));
        if (!own)
            return NULL;
        memcpy(own, picture->quant_offsets, macroblocks * sizeof(*own));
    }
    if (!place(held, ring, picture)) {
        idse_ring_drop(held->ring);
        free(own);
        return NULL;
    }
    idse_ring_store(held->ring, held->slot, picture, &held->picture);
    if (picture->quant_offsets_free)
        picture->quant_offsets_free(picture->quant_offsets);
    held->picture.quant_offsets = own;
    held->picture.quant_offsets_free = own ? free : NULL;
    held->serial = 0;
    held->answered = false;
    hold->count++;
    return held;
}

struct held *idse_hold_head(struct hold *hold)
{
    return hold->count ? &hold->items[hold->first] : NULL;
}

void idse_hold_taken(struct hold *hold)
{
    struct held *held = &hold->items[hold->first];
    idse_ring_give(held->ring, held->slot);
    idse_ring_drop(held->ring);
    hold->first = (hold->first + 1) % IDSE_MAX_SLOTS;
    hold->count--;
}

static void free_along(struct picture *picture)
{
    if (picture->quant_offsets_free)
        picture->quant_offsets_free(picture->quant_offsets);
    if (picture->mb_info_free)
        picture->mb_info_free(picture->mb_info);
    if (picture->param && picture->param->free)
        picture->param->free(picture->param);
    if (picture->sei.free) {
        for (int i = 0; i < picture->sei.count; i++)
            picture->sei.free(picture->sei.payloads[i].payload);
        picture->sei.free(picture->sei.payloads);
    }
}

void idse_hold_clear(struct hold *hold)
{
    while (hold->count) {
        free_along(&hold->items[hold->first].picture);
        idse_hold_taken(hold);
    }
}
