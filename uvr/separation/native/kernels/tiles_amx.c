/* Products of tiles with AMX (Sapphire Rapids and later): 16 times as many multiplications in an instruction as
 * AVX-512 has in float32. Everything else is AVX-512. */
#include "dispatch.h"

#if HAVE_BFLOAT16
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(                                                                            \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16")
#endif

#define VECTOR_FLOATS 16
#define CONVERTS_BFLOAT16 1
#define TILED_KERNELS tiled_kernels_amx
#define ISA TDFNET_AMX
#include "vector.inl"
#include "bfloat16.inl"

#define TILES 8
#define LINE_BYTES 64

/* The operand of ldtilecfg: Intel, Software Developer's Manual, volume 1, chapter 18. */
struct tile_configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t line_bytes[16];
    uint8_t rows[16];
};

INLINE void begin_tiles(void) {
    struct tile_configuration configuration = {.palette = 1};
    for (int i = 0; i < TILES; i++) {
        configuration.line_bytes[i] = LINE_BYTES;
        configuration.rows[i] = TILE_SIDE;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(configuration)); /* older compilers' own function reads 8 bytes of it */
}

/* Without it, the system would save and restore 8 kB at each switch of threads. */
INLINE void end_tiles(void) { _tile_release(); }

/* The instructions name their tiles: 0 to 3 are the sums, by row and column, 4 and 5 rows of the left operand, 6 and 7
 * columns of the right one. */
INLINE void load_left(int rows, const uint16_t *from, ptrdiff_t row) {
    _tile_loadd(4, from, row * 2);
    if (rows == 2) _tile_loadd(5, from + TILE_SIDE * row, row * 2);
}

INLINE void load_right(int columns, const uint16_t *from, ptrdiff_t next) {
    _tile_loadd(6, from, LINE_BYTES);
    if (columns == 2) _tile_loadd(7, from + next, LINE_BYTES);
}

INLINE void add_products(int rows, int columns) {
    _tile_dpbf16ps(0, 4, 6);
    if (columns == 2) _tile_dpbf16ps(1, 4, 7);
    if (rows == 2) _tile_dpbf16ps(2, 5, 6);
    if (rows == 2 && columns == 2) _tile_dpbf16ps(3, 5, 7);
}

INLINE void load_sums(int rows, int columns, const float *from, ptrdiff_t row) {
    _tile_loadd(0, from, row * 4);
    if (columns == 2) _tile_loadd(1, from + TILE_SIDE, row * 4);
    if (rows == 2) _tile_loadd(2, from + TILE_SIDE * row, row * 4);
    if (rows == 2 && columns == 2) _tile_loadd(3, from + TILE_SIDE * row + TILE_SIDE, row * 4);
}

INLINE void clear_sums(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

INLINE void store_sums(int rows, int columns, float *to, ptrdiff_t row) {
    _tile_stored(0, to, row * 4);
    if (columns == 2) _tile_stored(1, to + TILE_SIDE, row * 4);
    if (rows == 2) _tile_stored(2, to + TILE_SIDE * row, row * 4);
    if (rows == 2 && columns == 2) _tile_stored(3, to + TILE_SIDE * row + TILE_SIDE, row * 4);
}

/* The compiler does not see which memory the instructions of tiles read and write. Nothing may move across this: stores
 * of operands before it, loads of sums behind it. It is no instruction. */
#define COMPILER_BARRIER() __asm__ volatile("" ::: "memory")

INLINE void multiply_tiles(int rows, int columns, int terms, struct left a, struct right b, int steps, int add,
                           float *to, ptrdiff_t to_row) {
    COMPILER_BARRIER();
    if (add) load_sums(rows, columns, to, to_row);
    else clear_sums();
    for (int step = 0; step < steps; step++, a.high += a.step, b.high += b.step) {
        load_right(columns, b.high, b.next);
        if (terms == 6) {
            load_left(rows, a.high + 2 * a.low, a.row);
            add_products(rows, columns);
        }
        if (terms >= 3) {
            load_left(rows, a.high + a.low, a.row);
            add_products(rows, columns);
        }
        load_left(rows, a.high, a.row);
        add_products(rows, columns);
        if (terms >= 3) {
            load_right(columns, b.high + b.low, b.next);
            add_products(rows, columns);
        }
        if (terms == 6) {
            load_left(rows, a.high + a.low, a.row);
            add_products(rows, columns);
            load_right(columns, b.high + 2 * b.low, b.next);
            load_left(rows, a.high, a.row);
            add_products(rows, columns);
        }
    }
    store_sums(rows, columns, to, to_row);
    COMPILER_BARRIER();
}

#include "tiled_kernels.inl"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int not_on_this_architecture;
#endif
