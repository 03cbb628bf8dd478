#include "bits.h"

#include <string.h>

size_t nal_unescape(uint8_t *rbsp, const uint8_t *nal, size_t size)
{
    size_t out = 0;
    size_t zeros = 0;
    for (size_t i = 0; i < size; i++) {
        if (zeros >= 2 && nal[i] == 3) {
            zeros = 0;
            continue;
        }
        if (zeros >= 2 && nal[i] == 1) {
            break;
        }
        zeros = nal[i] == 0 ? zeros + 1 : 0;
        rbsp[out++] = nal[i];
    }
    return out;
}

bool bits_open(bit_reader *bits, const uint8_t *rbsp, size_t size)
{
    memset(bits, 0, sizeof(*bits));
    while (size > 0 && rbsp[size - 1] == 0) { /* cabac_zero_words */
        size--;
    }
    if (size == 0) {
        return false;
    }
    unsigned trailing = 0;
    while (!((rbsp[size - 1] >> trailing) & 1)) {
        trailing++;
    }
    bits->data = rbsp;
    bits->size_bits = size * 8 - trailing - 1;
    return true;
}

uint32_t bits_peek(const bit_reader *bits, unsigned count)
{
    if (count == 0 || bits->position >= bits->size_bits) {
        return 0;
    }
    /* The last byte that may be read is the one that holds the stop bit. */
    const size_t bytes = bits->size_bits / 8 + 1;
    const size_t first = bits->position / 8;
    uint64_t window = 0;
    for (size_t i = 0; i < 5; i++) {
        window = window << 8 | (first + i < bytes ? bits->data[first + i] : 0);
    }
    window <<= 24 + bits->position % 8;
    return (uint32_t)(window >> (64 - count));
}

void bits_skip(bit_reader *bits, size_t count)
{
    if (count > bits->size_bits - bits->position) {
        bits->position = bits->size_bits;
        bits->overrun = true;
    } else {
        bits->position += count;
    }
}

uint32_t bits_u(bit_reader *bits, unsigned count)
{
    const uint32_t value = bits_peek(bits, count);
    bits_skip(bits, count);
    return bits->overrun ? 0 : value;
}

uint32_t bits_ue(bit_reader *bits)
{
    const uint32_t window = bits_peek(bits, 32);
    if (window == 0) { /* longer than any value of a valid stream, or past the end */
        bits->position = bits->size_bits;
        bits->overrun = true;
        return 0;
    }
    unsigned zeros = 0;
    while (!(window >> (31 - zeros))) {
        zeros++;
    }
    bits_skip(bits, zeros + 1);
    return ((uint32_t)1 << zeros) - 1 + bits_u(bits, zeros);
}

int32_t bits_se(bit_reader *bits)
{
    const uint32_t code = bits_ue(bits);
    const int32_t magnitude = (int32_t)(code / 2 + code % 2);
    return code % 2 ? magnitude : -magnitude;
}
