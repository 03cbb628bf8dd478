/* Variable-length codes of clause 9.2. */
#ifndef IDSE_H264_CAVLC_H
#define IDSE_H264_CAVLC_H

#include <stdint.h>

typedef struct {
    uint8_t length; /* bits; 0: no such code */
    uint8_t code;
} vlc;

extern const vlc cavlc_coeff_token[5][68];
extern const vlc cavlc_total_zeros[15][16];
extern const vlc cavlc_total_zeros_dc[3][4];
extern const vlc cavlc_total_zeros_dc422[7][8];
extern const vlc cavlc_run_before[7][15];

#endif
