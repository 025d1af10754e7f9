/* Vectors of VECTOR_FLOATS floats, and the operations on them that the kernels need.
 *
 * Like all kernels, this is compiled once per instruction set. */
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(VECTOR_FLOATS * 4), may_alias));
typedef int32_t mask __attribute__((vector_size(VECTOR_FLOATS * 4), may_alias));

INLINE vector load(const float *from) { return *(const vector *)from; }

INLINE void store(float *to, vector x) { *(vector *)to = x; }

typedef float unaligned_vector __attribute__((vector_size(VECTOR_FLOATS * 4), may_alias, aligned(4)));

INLINE void store_unaligned(float *to, vector x) { *(unaligned_vector *)to = x; }

/* Prefetches `floats` floats. Any address is valid. */
INLINE void fetch(const float *from, ptrdiff_t floats) {
    for (ptrdiff_t i = 0; i < floats; i += LINE) __builtin_prefetch(from + i);
}

/* For results that are larger than the caches and not read again soon: written to memory without reading the lines
 * first. Call `finish_stores` before another thread reads the result. */
INLINE void store_past_cache(float *to, vector x) {
#if VECTOR_FLOATS == 16
    _mm512_stream_ps(to, (__m512)x);
#elif VECTOR_FLOATS == 8
    _mm256_stream_ps(to, (__m256)x);
#else
    store(to, x);
#endif
}

INLINE void finish_stores(void) {
#if VECTOR_FLOATS >= 8
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
