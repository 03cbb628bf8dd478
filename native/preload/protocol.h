/* Version 1 of the protocol between an encoder's process and the sidecar (`idse serve`).
 *
 * A Unix stream socket, one connection per encoder. Both sides write messages of 128 bytes, little
 * endian, without padding that is not named here; after HELLO the client also writes
 * `options_length` bytes of text. plugin/idse/server/protocol.py says the same in Python.
 *
 *   client  HELLO (with the ring's memfd as SCM_RIGHTS), options
 *   server  WELCOME; unless its status is IDSE_OK the server closes the connection after it
 *   client  FRAME ...    one for each picture, its slot filled before, its index larger than before
 *   server  OFFSETS ...  exactly one for each FRAME, in the order of the FRAMEs
 *   server  WORKING ...  between them where the next OFFSETS take long: it has got on since it was
 *                        last heard, and a client that gives up after a while waits anew
 *   client  END          no more FRAMEs: the server answers those that it still looks at
 *   client  BYE          the encoder is closed; the client closes the connection after it
 *
 * A slot belongs to the server from FRAME until its OFFSETS, else to the client. The server answers
 * a FRAME once WELCOME's `lookahead` FRAMEs or END have followed it, or before; the client counts on
 * no more, but may send as many as it has slots. In live mode lookahead is 0, and every FRAME is
 * answered as soon as something is known of it, with IDSE_REFUSED if nothing can be known in time.
 *
 * Whoever reads something that is not described here closes the connection. The client then encodes
 * on without the server and connects anew, with a new ring, after a while.
 *
 * The ring is a memfd, sealed by F_SEAL_SHRINK and F_SEAL_GROW, of exactly idse_ring_bytes(). Slot s
 * begins at s * idse_slot_bytes() and holds
 *   the planes   Y, Cb, Cr (or Y and interleaved chroma), rows without gaps between them, planes
 *                without gaps between them; samples of 1 byte, or 2 (the low bits hold the value)
 *                where the bit depth is above 8. Written by the client.
 *   the offsets  float32 [mb_rows][mb_cols], QP; at idse_offsets_at(). Written by the server.
 *   the weights  uint16 [4 mb_rows][4 mb_cols], 256 is 1; at idse_weights_at(). Written by the
 *                server where HELLO has IDSE_WEIGHTS.
 * Both sides compute the layout from HELLO alone. */
#ifndef IDSE_PROTOCOL_H
#define IDSE_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#define IDSE_MAGIC UINT32_C(0x45534449) /* "IDSE" */

enum { IDSE_PROTOCOL_VERSION = 1, IDSE_MESSAGE_BYTES = 128, IDSE_MAX_OPTIONS = 4096 };

/* The largest ring that a client may ask for; a slot always fits at least once. */
enum { IDSE_MAX_SLOTS = 64, IDSE_MAX_SIDE = 16384 };

enum {
    IDSE_HELLO = 1,
    IDSE_WELCOME = 2,
    IDSE_FRAME = 3,
    IDSE_OFFSETS = 4,
    IDSE_END = 5,
    IDSE_BYE = 6,
    IDSE_WORKING = 7,
};

/* Chroma. */
enum { IDSE_GREY = 0, IDSE_420 = 1, IDSE_422 = 2, IDSE_444 = 3 };

/* How a picture's chroma lies in memory: two planes, or one of pairs (Cb first, Cr first). */
enum { IDSE_PLANAR = 0, IDSE_PAIRS_CB_CR = 1, IDSE_PAIRS_CR_CB = 2 };

enum { IDSE_PROGRESSIVE = 0, IDSE_TOP_FIRST = 1, IDSE_BOTTOM_FIRST = 2 };

/* As X264_RC_*. */
enum { IDSE_RATE_CQP = 0, IDSE_RATE_CRF = 1, IDSE_RATE_ABR = 2 };

/* HELLO's flags: does not wait for maps; can take weights inside macroblocks. */
enum { IDSE_LIVE = 1, IDSE_WEIGHTS = 2 };

struct idse_hello {
    uint32_t width, height; /* luma samples, as coded */
    uint32_t chroma;
    uint32_t bit_depth; /* 8 or 10 */
    uint32_t arrangement;
    uint32_t matrix; /* matrix_coefficients of ITU-T H.273; 2 is unspecified */
    uint32_t transfer; /* transfer_characteristics of ITU-T H.273; 2 is unspecified */
    uint32_t full_range; /* 0 or 1 */
    uint32_t interlaced;
    uint32_t fps_num, fps_den;
    uint32_t timebase_num, timebase_den; /* seconds per unit of FRAME's pts */
    uint32_t rate_method;
    float crf; /* of IDSE_RATE_CRF, else 0 */
    uint32_t passes; /* 1: writes statistics, 2: reads them, 3: both */
    uint32_t aq_mode;
    float aq_strength;
    uint32_t mb_tree; /* 0 or 1 */
    uint32_t mb_cols, mb_rows; /* an even number of rows where interlaced */
    uint32_t slots; /* 1 to IDSE_MAX_SLOTS; `lookahead` is less in wait mode */
    uint32_t flags;
    uint32_t options_length; /* 0 to IDSE_MAX_OPTIONS: UTF-8, words as a shell splits them */
    uint32_t build; /* X264_BUILD of the library that encodes */
    uint32_t pid;
    uint8_t reserved[16]; /* zeros */
};

