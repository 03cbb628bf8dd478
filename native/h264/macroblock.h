/* Slice data: the state that macroblocks leave for their neighbours, and what reads it. */
#ifndef IDSE_H264_MACROBLOCK_H
#define IDSE_H264_MACROBLOCK_H

#include "cabac.h"
#include "headers.h"

typedef enum { MB_INTRA_NXN, MB_INTRA_16X16, MB_PCM, MB_SKIP, MB_DIRECT, MB_INTER } mb_kind;

/* One macroblock. Skipped, direct and absent parts hold zeros, which is what every context
 * derivation of clause 9.3.3.1.1 takes for them. */
typedef struct {
    uint32_t slice; /* number of its slice within the picture, from 1; 0: not read yet */
    uint8_t kind;   /* mb_kind */
    bool field;     /* field macroblock of an MBAFF frame */
    bool transform_8x8;
    uint8_t intra_chroma_mode;
    uint8_t cbp;               /* luma 8x8 blocks in bits 0 to 3, CodedBlockPatternChroma above */
    uint8_t dc_coded;          /* coded_block_flag of the DC block of Y, Cb, Cr in bits 0 to 2 */
    uint8_t coefficients[3][16]; /* per 4x4 block in raster order, rows of four; CABAC: 0 or not */
    uint8_t ref_idx[2][4];
    uint8_t mvd[2][16][2]; /* magnitude, at most 255; x and y */
} mb_state;

typedef struct {
    const sps_t *sps;
    const pps_t *pps;
    const slice_header *header;
    unsigned chroma_rows; /* rows of 4x4 chroma blocks: 0 where chroma is absent or coded as luma */
    bit_reader bits;
    cabac_decoder cabac;

    mb_state *mbs; /* by macroblock address; of the current field in a field picture */
    uint32_t mb_count;
    uint32_t mb_width;
    uint32_t number; /* of this slice */

    uint32_t address;
    mb_state *mb;
    /* Neighbours A and B of clause 6.4.12, NULL where not available: A per row of 4x4 blocks, with
     * the row inside A. B is always met at its last row. */
    const mb_state *above;
    const mb_state *left[4];
    uint8_t left_row[4];
    const mb_state *chroma_left[4];
    uint8_t chroma_left_row[4];

    int qp;
    bool delta_qp_before; /* the previous macroblock changed QP: context of mb_qp_delta */
    bool has_delta_qp;    /* this one carries mb_qp_delta */
    const char *problem;  /* NULL, or why reading has to stop */
} slice_reader;

/* What the caller keeps of a macroblock. */
enum { MB_CODED = 1, MB_SKIPPED = 2, MB_INTRA = 4, MB_IS_PCM = 8, MB_PRESENT = 16 };

typedef struct {
    int8_t *qp;
    uint8_t *flags;
    int32_t *bits;
    uint32_t mb_width;
    bool field, bottom, mbaff;
} mb_output;

/* Reads a whole slice. False with reader->problem where it is damaged. */
bool slice_data_read(slice_reader *reader, const mb_output *output);

/* Sets above and left for reader->address and reader->mb->field. */
void find_neighbours(slice_reader *reader);

/* macroblock_layer() and residual() */
void macroblock_read(slice_reader *reader);
void residual_read(slice_reader *reader);

/* Either coder's elements. Blocks are numbered in raster order: 8x8 ones 0 to 3, 4x4 ones 0 to 15.
 * mb_type comes as in table 7-11 (intra, 0 to 25), 7-13 or 7-14, intra ones counted from 5 in P and
 * from 23 in B slices. */
bool cabac_read_skip(slice_reader *reader);
bool cabac_read_field(slice_reader *reader);
unsigned cabac_read_mb_type(slice_reader *reader);
unsigned cabac_read_sub_type(slice_reader *reader);
unsigned cabac_read_ref_idx(slice_reader *reader, unsigned list, unsigned block8);
unsigned cabac_read_mvd(slice_reader *reader, unsigned list, unsigned block4, unsigned component);
void cabac_skip_intra_modes(slice_reader *reader, unsigned count);
unsigned cabac_read_chroma_mode(slice_reader *reader);
bool cabac_read_transform_8x8(slice_reader *reader);
unsigned cabac_read_cbp(slice_reader *reader);
int cabac_read_delta_qp(slice_reader *reader);

void cavlc_skip_intra_modes(slice_reader *reader, unsigned count);
unsigned cavlc_read_ref_idx(slice_reader *reader, unsigned count);
unsigned cavlc_read_cbp(slice_reader *reader);

/* In the order of ctxBlockCat 0 to 5. */
typedef enum {
    BLOCK_DC_16X16,
    BLOCK_AC_16X16,
    BLOCK_4X4,
    BLOCK_CHROMA_DC,
    BLOCK_CHROMA_AC,
    BLOCK_8X8,
} block_kind;

/* One residual block; `component` 0 to 2, `block` a 4x4 block in rows of four, `size` its number of
 * coefficients. Records what neighbours need. */
void cabac_read_block(slice_reader *reader, block_kind kind, unsigned component, unsigned block,
                      unsigned size);
void cavlc_read_block(slice_reader *reader, block_kind kind, unsigned component, unsigned block,
                      unsigned size);

/* The count of coefficients in the block left of and above `block`, -1 where not available. */
void neighbour_coefficients(const slice_reader *reader, block_kind kind, unsigned component,
                            unsigned block, int *left, int *above);

static inline bool mb_is_intra(const mb_state *mb)
{
    return mb->kind <= MB_PCM;
}

static inline void fail(slice_reader *reader, const char *problem)
{
    if (!reader->problem) {
        reader->problem = problem;
    }
}

#endif
