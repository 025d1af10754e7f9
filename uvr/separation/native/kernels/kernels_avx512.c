/* AVX-512 (Skylake-X, Zen 4 and later): 32 registers of 16 floats. */
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif

#define KERNELS kernels_avx512
#define ISA TDFNET_AVX512
#define VECTOR_FLOATS 16
#define TILE_1 12
#define TILE_2 12
#define TILE_3 8
#include "kernels.inl"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int not_on_this_architecture;
#endif
