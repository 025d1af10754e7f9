/* Weights in the layout that the kernels read. All pack_ functions return NULL if there is not enough memory. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "layers.h"

/* Floats of the packed weights of a layer whose channels, block and kind are set; for TDF, of the given half. */
size_t weight_floats(const struct layer *layer, int half);

float *pack_pointwise(const struct layer *layer, const float *weight);
float *pack_convolution(const struct layer *layer, const float *weight);
float *pack_down(const struct layer *layer, const float *weight);
float *pack_up(const struct layer *layer, const float *weight);

/* weight[inputs][outputs], the right-hand side of a MatMul; `half` is 0 or 1, the first or second half of a TDF layer.
 */
float *pack_linear(const struct layer *layer, int half, const float *weight);

#endif
