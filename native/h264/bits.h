/* Bit strings: NAL unit payloads and a reader that cannot leave them. */
#ifndef IDSE_H264_BITS_H
#define IDSE_H264_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads past the end give zeros and set overrun, which stays set: whoever parses checks it once per
 * structure instead of at every element. */
typedef struct {
    const uint8_t *data;
    size_t size_bits; /* up to and without rbsp_stop_one_bit */
    size_t position;  /* bits */
    bool overrun;
} bit_reader;

/* Removes emulation prevention bytes: `rbsp` takes at most `size` bytes. Returns their number. Ends
 * at a start code, which no unit can hold: cameras append an end-of-sequence unit behind one to the
 * last unit of an mp4 file. */
size_t nal_unescape(uint8_t *rbsp, const uint8_t *nal, size_t size);

/* Starts at the first bit of a raw byte sequence payload. False where it has no stop bit. */
bool bits_open(bit_reader *bits, const uint8_t *rbsp, size_t size);

/* The next `count` bits (0 to 32) without moving. */
uint32_t bits_peek(const bit_reader *bits, unsigned count);
void bits_skip(bit_reader *bits, size_t count);
uint32_t bits_u(bit_reader *bits, unsigned count);
uint32_t bits_ue(bit_reader *bits);
int32_t bits_se(bit_reader *bits);

static inline bool bits_flag(bit_reader *bits)
{
    return bits_u(bits, 1) != 0;
}

static inline bool bits_more(const bit_reader *bits)
{
    return bits->position < bits->size_bits;
}

#endif
