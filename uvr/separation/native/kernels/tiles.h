/* Products of matrices of bfloat16 numbers (bfloat16.inl) with sums in float32, in tiles of 16 rows and 16 columns.
 *
 * A left operand lies row by row; a step of 32 values of a row is 64 bytes. A right operand lies in tiles of 32 values
 * by 16 columns: 16 lines of 64 bytes, each with a pair of values of every column. That is what the tiles of AMX read,
 * and vdpbf16ps as well. Low parts have a fixed distance from the high parts; where a number has three parts, this is
 * also the distance from the second to the third.
 *
 * The files tiles_*.c compile all jobs of tiled_kernels.inl, each with functions of its own:
 *
 *     multiply_tiles    a tiled_product; `rows`, `columns` and `terms` are constants where it is called
 *     begin_tiles       before the first product of a job
 *     end_tiles         after the last one: the thread goes back to other work */
#ifndef TILES_H
#define TILES_H

#include <stddef.h>
#include <stdint.h>

#define TILE_SIDE 16                   /* rows and columns of a tile of sums */
#define STEP 32                        /* values of a row that are multiplied at a time */
#define TILE_HALVES (STEP * TILE_SIDE) /* numbers in a tile of a right operand */
#define PARTS 3                        /* of a number in six terms */

/* Distances in numbers: from row to row, from step to step, and from the high parts to the low ones. */
struct left {
    const uint16_t *high;
    ptrdiff_t row, step, low;
};

/* `next`: from the tile of a column to that of the column 16 further. */
struct right {
    const uint16_t *high;
    ptrdiff_t step, next, low;
};

/* The numbers that are kept in memory for floats. */
static inline uint16_t *halves_of(const float *floats) { return (uint16_t *)(void *)floats; }

/* to[i][j] = sum over k of a[i][k] b[k][j] (+ to[i][j], if `add`), for 16 or 32 rows and columns, and 32 values of k in
 * each step. `rows` and `columns`: 1 or 2 tiles; `terms`: 1, 3 or 6, see bfloat16.inl. `to` has `to_row` floats from
 * row to row. All rows and lines are aligned to 64 bytes. */
typedef void tiled_product(int rows, int columns, int terms, struct left a, struct right b, int steps, int add,
                           float *to, ptrdiff_t to_row);

#endif
