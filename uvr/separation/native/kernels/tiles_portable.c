/* Products of tiles for every processor: slow, and there so that all code around them can be tested on any machine. */
#include "dispatch.h"

#define VECTOR_FLOATS 4
#define CONVERTS_BFLOAT16 0
#define TILED_KERNELS tiled_kernels_portable
#define ISA TDFNET_BASELINE
#include "vector.inl"
#include "bfloat16.inl"

INLINE void begin_tiles(void) {}

INLINE void end_tiles(void) {}

INLINE float widened(uint16_t half) {
    const union {
        uint32_t bits;
        float number;
    } x = {(uint32_t)half << 16};
    return x.number;
}

/* Adds the products of a step: 32 values of a row with a tile. */
INLINE void add_step(const uint16_t *a, const uint16_t *b, float *to) {
    for (int pair = 0; pair < STEP / 2; pair++, a += 2, b += 2 * TILE_SIDE)
        for (int j = 0; j < TILE_SIDE; j += VECTOR_FLOATS) {
            const bits both = *(const bits *)(const void *)(b + 2 * j);
            const vector even = (vector)(both << 16), odd = (vector)(both & UPPER_HALF);
            store(to + j, load(to + j) + widened(a[0]) * even + widened(a[1]) * odd);
        }
}

/* The products of a step and a tile. Their sum ends with it, as with AMX: longer ones are less exact. */
INLINE void multiply_step(int terms, const uint16_t *left, ptrdiff_t left_low, const uint16_t *right,
                          ptrdiff_t right_low, float *to) {
    __attribute__((aligned(64))) float sums[TILE_SIDE] = {0};
    if (terms == 6) {
        add_step(left + 2 * left_low, right, sums);
        add_step(left + left_low, right + right_low, sums);
        add_step(left, right + 2 * right_low, sums);
    }
    if (terms >= 3) {
        add_step(left + left_low, right, sums);
        add_step(left, right + right_low, sums);
    }
    add_step(left, right, sums);
    for (int j = 0; j < TILE_SIDE; j++) to[j] += sums[j];
}

INLINE void multiply_tiles(int rows, int columns, int terms, struct left a, struct right b, int steps, int add,
                           float *to, ptrdiff_t to_row) {
    for (int i = 0; i < rows * TILE_SIDE; i++, a.high += a.row, to += to_row)
        for (int j = 0; j < columns; j++) {
            float *sums = to + j * TILE_SIDE;
            for (int column = 0; column < TILE_SIDE && !add; column++) sums[column] = 0;
            for (int step = 0; step < steps; step++)
                multiply_step(terms, a.high + step * a.step, a.low, b.high + step * b.step + j * b.next, b.low, sums);
        }
}

#include "tiled_kernels.inl"
