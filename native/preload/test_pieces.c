/* The ring, held pictures and files of offsets; meant to run under ASan and UBSan. */
#include <string.h>
#include <unistd.h>

#include "hold.h"
#include "offsets_file.h"
#include "test_common.h"

static struct idse_hello small(void)
{
    return (struct idse_hello){.width = WIDTH,
                               .height = HEIGHT,
                               .chroma = IDSE_420,
                               .bit_depth = 8,
                               .mb_cols = 5,
                               .mb_rows = 3,
                               .slots = 4,
                               .flags = IDSE_WEIGHTS};
}

static void test_ring(void)
{
    const struct idse_hello hello = small();
    CHECK(idse_slot_bytes(&hello) % IDSE_SLOT_ALIGN == 0);
    struct ring *ring = idse_ring_new(&hello);
    CHECK(ring != NULL);
    CHECK(ftruncate(ring->file, 10) != 0); /* sealed */
    CHECK(ftruncate(ring->file, (off_t)ring->bytes * 2) != 0);
    uint8_t *memory = malloc((WIDTH + 8) * HEIGHT * 2);
    for (int i = 0; i < (WIDTH + 8) * HEIGHT * 2; i++)
        memory[i] = (uint8_t)(i * 7 ^ i >> 5);
    static const int CSPS[] = {CSP_I420, CSP_YV12, CSP_I420 | CSP_VFLIP};
    for (int slot = 0; slot < 3; slot++) {
        CHECK(idse_ring_take(ring) == slot);
        const struct picture picture = noise(memory, CSPS[slot], 8);
        struct picture stored;
        idse_ring_store(ring, slot, &picture, &stored);
        const bool flipped = CSPS[slot] & CSP_VFLIP;
        for (int plane = 0; plane < 3; plane++) {
            const int rows = plane ? HEIGHT / 2 : HEIGHT, row = plane ? WIDTH / 2 : WIDTH;
            for (int y = 0; y < rows; y++) {
                const int from = flipped ? rows - 1 - y : y;
                CHECK(memcmp(stored.image.plane[plane] + y * stored.image.stride[plane],
                             picture.image.plane[plane] + from * picture.image.stride[plane],
                             (size_t)row) == 0);
            }
        }
        /* Cb is before Cr in memory, whatever the application's order. */
        CHECK((stored.image.plane[1] < stored.image.plane[2]) == (CSPS[slot] != CSP_YV12));
    }
    CHECK(idse_ring_take(ring) == 3);
    CHECK(idse_ring_take(ring) == -1);
    idse_ring_give(ring, 1);
    CHECK(idse_ring_take(ring) == 1);
    idse_ring_drop(idse_ring_use(ring));
    idse_ring_drop(ring);
    free(memory);
}

static void test_descriptions(void)
{
    struct idse_hello hello = small();
    CHECK(idse_describe(CSP_NV21, &hello) && hello.arrangement == IDSE_PAIRS_CR_CB);
    CHECK(!idse_describe(CSP_I420 | CSP_HIGH_DEPTH, &hello));
    CHECK(!idse_describe(0x0e, &hello)); /* BGR */
    hello.bit_depth = 10;
    CHECK(idse_describe(CSP_I444 | CSP_HIGH_DEPTH, &hello) && hello.chroma == IDSE_444);
}

static void test_hold(void)
{
    const struct idse_hello hello = small();
    struct ring *ring = idse_ring_new(&hello);
    struct hold *hold = calloc(1, sizeof(*hold));
    uint8_t *memory = calloc(WIDTH * HEIGHT * 2, 1);
    for (int i = 0; i < 6; i++) {
        /* Beyond the ring's slots, and of another arrangement: in memory of their own. */
        struct picture picture = noise(memory, i == 1 ? CSP_NV12 : CSP_I420, 0);
        picture.pts = i;
        picture.quant_offsets = calloc(MACROBLOCKS, sizeof(float));
        picture.quant_offsets[3] = (float)i;
        picture.quant_offsets_free = count_free;
        picture.mb_info = malloc(1);
        picture.mb_info_free = count_free;
        CHECK(idse_hold(hold, ring, &picture, MACROBLOCKS) != NULL);
    }
    CHECK(freed == 6);
    struct picture packed = noise(memory, 0x0f, 0);
    CHECK(idse_hold(hold, ring, &packed, MACROBLOCKS) == NULL);
    struct held *head = idse_hold_head(hold);
    CHECK(head->picture.pts == 0 && head->ring == ring);
    free(head->picture.quant_offsets);
    count_free(head->picture.mb_info);
    idse_hold_taken(hold);
    CHECK(idse_hold_head(hold)->ring != ring);
    CHECK(idse_hold_head(hold)->picture.quant_offsets[3] == 1);
    idse_hold_clear(hold);
    CHECK(freed == 12 && idse_hold_head(hold) == NULL);
    idse_ring_drop(ring);
    free(hold);
    free(memory);
}

static void test_offsets_file(const char *path)
{
    struct offsets_file offsets;
    const uint32_t head[6] = {0x45534449, 0x314f5051, 5, 3, 2, 0};
    float values[2 * MACROBLOCKS], read[MACROBLOCKS];
    for (int i = 0; i < 2 * MACROBLOCKS; i++)
        values[i] = (float)i / 4;
    CHECK(idse_offsets_open(&offsets, path, 5, 3) != NULL); /* there is none */
    FILE *file = fopen(path, "wb");
    fwrite(head, sizeof(head), 1, file);
    fwrite(values, sizeof(values), 1, file);
    fclose(file);
    CHECK(idse_offsets_open(&offsets, path, 4, 3) != NULL);
    CHECK(idse_offsets_open(&offsets, path, 5, 3) == NULL);
    CHECK(idse_offsets_read(&offsets, 1, read) && read[2] == values[MACROBLOCKS + 2]);
    CHECK(!idse_offsets_read(&offsets, 2, read));
    CHECK(truncate(path, 100) == 0); /* while it is in use */
    CHECK(!idse_offsets_read(&offsets, 1, read));
    idse_offsets_close(&offsets);
    CHECK(idse_offsets_open(&offsets, "/dev/null", 5, 3) != NULL);
    unlink(path);
}

int main(void)
{
    char path[] = "/tmp/idse-offsets-XXXXXX";
    const int file = mkstemp(path);
    CHECK(file >= 0);
    close(file);
    unlink(path);
    test_ring();
    test_descriptions();
    test_hold();
    test_offsets_file(path);
    if (failures)
        fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}
