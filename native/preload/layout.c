/* Whether a library's structures lie as we declare them.
 *
 * Their sizes show in what the library's own initialisers write, the places of fields in the bytes
 * that x264_param_parse changes. */
#include "resolve.h"

#include <string.h>

/* Four times what is expected: a larger structure of an unknown build must find room. */
enum { ROOM = 4096 };

typedef union {
    struct param param;
    struct picture picture;
    uint8_t bytes[ROOM];
} room;

/* Bytes from the beginning up to the last one that does not depend on what was there before. */
static size_t written(const room *first, const room *second)
{
    size_t size = ROOM;
    while (size && first->bytes[size - 1] != second->bytes[size - 1])
        size--;
    return size;
}

static size_t param_size(const struct x264 *library)
{
    room rooms[2];
    memset(&rooms[0], 0xaa, ROOM);
    memset(&rooms[1], 0x55, ROOM);
    library->param_default(&rooms[0].param);
    library->param_default(&rooms[1].param);
    return written(&rooms[0], &rooms[1]);
}

static size_t picture_size(const struct x264 *library)
{
    room rooms[2];
    memset(&rooms[0], 0xaa, ROOM);
    memset(&rooms[1], 0x55, ROOM);
    library->picture_init(&rooms[0].picture);
    library->picture_init(&rooms[1].picture);
    return written(&rooms[0], &rooms[1]);
}

/* An option, and the one field that it sets, to a whole number or (`real`) to a float. */
struct probe {
    const char *option, *value;
    size_t at, second;
    int32_t number, second_number;
    float real;
};

#define AT(field) offsetof(struct param, field)

/* With the fields' defaults these pin whatever is read; width, height, csp and bit depth have no
 * option and lie between neighbours whose sizes are pinned. */
static const struct probe PROBES[] = {
    {"fullrange", "on", AT(full_range), 0, 1, 0, 0},
    {"transfer", "smpte2084", AT(transfer), 0, 16, 0, 0},
    {"colormatrix", "bt709", AT(matrix), 0, 1, 0, 0},
    {"bff", "1", AT(interlaced), AT(tff), 1, 0, 0},
    {"fake-interlaced", "1", AT(fake_interlaced), 0, 1, 0, 0},
    {"crf", "11.5", AT(crf), 0, 0, 0, 11.5F},
    {"aq-mode", "3", AT(aq_mode), 0, 3, 0, 0},
    {"aq-strength", "0.25", AT(aq_strength), 0, 0, 0, 0.25F},
    {"mbtree", "0", AT(mb_tree), 0, 0, 0, 0},
    {"rc-lookahead", "17", AT(lookahead), 0, 17, 0, 0},
    {"pass", "3", AT(stat_write), AT(stat_read), 1, 2, 0},
    {"force-cfr", "1", AT(vfr_input), 0, 0, 0, 0},
    {"fps", "24000/1001", AT(fps_num), AT(fps_den), 24000, 1001, 0},
    {"pic-struct", "1", AT(pic_struct), 0, 1, 0, 0},
};

static bool sets(const struct x264 *library, const struct probe *probe)
{
    struct param changed, expected;
    memset(&changed, 0, sizeof(changed));
    memset(&expected, 0, sizeof(expected));
    library->param_default(&changed);
    library->param_default(&expected);
    if (library->param_parse(&changed, probe->option, probe->value))
        return false;
    uint8_t *bytes = (uint8_t *)&expected;
    if (probe->real != 0)
        memcpy(bytes + probe->at, &probe->real, sizeof(probe->real));
    else
        memcpy(bytes + probe->at, &probe->number, sizeof(probe->number));
    if (probe->second)
        memcpy(bytes + probe->second, &probe->second_number, sizeof(probe->second_number));
    return memcmp(&changed, &expected, sizeof(changed)) == 0;
}

/* Whether a picture that the library makes has its planes where they are looked for, and nothing
 * after them. */
static bool makes_pictures_as_known(const struct x264 *library)
{
    enum { WIDTH = 48, HEIGHT = 32 };
    room made, nothing;
    memset(&made, 0, ROOM);
    memset(&nothing, 0, ROOM);
    if (library->picture_alloc(&made.picture, CSP_I420, WIDTH, HEIGHT))
        return false;
    const struct picture *picture = &made.picture;
    uint8_t *const *plane = picture->image.plane;
    const int32_t *stride = picture->image.stride;
    const size_t after = offsetof(struct picture, quant_offsets);
    const bool known = picture->image.csp == CSP_I420 && picture->image.planes == 3 &&
                       stride[0] == WIDTH && stride[1] == WIDTH / 2 && stride[2] == WIDTH / 2 &&
                       plane[0] && plane[1] == plane[0] + WIDTH * HEIGHT &&
                       plane[2] == plane[1] + WIDTH * HEIGHT / 4 && !plane[3] &&
                       memcmp(made.bytes + after, nothing.bytes + after, ROOM - after) == 0;
    library->picture_clean(&made.picture);
    return known;
}

const char *idse_layout_problem(const struct x264 *library)
{
    if (param_size(library) != sizeof(struct param))
        return "its parameters have another size";
    if (picture_size(library) != sizeof(struct picture))
        return "its pictures have another size";
    if (!makes_pictures_as_known(library))
        return "its pictures lie in another way";
    struct param defaults;
    library->param_default(&defaults);
    if (defaults.width || defaults.height || defaults.csp != CSP_I420 ||
        (defaults.bit_depth != 8 && defaults.bit_depth != 10) || defaults.rate_method != 1 ||
        defaults.tff != 1)
        return "its parameters have other defaults";
    for (size_t i = 0; i < sizeof(PROBES) / sizeof(*PROBES); i++) {
        if (!sets(library, &PROBES[i]))
            return PROBES[i].option;
    }
    return NULL;
}
