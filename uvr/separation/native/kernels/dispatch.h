/* The kernels of each instruction set, and the choice among them. */
#ifndef DISPATCH_H
#define DISPATCH_H

#include "layers.h"

extern const struct kernels kernels_avx512, kernels_avx2, kernels_baseline;

/* The widest instruction set of this machine. */
int best_isa(void);

/* The instruction set to use for the requested one, or a negative status. */
int resolve_isa(int requested);

/* The kernels of the widest instruction set, up to `isa`, whose vector width divides both `inputs` and `outputs`; NULL
 * if there are none. */
const struct kernels *kernels_for(int isa, int inputs, int outputs);

/* Output channels of a register tile: the largest number of vectors, up to MAX_VECTORS, that divides `outputs`. */
int block_of(const struct kernels *kernels, int outputs);

#endif
