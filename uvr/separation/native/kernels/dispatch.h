/* The kernels of each instruction set, and the choice among them. */
#ifndef DISPATCH_H
#define DISPATCH_H

#include "layers.h"

extern const struct kernels kernels_avx512, kernels_avx2, kernels_baseline;
extern const struct tiled_kernels tiled_kernels_amx, tiled_kernels_avx512_bf16, tiled_kernels_portable;

/* Whether the compiler knows the instructions for bfloat16: otherwise their files are empty. */
#if defined(__apple_build_version__)
#define HAVE_BFLOAT16 0
#elif defined(__x86_64__) && defined(__clang__)
#define HAVE_BFLOAT16 (__clang_major__ >= 12)
#elif defined(__x86_64__)
#define HAVE_BFLOAT16 (__GNUC__ >= 11)
#else
#define HAVE_BFLOAT16 0
#endif

/* The widest instruction set of this machine. */
int best_isa(void);

/* The instruction set to use for the requested one, or a negative status. */
int resolve_isa(int requested);

/* The kernels of the widest instruction set, up to `isa`, whose vector width divides both `inputs` and `outputs`; NULL
 * if there are none. */
const struct kernels *kernels_for(int isa, int inputs, int outputs);

/* The kernels that multiply in bfloat16. Instruction sets without such products have slow ones, for tests. */
const struct tiled_kernels *tiled_kernels_for(int isa);

/* Output channels that are computed at a time: of vectors of `width`, the largest number up to MAX_VECTORS that divides
 * `outputs`. */
int block_of(int width, int outputs);

#endif
