/* All the kernels, for the instruction set of the file that includes this: it defines KERNELS (the name of the table),
 * ISA, VECTOR_FLOATS and TILE_1, TILE_2, TILE_3. */
#include "layers.h"
#include "tdfnet.h"
#include "dispatch.h"
#include "vector.h"
#include "multiply.h"
#include "transforms.h"
#include "convolution.h"
#include "tdf.h"
#include "resampling.h"
#include "pointwise.h"

const struct kernels KERNELS = {
    .isa = ISA,
    .width = VECTOR_FLOATS,
    .tile = {0, TILE_1, TILE_2, TILE_3},
    .job = {[POINTWISE] = pointwise_job,
            [CONVOLUTION] = convolution_job,
            [TDF] = tdf_job,
            [DOWN] = down_job,
            [UP] = up_job},
};
