/* AVX2 with FMA (Haswell, Zen and later): 16 registers of 8 floats. */
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define KERNELS kernels_avx2
#define ISA TDFNET_AVX2
#define VECTOR_FLOATS 8
#define TILE_1 8
#define TILE_2 6
#define TILE_3 4
#include "kernels.inl"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int not_on_this_architecture;
#endif
