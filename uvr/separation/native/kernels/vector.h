/* Vectors of VECTOR_FLOATS floats, and the few operations on them that the kernels need.
 *
 * Included, like all the kernels, once per instruction set, by a file that defines VECTOR_FLOATS and TILE_1, TILE_2,
 * TILE_3 (see multiply.h). */
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(VECTOR_FLOATS * 4), may_alias));
typedef int32_t mask __attribute__((vector_size(VECTOR_FLOATS * 4), may_alias));

INLINE vector load(const float *from) { return *(const vector *)from; }

INLINE void store(float *to, vector x) { *(vector *)to = x; }

/* `floats` floats, wanted soon. Any address is fine. */
INLINE void fetch(const float *from, ptrdiff_t floats) {
    for (ptrdiff_t i = 0; i < floats; i += LINE) __builtin_prefetch(from + i);
}

/* For what is larger than the caches. A vector that is a whole cache line goes to memory without the line being read
 * first; to be followed by `finish_stores` before another thread reads it. */
INLINE void store_past_cache(float *to, vector x) {
#if VECTOR_FLOATS == 16
    _mm512_stream_ps(to, (__m512)x);
#else
    store(to, x);
#endif
}

INLINE void finish_stores(void) {
#if VECTOR_FLOATS == 16
    _mm_sfence();
#endif
}

/* max(x, 0) */
INLINE vector relu(vector x) {
#if VECTOR_FLOATS == 16
    return (vector)_mm512_max_ps((__m512)x, _mm512_setzero_ps());
#elif VECTOR_FLOATS == 8
    return (vector)_mm256_max_ps((__m256)x, _mm256_setzero_ps());
#else
    return (vector)((mask)x & (x > (vector){0}));
#endif
}
