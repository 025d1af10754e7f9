/* Chooses the instruction set at run time.
 *
 * Uses cpuid because __builtin_cpu_supports needs a run-time library that not every Clang links; without that library
 * it answers "no" to everything. The operating system must also save the wide registers (xgetbv). */
#include "dispatch.h"

#include "tdfnet.h"

#if defined(__x86_64__)
#include <cpuid.h>

#define BIT(word, position) ((word) >> (position) & 1)
#define SAVED_AVX 0x06u    /* XMM and YMM */
#define SAVED_AVX512 0xe6u /* the same, mask registers and ZMM */

static unsigned saved_registers(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

int best_isa(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return TDFNET_BASELINE;
    const int osxsave = BIT(c, 27), fma = BIT(c, 12);
    if (!osxsave || !fma || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return TDFNET_BASELINE;
    const unsigned saved = saved_registers();
    const int avx2 = BIT(b, 5), avx512 = BIT(b, 16) && BIT(b, 17) && BIT(b, 30) && BIT(b, 31); /* F, DQ, BW, VL */
    if (!avx2 || (saved & SAVED_AVX) != SAVED_AVX) return TDFNET_BASELINE;
    return avx512 && (saved & SAVED_AVX512) == SAVED_AVX512 ? TDFNET_AVX512 : TDFNET_AVX2;
}

static const struct kernels *const widest_first[] = {&kernels_avx512, &kernels_avx2, &kernels_baseline};
#else

int best_isa(void) { return kernels_baseline.isa; }

static const struct kernels *const widest_first[] = {&kernels_baseline};
#endif

int resolve_isa(int requested) {
    const int best = best_isa();
    if (requested < TDFNET_BEST || requested > TDFNET_NEON) return TDFNET_BAD_ARGUMENT;
    if (requested == TDFNET_BEST || best == requested) return best;
    if (best == TDFNET_NEON) return requested == TDFNET_BASELINE ? best : TDFNET_UNSUPPORTED;
    return requested < best ? requested : TDFNET_UNSUPPORTED;
}

const struct kernels *kernels_for(int isa, int inputs, int outputs) {
    for (size_t i = 0; i < sizeof widest_first / sizeof *widest_first; i++) {
        const struct kernels *kernels = widest_first[i];
        if (kernels->isa <= isa && inputs % kernels->width == 0 && outputs % kernels->width == 0) return kernels;
    }
    return NULL;
}

int block_of(const struct kernels *kernels, int outputs) {
    for (int vectors = MAX_VECTORS; vectors > 1; vectors--)
        if (outputs % (vectors * kernels->width) == 0) return vectors * kernels->width;
    return kernels->width;
}
