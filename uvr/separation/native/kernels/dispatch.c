/* Chooses the instruction set at run time.
 *
 * Uses cpuid because __builtin_cpu_supports needs a run-time library that not every Clang links; without that library
 * it answers "no" to everything. The operating system must also save the wide registers (xgetbv). */
#include "dispatch.h"

#include "tdfnet.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <pthread.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define BIT(word, position) ((word) >> (position) & 1)
#define SAVED_AVX 0x06u      /* XMM and YMM */
#define SAVED_AVX512 0xe6u   /* the same, mask registers and ZMM */
#define SAVED_AMX 0x600e6u   /* the same, and tiles with their configuration */
#define REQUEST_STATE 0x1023 /* ARCH_REQ_XCOMP_PERM of arch_prctl, since Linux 5.16 */
#define STATE_OF_TILES 18

struct words {
    unsigned a, b, c, d;
};

static struct words cpuid_words(unsigned leaf, unsigned part) {
    struct words words = {0, 0, 0, 0};
    if (!__get_cpuid_count(leaf, part, &words.a, &words.b, &words.c, &words.d)) return (struct words){0, 0, 0, 0};
    return words;
}

/* The registers that the operating system saves when it switches threads. */
static unsigned saved_registers(void) {
    unsigned low = 0, high;
    if (BIT(cpuid_words(1, 0).c, 27)) __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int saves(unsigned registers) { return (saved_registers() & registers) == registers; }

static int has_avx2(void) {
    const int fma = BIT(cpuid_words(1, 0).c, 12), avx2 = BIT(cpuid_words(7, 0).b, 5);
    return fma && avx2 && saves(SAVED_AVX);
}

static int has_avx512(void) {
    const unsigned b = cpuid_words(7, 0).b;
    const int avx512 = BIT(b, 16) && BIT(b, 17) && BIT(b, 30) && BIT(b, 31); /* F, DQ, BW, VL */
    return has_avx2() && avx512 && saves(SAVED_AVX512);
}

/* On Intel's processors vdpbf16ps multiplies slower than float32 does: 37 and 75 GMAC/s on a core of an Emerald Rapids.
 */
static int has_fast_bfloat16(void) {
    const unsigned amd = 0x68747541; /* the first four letters of AuthenticAMD */
    return HAVE_BFLOAT16 && has_avx512() && BIT(cpuid_words(7, 1).a, 5) && cpuid_words(0, 0).b == amd;
}

/* Whether the system grants tiles to this process: it saves them only for those that ask. The first answer holds: all
 * networks of a process use the same instructions. */
static int tiles_are_granted;
static pthread_once_t tiles_are_requested = PTHREAD_ONCE_INIT;

static void request_tiles(void) {
#if defined(__linux__)
    tiles_are_granted = syscall(SYS_arch_prctl, REQUEST_STATE, STATE_OF_TILES) == 0;
#endif
}

int tdfnet_amx_state(void) {
    const unsigned d = cpuid_words(7, 0).d, converts = BIT(cpuid_words(7, 1).a, 5); /* AVX512_BF16, which all have */
    if (!HAVE_BFLOAT16 || !has_avx512() || !BIT(d, 22) || !BIT(d, 24) || !converts) return TDFNET_AMX_MISSING;
    if (!saves(SAVED_AMX)) return TDFNET_AMX_NOT_SAVED;
    pthread_once(&tiles_are_requested, request_tiles);
    return tiles_are_granted ? TDFNET_AMX_USABLE : TDFNET_AMX_REFUSED;
}

/* The widest instruction set but AMX. */
static int widest_vectors(void) {
    if (has_fast_bfloat16()) return TDFNET_AVX512_BF16;
    if (has_avx512()) return TDFNET_AVX512;
    return has_avx2() ? TDFNET_AVX2 : TDFNET_BASELINE;
}

int best_isa(void) { return tdfnet_amx_state() == TDFNET_AMX_USABLE ? TDFNET_AMX : widest_vectors(); }

/* AVX512_BF16 may be asked for only where it is the best one: processors with AMX have its instructions, but float32 is
 * faster there. Asks for no tiles without need. */
static int may_use(int isa) {
    if (isa == TDFNET_AMX) return tdfnet_amx_state() == TDFNET_AMX_USABLE;
    const int widest = widest_vectors();
    return isa == widest || (isa < widest && isa != TDFNET_NEON);
}

static const struct kernels *const widest_first[] = {&kernels_avx512, &kernels_avx2, &kernels_baseline};
#else

int tdfnet_amx_state(void) { return TDFNET_AMX_MISSING; }

int best_isa(void) { return kernels_baseline.isa; }

static int may_use(int isa) { return isa == kernels_baseline.isa || isa == TDFNET_BASELINE; }

static const struct kernels *const widest_first[] = {&kernels_baseline};
#endif

int resolve_isa(int requested) {
    if (requested < TDFNET_BEST || requested > TDFNET_AMX) return TDFNET_BAD_ARGUMENT;
    if (requested == TDFNET_BEST) return best_isa();
    if (!may_use(requested)) return TDFNET_UNSUPPORTED;
    return requested == TDFNET_BASELINE ? kernels_baseline.isa : requested;
}

const struct tiled_kernels *tiled_kernels_for(int isa) {
#if HAVE_BFLOAT16
    if (isa == TDFNET_AMX) return &tiled_kernels_amx;
    if (isa == TDFNET_AVX512_BF16) return &tiled_kernels_avx512_bf16;
#endif
    (void)isa;
    return &tiled_kernels_portable;
}

const struct kernels *kernels_for(int isa, int inputs, int outputs) {
    for (size_t i = 0; i < sizeof widest_first / sizeof *widest_first; i++) {
        const struct kernels *kernels = widest_first[i];
        if (kernels->isa <= isa && inputs % kernels->width == 0 && outputs % kernels->width == 0) return kernels;
    }
    return NULL;
}

int block_of(int width, int outputs) {
    for (int vectors = MAX_VECTORS; vectors > 1; vectors--)
        if (outputs % (vectors * width) == 0) return vectors * width;
    return width;
}
