/* Which instruction sets there are, and the kernels of each. */
#ifndef DISPATCH_H
#define DISPATCH_H

#include "layers.h"

extern const struct kernels kernels_avx512, kernels_avx2, kernels_baseline;

/* The widest instruction set of this machine. */
int best_isa(void);

/* Kernels of the widest instruction set up to `isa` whose vectors both numbers fill, or NULL. */
const struct kernels *kernels_for(int isa, int inputs, int outputs);

/* Output channels of a register tile: as many vectors as divide `outputs`. */
int block_of(const struct kernels *kernels, int outputs);

#endif
