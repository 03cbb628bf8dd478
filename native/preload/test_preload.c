/* A real libx264 behind the interposed functions, where the system has one; meant to run under ASan
 * and UBSan. The sidecar is a thread of this process. */
#include "encoder.h"
#include "test_sidecar.h"

enum { PICTURES = 40 };

struct totals {
    int in, out, most_delayed;
    uint64_t bytes;
};

/* Encodes pictures, each with offsets, messages and an opaque pointer of its own. */
static struct totals encode_all(void *handle)
{
    struct totals sum = {0};
    static int tags[PICTURES];
    uint8_t *memory = malloc(WIDTH * HEIGHT * 2);
    void *nals;
    int count = 0;
    CHECK(headers(handle, &nals, &count) > 0);
    for (int i = 0; sum.out < PICTURES && i < 4 * PICTURES; i++) {
        struct picture picture = {0}, out;
        if (i < PICTURES) {
            for (int k = 0; k < WIDTH * HEIGHT * 2; k++)
                memory[k] = (uint8_t)((k * 31 + i * 5) ^ k >> 6);
            picture = noise(memory, CSP_I420, 0);
            picture.pts = 3 * i;
            picture.opaque = &tags[i];
            picture.quant_offsets = calloc(MACROBLOCKS, sizeof(float));
            picture.quant_offsets_free = count_free;
            picture.sei.count = 1;
            picture.sei.payloads = calloc(1, sizeof(*picture.sei.payloads));
            picture.sei.payloads[0].payload = calloc(20, 1);
            picture.sei.payloads[0].size = 20;
            picture.sei.payloads[0].type = 5;
            picture.sei.free = count_free;
        }
        if (i == PICTURES / 2) {
            /* What goes past us, while pictures are held back. */
            struct param param;
            parameters(handle, &param);
            param.crf += 1;
            CHECK(reconfig(handle, &param) == 0);
        }
        const int size =
            x264_encoder_encode(handle, &nals, &count, i < PICTURES ? &picture : NULL, &out);
        CHECK(size >= 0);
        sum.in += i < PICTURES;
        sum.bytes += (uint64_t)size;
        if (count) {
            CHECK(out.opaque == &tags[out.pts / 3]);
            sum.out++;
        }
        const int delayed = x264_encoder_delayed_frames(handle);
        CHECK(delayed == sum.in - sum.out);
        CHECK(delayed <= x264_encoder_maximum_delayed_frames(handle));
        sum.most_delayed = delayed > sum.most_delayed ? delayed : sum.most_delayed;
    }
    free(memory);
    return sum;
}

static struct totals encode_one(void)
{
    freed = 0;
    void *handle = open_one("2");
    CHECK(handle != NULL);
    const struct totals sum = encode_all(handle);
    CHECK(sum.out == PICTURES);
    x264_encoder_close(handle);
    /* The offsets, the messages and their list. */
    CHECK(freed == 3 * PICTURES);
    return sum;
}

static void test_session(const char *path, const char *mode, int lookahead, int misbehave_after)
{
    struct sidecar sidecar = {.lookahead = lookahead, .misbehave_after = misbehave_after};
    begin_sidecar(&sidecar, path);
    setenv("IDSE_MODE", mode, 1);
    const struct totals sum = encode_one();
    CHECK(strcmp(mode, "live") == 0 || misbehave_after >= 0 || sum.most_delayed >= lookahead);
    /* Closed with pictures held back, as an application that is interrupted does. */
    void *handle = open_one("2");
    uint8_t *memory = calloc(WIDTH * HEIGHT * 2, 1);
    for (int i = 0; i < 9; i++) {
        struct picture picture = noise(memory, CSP_I420, 0), out;
        void *nals;
        int count;
        picture.pts = i;
        CHECK(x264_encoder_encode(handle, &nals, &count, &picture, &out) >= 0);
    }
    x264_encoder_close(handle);
    free(memory);
    end_sidecar(&sidecar, path);
    CHECK(sidecar.connections >= 2 && sidecar.frames > 0);
}

/* -- libraries that differ from what is known */

static struct x264 real;

static void longer_default(struct param *param)
{
    real.param_default(param);
    memset((uint8_t *)param + sizeof(*param), 0, 8);
}

static int other_parse(struct param *param, const char *name, const char *value)
{
    const int code = real.param_parse(param, name, value);
    if (strcmp(name, "aq-mode") == 0)
        param->aq_strength = 3;
    return code;
}

static int other_alloc(struct picture *picture, int csp, int width, int height)
{
    const int code = real.picture_alloc(picture, csp, width, height);
    picture->mb_info = picture->image.plane[0];
    return code;
}

static void test_layouts(void)
{
    CHECK(idse_resolve_library(164, NULL, (const void *)(uintptr_t)test_layouts, &real));
    CHECK(idse_layout_problem(&real) == NULL);
    struct x264 other = real;
    other.param_default = longer_default;
    CHECK(idse_layout_problem(&other) != NULL);
    other = real;
    other.param_parse = other_parse;
    CHECK(idse_layout_problem(&other) != NULL);
    other = real;
    other.picture_alloc = other_alloc;
    CHECK(idse_layout_problem(&other) != NULL);
    struct x264 none;
    CHECK(!idse_resolve_library(123, NULL, (const void *)(uintptr_t)test_layouts, &none));
    CHECK(none.open == NULL);
    /* What cannot be called is left to whoever calls it. */
    CHECK(!idse_encoder_new(&other, &none, false));
    /* A library that is not known goes on encoding, unsteered. */
    setenv("IDSE_SOCKET", "/nowhere", 1);
    struct param param;
    param_default(&param);
    param_parse(&param, "log", "-1");
    param.width = WIDTH;
    param.height = HEIGHT;
    void *handle = real.open(&param);
    other.param_parse = real.param_parse;
    other.param_default = longer_default;
    struct encoder *encoder = idse_encoder_new(handle, &other, true);
    CHECK(encoder && encoder->mode == MODE_OFF && strstr(encoder->problem, "not known"));
    uint8_t *memory = calloc(WIDTH * HEIGHT * 2, 1);
    struct picture picture = noise(memory, CSP_I420, 0), out;
    void *nals;
    int count;
    const struct call call = {&nals, &count, &out};
    CHECK(idse_encoder_encode(encoder, &call, &picture) >= 0);
    CHECK(encoder->counters.lost == 1);
    idse_encoder_free(encoder);
    real.close(handle);
    free(memory);
}

int main(void)
{
    char folder[] = "/tmp/idse-preload-XXXXXX", path[64];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/x", folder);
    if (find_x264()) {
        encode_one();
        test_layouts();
        test_session(path, "wait", 0, -1);
        test_session(path, "wait", 6, -1);
        test_session(path, "wait", 6, 5);
        test_session(path, "live", 0, -1);
        test_session(path, "live", 0, 5);
    } else {
        fprintf(stderr, "no libx264.so.164: the interposed functions are not tested here\n");
    }
    rmdir(folder);
    if (failures)
        fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}
