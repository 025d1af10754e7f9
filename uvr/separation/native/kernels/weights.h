/* Weights in the order in which the kernels read them. All return NULL when there is no memory. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "layers.h"

/* Floats of the packed weights of a layer whose channels, block and kind are set (of TDF: of the given half). */
size_t weight_floats(const struct layer *layer, int half);

float *pack_pointwise(const struct layer *layer, const float *weight);
float *pack_convolution(const struct layer *layer, const float *weight);
float *pack_down(const struct layer *layer, const float *weight);
float *pack_up(const struct layer *layer, const float *weight);

/* weight[inputs][outputs] as the right-hand side of a MatMul; half 0 or 1 of a TDF layer. */
float *pack_linear(const struct layer *layer, int half, const float *weight);

#endif
