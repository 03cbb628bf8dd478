/* The interface of libx264 that encoders are compiled against: builds 155 to 165 and their like.
 *
 * Declared anew, and only as far as it is read or written here; idse_layout_problem() checks against
 * the library itself that it lies so. */
#ifndef IDSE_X264_ABI_H
#define IDSE_X264_ABI_H

#include <stddef.h>
#include <stdint.h>

/* Colour spaces of x264_image_t. */
enum {
    CSP_MASK = 0xff,
    CSP_I400 = 1,
    CSP_I420 = 2,
    CSP_YV12 = 3,
    CSP_NV12 = 4,
    CSP_NV21 = 5,
    CSP_I422 = 6,
    CSP_YV16 = 7,
    CSP_NV16 = 8,
    CSP_I444 = 12,
    CSP_YV24 = 13,
    CSP_VFLIP = 0x1000,
    CSP_HIGH_DEPTH = 0x2000,
};

enum { TYPE_AUTO = 0, TYPE_IDR = 1, TYPE_KEYFRAME = 6 };

/* x264_param_t. */
struct param {
    uint8_t threading[28];
    int32_t width, height, csp, bit_depth;
    uint8_t levels[28];
    int32_t full_range;
    int32_t primaries;
    int32_t transfer;
    int32_t matrix;
    uint8_t frames[80];
    int32_t interlaced;
    uint8_t matrices[340];
    void (*log)(void *, int, const char *, void *);
    void *log_private;
    int32_t log_level;
    uint8_t analysis[124];
    int32_t rate_method;
    uint8_t rate_limits[20];
    float crf;
    uint8_t rate_factors[32];
    int32_t aq_mode;
    float aq_strength;
    int32_t mb_tree;
    int32_t lookahead;
    int32_t stat_write;
    uint8_t stat_out[8];
    int32_t stat_read;
    uint8_t rest_of_rate[164];
    int32_t vfr_input;
    int32_t pulldown;
    uint32_t fps_num, fps_den, timebase_num, timebase_den;
    int32_t tff;
    int32_t pic_struct;
    int32_t fake_interlaced;
    uint8_t slicing[52];
    void (*free)(void *);
    uint8_t callbacks[16];
};

/* x264_picture_t. */
struct picture {
    int32_t type, qpplus1, pic_struct, keyframe;
    int64_t pts, dts;
    struct param *param;
    struct {
        int32_t csp, planes;
        int32_t stride[4];
        uint8_t *plane[4];
    } image;
    float *quant_offsets;
    void (*quant_offsets_free)(void *);
    uint8_t *mb_info;
    void (*mb_info_free)(void *);
    double quality[6];
    double hrd[4];
    struct {
        int32_t count;
        struct {
            int32_t size, type;
            uint8_t *payload;
        } *payloads;
        void (*free)(void *);
    } sei;
    void *opaque;
};

_Static_assert(sizeof(struct param) == 1024, "the size of x264_param_t");
_Static_assert(offsetof(struct param, matrix) == 84, "as in x264_param_t");
_Static_assert(offsetof(struct param, interlaced) == 168, "as in x264_param_t");
_Static_assert(offsetof(struct param, log) == 512, "as in x264_param_t");
_Static_assert(offsetof(struct param, rate_method) == 656, "as in x264_param_t");
_Static_assert(offsetof(struct param, aq_mode) == 716, "as in x264_param_t");
_Static_assert(offsetof(struct param, stat_read) == 744, "as in x264_param_t");
_Static_assert(offsetof(struct param, vfr_input) == 912, "as in x264_param_t");
_Static_assert(offsetof(struct param, fake_interlaced) == 944, "as in x264_param_t");
_Static_assert(offsetof(struct param, free) == 1000, "as in x264_param_t");
_Static_assert(sizeof(struct picture) == 240, "the size of x264_picture_t");
_Static_assert(offsetof(struct picture, quant_offsets) == 96, "as in x264_picture_t");
_Static_assert(offsetof(struct picture, sei) == 208, "as in x264_picture_t");

/* x264_distortion_t of the libx264 that `idse build-x264` makes. */
struct distortion {
    int32_t size, mb_cols, mb_rows, sketches, cells;
    const uint16_t *weights;
    const int16_t *sketch;
    const uint16_t *shares;
};

#endif
