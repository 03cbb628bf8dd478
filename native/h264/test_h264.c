/* The parser on whole, truncated and damaged streams; meant to run under ASan and UBSan. */
#include "h264.h"
#include "test_streams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    long pictures, sum_of_qp, coded, skipped, bits;
    int status;
} totals;

static void add_picture(const idse_h264_parser *parser, totals *sum)
{
    idse_h264_picture picture;
    idse_h264_fetch(parser, &picture);
    sum->pictures++;
    for (int32_t i = 0; i < picture.mb_width * picture.mb_height; i++) {
        sum->sum_of_qp += picture.qp[i];
        sum->coded += picture.flags[i] & 1;
        sum->skipped += picture.flags[i] >> 1 & 1;
        sum->bits += picture.bits[i];
    }
}

/* Parses a copy of exactly `size` bytes, so that a read past its end is seen. */
static totals parse(const uint8_t *data, size_t size, unsigned length_size)
{
    totals sum = {0};
    uint8_t *copy = malloc(size ? size : 1);
    idse_h264_parser *parser = idse_h264_open();
    if (!copy || !parser) {
        fprintf(stderr, "no memory for the test\n");
        exit(1);
    }
    memcpy(copy, data, size);
    size_t offset = 0;
    while ((sum.status = idse_h264_read(parser, copy, size, length_size, 0, &offset)) ==
           IDSE_H264_PICTURE) {
        add_picture(parser, &sum);
    }
    if (sum.status == IDSE_H264_DONE) {
        sum.status = idse_h264_flush(parser);
        if (sum.status == IDSE_H264_PICTURE) {
            add_picture(parser, &sum);
            sum.status = IDSE_H264_DONE;
        }
    }
    if (sum.status < 0 && idse_h264_problem(parser)[0] == '\0') {
        fprintf(stderr, "a failure without a reason\n");
        exit(1);
    }
    idse_h264_close(parser);
    free(copy);
    return sum;
}

static int check_whole(size_t i)
{
    const totals sum = parse(streams[i].data, streams[i].size, 0);
    const int good = sum.status == 0 && sum.pictures == streams[i].pictures &&
                     sum.sum_of_qp == streams[i].sum_of_qp && sum.coded == streams[i].coded &&
                     sum.skipped == streams[i].skipped && sum.bits == streams[i].bits;
    if (!good) {
        fprintf(stderr, "%s: status %d, pictures %ld, qp %ld, coded %ld, skipped %ld, bits %ld\n",
                streams[i].name, sum.status, sum.pictures, sum.sum_of_qp, sum.coded, sum.skipped,
                sum.bits);
    }
    return good;
}

/* A cut stream gives the pictures before the cut, then an error or a clean end. */
static int check_truncated(size_t i)
{
    for (size_t size = 0; size < streams[i].size; size++) {
        const totals sum = parse(streams[i].data, size, 0);
        if (sum.pictures > streams[i].pictures ||
            (sum.status == 0 && sum.pictures == streams[i].pictures)) {
            fprintf(stderr, "%s cut to %zu bytes reads as whole\n", streams[i].name, size);
            return 0;
        }
        parse(streams[i].data, size, 1 + size % 4); /* start codes taken for lengths */
    }
    return 1;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Flips bits and overwrites bytes: any answer will do, undefined behaviour will not. */
static void fuzz(size_t i, unsigned rounds)
{
    uint64_t state = 0x9e3779b97f4a7c15u + i;
    uint8_t *data = malloc(streams[i].size);
    if (!data) {
        exit(1);
    }
    for (unsigned round = 0; round < rounds; round++) {
        memcpy(data, streams[i].data, streams[i].size);
        const unsigned changes = 1 + (unsigned)(next_random(&state) % 6);
        for (unsigned change = 0; change < changes; change++) {
            /* Half of the damage hits the headers, where it does most. */
            const size_t reach = next_random(&state) % 2 ? streams[i].size : 64;
            const size_t at = next_random(&state) % reach;
            if (next_random(&state) % 4) {
                data[at] ^= (uint8_t)(1u << next_random(&state) % 8);
            } else {
                data[at] = (uint8_t)next_random(&state);
            }
        }
        parse(data, streams[i].size, 0);
    }
    free(data);
}

int main(void)
{
    int good = 1;
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        good &= check_whole(i) && check_truncated(i);
        fuzz(i, 4000);
    }
    return good ? 0 : 1;
}
