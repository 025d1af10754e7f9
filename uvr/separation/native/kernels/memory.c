#if defined(__linux__)
#define _GNU_SOURCE /* madvise */
#include <sys/mman.h>
#endif

#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_LINE 64
#define HUGE_PAGE ((size_t)2 << 20)

/* Asks for huge pages for large arrays. A convolution reads six rows of an image at a time; with pages of 4 kB these
 * are more than the TLB holds. */
static void prefer_huge_pages(void *memory, size_t bytes) {
#if defined(MADV_HUGEPAGE)
    (void)madvise(memory, bytes, MADV_HUGEPAGE); /* only speed depends on it */
#else
    (void)memory, (void)bytes;
#endif
}

/* Memory for `count` floats, aligned to a cache line or, if it is large, to a huge page. Sets `bytes` to its size. */
static void *aligned_memory(size_t count, size_t *bytes) {
    void *memory;
    if (count > SIZE_MAX / 2 / sizeof(float)) return NULL;
    const size_t alignment = count * sizeof(float) >= 2 * HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;
    /* Only whole vectors are loaded: the last one may extend beyond the array, up to the next cache line. */
    *bytes = (count * sizeof(float) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE + CACHE_LINE;
    if (posix_memalign(&memory, alignment, *bytes)) return NULL;
    if (alignment == HUGE_PAGE) prefer_huge_pages(memory, *bytes);
    return memory;
}

float *new_floats(size_t count) {
    size_t bytes;
    void *memory = aligned_memory(count, &bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

float *scratch_floats(size_t count) {
    size_t bytes;
    void *memory = aligned_memory(count, &bytes);
#if defined(TDFNET_POISON)
    if (memory) memset(memory, 0x7e, bytes); /* 8e37: makes reads of uninitialised memory visible */
#endif
    return memory;
}

float *copy_floats(const float *from, size_t count, size_t capacity) {
    float *to = new_floats(capacity);
    if (to && from) memcpy(to, from, count * sizeof *to);
    return to;
}
