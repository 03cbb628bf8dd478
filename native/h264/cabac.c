#include "cabac.h"

/* Contexts from 460 on start as copies (tables 9-24 to 9-33 repeat the numbers). */
static const struct {
    uint16_t to, from, count;
} copies[] = {
    {460, 85, 12},  {472, 85, 12},  {484, 105, 44}, {528, 105, 44}, {572, 166, 44},
    {616, 166, 44}, {660, 402, 15}, {675, 436, 15}, {690, 417, 9},  {699, 451, 9},
    {708, 426, 10}, {718, 402, 15}, {733, 436, 15}, {748, 417, 9},  {757, 451, 9},
    {766, 426, 10}, {776, 277, 44}, {820, 277, 44}, {864, 338, 44}, {908, 338, 44},
    {952, 227, 30}, {982, 227, 30}, {1012, 93, 4},  {1016, 93, 4},  {1020, 93, 4},
};

static int clip(int low, int high, int value)
{
    return value < low ? low : value > high ? high : value;
}

void cabac_init_contexts(cabac_decoder *cabac, unsigned table, int slice_qp)
{
    const int qp = clip(0, 51, slice_qp);
    for (unsigned i = 0; i < CABAC_BASE_CONTEXTS; i++) {
        const int m = cabac_init_mn[table][i][0];
        const int n = cabac_init_mn[table][i][1];
        /* m may be negative: floor division by 16, as the shift of the specification means. */
        const int product = m * qp;
        const int scaled = product >= 0 ? product / 16 : -((-product + 15) / 16);
        const int pre = clip(1, 126, scaled + n);
        cabac->states[i] = (uint8_t)(pre <= 63 ? (63 - pre) << 1 : (pre - 64) << 1 | 1);
    }
    for (unsigned i = 0; i < sizeof(copies) / sizeof(copies[0]); i++) {
        for (unsigned j = 0; j < copies[i].count; j++) {
            cabac->states[copies[i].to + j] = cabac->states[copies[i].from + j];
        }
    }
}

void cabac_start(cabac_decoder *cabac, const uint8_t *data, size_t size, size_t byte)
{
    cabac->data = data;
    cabac->size = size;
    cabac->next = byte;
    cabac->range = 510;
    cabac->value = 0;
    cabac->extra = 0;
    cabac_refill(cabac);
    cabac->extra -= 9; /* codIOffset itself */
}

unsigned cabac_bypass(cabac_decoder *cabac)
{
    cabac->extra--;
    const uint64_t scaled = (uint64_t)cabac->range << cabac->extra;
    const unsigned bin = cabac->value >= scaled;
    if (bin) {
        cabac->value -= scaled;
    }
    if (cabac->extra < 9) {
        cabac_refill(cabac);
    }
    return bin;
}

unsigned cabac_terminate(cabac_decoder *cabac)
{
    cabac->range -= 2;
    if (cabac->value >= (uint64_t)cabac->range << cabac->extra) {
        return 1; /* no renormalisation: cabac_position is the end of what was written */
    }
    if (cabac->range < 256) {
        cabac->range <<= 1;
        cabac->extra--;
    }
    if (cabac->extra < 9) {
        cabac_refill(cabac);
    }
    return 0;
}