/* WELCOME's status: go on; never, whatever is tried again (see reason); not now. */
enum { IDSE_OK = 0, IDSE_NEVER = 1, IDSE_BUSY = 2 };

struct idse_welcome {
    uint32_t status;
    uint32_t lookahead; /* FRAMEs that may have to follow one before it is answered */
    char reason[112]; /* UTF-8, one line, ends in a zero byte */
};

/* FRAME's flags. */
enum { IDSE_KEYFRAME = 1 }; /* the application forces a key frame */

struct idse_frame {
    int64_t index; /* of the picture among those that the encoder was handed, from 0 */
    int64_t pts;
    uint32_t slot;
    uint32_t flags;
    uint64_t deadline; /* microseconds of CLOCK_MONOTONIC after which OFFSETS are of no use; 0: none */
    uint64_t frames, steered; /* pictures handed on to x264 so far, and those with offsets */
    uint8_t reserved[72]; /* zeros */
};

/* OFFSETS' status: the slot holds them; x264 is to be left to itself; no answer in time. */
enum { IDSE_STEERED = 0, IDSE_UNSTEERED = 1, IDSE_REFUSED = 2 };

/* OFFSETS' flags. */
enum { IDSE_HAS_WEIGHTS = 1, IDSE_ANALYSED = 2 }; /* the picture has a map of its own */

struct idse_offsets {
    int64_t index; /* and slot: those of the FRAME that is answered */
    uint32_t slot;
    uint32_t status;
    uint32_t flags;
    uint32_t latency; /* microseconds that the server has had the picture */
    uint8_t reserved[96]; /* zeros */
};

struct idse_bye {
    uint64_t frames; /* handed on to x264 */
    uint64_t steered; /* with offsets */
    uint64_t late; /* live: with offsets of an earlier picture */
    uint64_t lost; /* without, because the server did not answer */
    uint8_t reserved[88]; /* zeros */
};

struct idse_message {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    union {
        struct idse_hello hello;
        struct idse_welcome welcome;
        struct idse_frame frame;
        struct idse_offsets offsets;
        struct idse_bye bye;
        uint8_t bytes[120];
    } body;
};

_Static_assert(sizeof(struct idse_hello) == 120, "a message has 128 bytes");
_Static_assert(sizeof(struct idse_welcome) == 120, "a message has 128 bytes");
_Static_assert(sizeof(struct idse_frame) == 120, "a message has 128 bytes");
_Static_assert(sizeof(struct idse_offsets) == 120, "a message has 128 bytes");
_Static_assert(sizeof(struct idse_bye) == 120, "a message has 128 bytes");
_Static_assert(sizeof(struct idse_message) == IDSE_MESSAGE_BYTES, "a message has 128 bytes");

/* -- the ring */

enum { IDSE_AREA_ALIGN = 64, IDSE_SLOT_ALIGN = 4096 };

static inline uint64_t idse_align(uint64_t size, uint64_t to)
{
    return (size + to - 1) / to * to;
}

/* Bytes of one row of luma (plane 0) or of one plane of Cb or Cr. */
static inline uint64_t idse_row_bytes(const struct idse_hello *h, int plane)
{
    const int halved = plane > 0 && (h->chroma == IDSE_420 || h->chroma == IDSE_422);
    const uint64_t samples = halved ? (h->width + 1) / 2 : h->width;
    return samples * (h->bit_depth > 8 ? 2 : 1);
}

static inline uint64_t idse_rows(const struct idse_hello *h, int plane)
{
    return plane > 0 && h->chroma == IDSE_420 ? (h->height + 1) / 2 : h->height;
}

static inline uint64_t idse_plane_bytes(const struct idse_hello *h, int plane)
{
    return plane > 0 && h->chroma == IDSE_GREY ? 0 : idse_row_bytes(h, plane) * idse_rows(h, plane);
}

static inline uint64_t idse_offsets_at(const struct idse_hello *h)
{
    return idse_align(idse_plane_bytes(h, 0) + 2 * idse_plane_bytes(h, 1), IDSE_AREA_ALIGN);
}

static inline uint64_t idse_weights_at(const struct idse_hello *h)
{
    const uint64_t macroblocks = (uint64_t)h->mb_cols * h->mb_rows;
    return idse_align(idse_offsets_at(h) + macroblocks * sizeof(float), IDSE_AREA_ALIGN);
}

static inline uint64_t idse_slot_bytes(const struct idse_hello *h)
{
    const uint64_t macroblocks = (uint64_t)h->mb_cols * h->mb_rows;
    const uint64_t weights = h->flags & IDSE_WEIGHTS ? 16 * macroblocks * sizeof(uint16_t) : 0;
    return idse_align(idse_weights_at(h) + weights, IDSE_SLOT_ALIGN);
}

static inline uint64_t idse_ring_bytes(const struct idse_hello *h)
{
    return idse_slot_bytes(h) * h->slots;
}

#endif
