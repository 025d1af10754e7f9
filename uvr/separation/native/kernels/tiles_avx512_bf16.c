/* Products of tiles with vdpbf16ps (Zen 4 and later), in registers: twice as many multiplications as in float32. */
#include "dispatch.h"

#if HAVE_BFLOAT16
#include <immintrin.h>
#include <string.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
#endif

#define VECTOR_FLOATS 16
#define CONVERTS_BFLOAT16 1
#define TILED_KERNELS tiled_kernels_avx512_bf16
#define ISA TDFNET_AVX512_BF16
#include "vector.inl"
#include "bfloat16.inl"

#define GROUP 8 /* rows whose sums, 2 vectors each, are in registers */

INLINE void begin_tiles(void) {}

INLINE void end_tiles(void) {}

/* A pair of values of a row for every column. */
INLINE __m512bh broadcast_pair(const uint16_t *from) {
    int32_t pair;
    memcpy(&pair, from, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

INLINE __m512bh line_of(const uint16_t *from) { return (__m512bh)_mm512_load_si512(from); }

/* Adds the products of one step: of one part of the left operand and one part of the right one. */
INLINE void add_products(int columns, const uint16_t *left, ptrdiff_t row, const uint16_t *right, ptrdiff_t next,
                         __m512 sum[GROUP][2]) {
    for (int pair = 0; pair < STEP / 2; pair++, left += 2, right += 2 * TILE_SIDE) {
        __m512bh line[2];
        for (int j = 0; j < columns; j++) line[j] = line_of(right + j * next);
#pragma GCC unroll 8
        for (int i = 0; i < GROUP; i++) {
            const __m512bh x = broadcast_pair(left + i * row);
            for (int j = 0; j < columns; j++) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], x, line[j]);
        }
    }
}

/* The small products come first: added to a larger sum, they would lose more of their bits. */
INLINE void multiply_group(int columns, int terms, struct left a, struct right b, int steps, int add, float *to,
                           ptrdiff_t to_row) {
    __m512 sum[GROUP][2];
    for (int i = 0; i < GROUP; i++)
        for (int j = 0; j < columns; j++) sum[i][j] = _mm512_setzero_ps();
    for (int step = 0; step < steps; step++, a.high += a.step, b.high += b.step) {
        if (terms == 6) {
            add_products(columns, a.high + 2 * a.low, a.row, b.high, b.next, sum);
            add_products(columns, a.high + a.low, a.row, b.high + b.low, b.next, sum);
            add_products(columns, a.high, a.row, b.high + 2 * b.low, b.next, sum);
        }
        if (terms >= 3) {
            add_products(columns, a.high + a.low, a.row, b.high, b.next, sum);
            add_products(columns, a.high, a.row, b.high + b.low, b.next, sum);
        }
        add_products(columns, a.high, a.row, b.high, b.next, sum);
    }
    for (int i = 0; i < GROUP; i++)
        for (int j = 0; j < columns; j++) {
            float *place = to + i * to_row + j * TILE_SIDE;
            _mm512_store_ps(place, add ? _mm512_add_ps(sum[i][j], _mm512_load_ps(place)) : sum[i][j]);
        }
}

/* The sums of six terms end with each step, as with AMX: longer ones would cost 10 dB in ConvTDFNets. */
INLINE void multiply_steps(int columns, int terms, struct left a, struct right b, int steps, int add, float *to,
                           ptrdiff_t to_row) {
    const int together = terms == 6 ? 1 : steps;
    for (int step = 0; step < steps; step += together, a.high += together * a.step, b.high += together * b.step)
        multiply_group(columns, terms, a, b, together, add || step, to, to_row);
}

INLINE void multiply_tiles(int rows, int columns, int terms, struct left a, struct right b, int steps, int add,
                           float *to, ptrdiff_t to_row) {
    for (int row = 0; row < rows * TILE_SIDE; row += GROUP, a.high += GROUP * a.row, to += GROUP * to_row)
        multiply_steps(columns, terms, a, b, steps, add, to, to_row);
}

#include "tiled_kernels.inl"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int not_on_this_architecture;
#endif
