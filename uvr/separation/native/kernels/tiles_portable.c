/* Products of tiles for every processor: slow, and there so that all code around them can be tested on any machine. */
#include "dispatch.h"

#define VECTOR_FLOATS 4
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

INLINE void multiply_tiles(int rows, int columns, int terms, struct left a, struct right b, int steps, int add,
                           float *to, ptrdiff_t to_row) {
    for (int i = 0; i < rows * TILE_SIDE; i++, a.high += a.row, to += to_row)
        for (int j = 0; j < columns; j++) {
            float *sums = to + j * TILE_SIDE;
            for (int column = 0; column < TILE_SIDE && !add; column++) sums[column] = 0;
            for (int step = 0; step < steps; step++) {
                const uint16_t *left = a.high + step * a.step, *right = b.high + step * b.step + j * b.next;
                if (terms == 3) add_step(left + a.low, right, sums);
                add_step(left, right, sums);
                if (terms == 3) add_step(left, right + b.low, sums);
            }
        }
}

#include "tiled_kernels.inl"
