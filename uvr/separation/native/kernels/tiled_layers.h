/* How the layers of a ConvTDFNet lie in memory when tiles multiply them, in six terms.
 *
 * Every number is three bfloat16, its parts (bfloat16.inl). The values that a product sums, its depth, are rounded up
 * to whole steps with zeros. Packed operands hold the parts of a step behind each other:
 *
 *     right operand  [column / 16][step][part][16 pairs of values][16 columns][2]
 *     left operand   [row / 32][step][part][32 rows][32 values]                     (weights of TDF)
 *
 * The left operands that jobs make of activations are plain rows instead, one plane for each part. */
#ifndef TILED_LAYERS_H
#define TILED_LAYERS_H

#include "layers.h"

#define TERMS 6
#define GROUP_SIDE (2 * TILE_SIDE)       /* rows and columns of the largest product at a time */
#define RIGHT_STEP (PARTS * TILE_HALVES) /* numbers of a step of a packed right operand */
#define LEFT_PART (GROUP_SIDE * STEP)    /* and of a left one, for each part */
#define LEFT_STEP (PARTS * LEFT_PART)
#define HALVES_OF_FLOAT 2

/* TDF: bins that are multiplied at a time, so that the parts of 32 columns stay in the L1 cache; columns of a job,
 * which are those of several frames if there are few channels; and rows of the result that are computed before they are
 * added to the image. */
#define TILED_DEPTH (5 * STEP)
#define TILED_COLUMNS 192
#define TILED_ROWS 256

/* Down and up: pixels of a row that are made an operand at a time. */
#define TILED_PIXELS 64

/* Convolution: the size in floats that the workspace of a job should not exceed, four fifths of the L2 cache of a
 * processor with AMX, if MIN_TILES tiles fit in it; and output channels that are computed at a time, if they divide
 * those of the layer: whole groups of 32. A group of 16 has two sums instead of four, and AMX begins a product every 16
 * cycles, but one that adds to the sum of the last one only after 52. */
#define TILED_CONVOLUTION_FLOATS (416 * 1024)
#define TILED_BLOCK (3 * GROUP_SIDE)

static inline int steps_of(int depth) { return divide_up(depth, STEP); }

/* Where the pair of values `depth` and `depth + 1` of a column of a packed right operand lies. */
static inline ptrdiff_t right_place(int steps, int depth, int column) {
    const ptrdiff_t step = (ptrdiff_t)(column / TILE_SIDE) * steps + depth / STEP;
    return step * RIGHT_STEP + depth % STEP / 2 * STEP + column % TILE_SIDE * 2;
}

static inline ptrdiff_t left_place(int steps, int row, int depth) {
    const ptrdiff_t step = (ptrdiff_t)(row / GROUP_SIDE) * steps + depth / STEP;
    return step * LEFT_STEP + row % GROUP_SIDE * STEP + depth % STEP;
}

/* Floats that take as much memory as a packed operand. */
static inline size_t right_floats(int depth, int columns) {
    return (size_t)divide_up(columns, TILE_SIDE) * (size_t)steps_of(depth) * RIGHT_STEP / HALVES_OF_FLOAT;
}

static inline size_t left_floats(int rows, int depth) {
    return (size_t)divide_up(rows, GROUP_SIDE) * (size_t)steps_of(depth) * LEFT_STEP / HALVES_OF_FLOAT;
}

/* Convolution: numbers from one part of an element of the patches to the next one. */
static inline ptrdiff_t patch_plane(const struct layer *layer) {
    return HALVES_OF_FLOAT * element_stride(layer->tiles, steps_of(layer->inputs) * STEP / HALVES_OF_FLOAT);
}

#endif
