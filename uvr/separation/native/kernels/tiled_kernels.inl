/* All kernels that multiply in bfloat16, compiled once for each kind of tiles. The including file defines
 * TILED_KERNELS (the name of the table), ISA, VECTOR_FLOATS and the functions of tiles.h. */
#include <math.h>
#include <string.h>

#include "layers.h"
#include "tdfnet.h"
#include "dispatch.h"
#include "roformer_jobs.h"
#include "elementary_functions.inl"
#include "panels.inl"
#include "tiled_products.inl"
#include "attention.inl"
#include "roformer.inl"
#include "tiled_layers.h"
#include "transforms.inl"
#include "winograd.inl"
#include "tiled_layers.inl"
#include "tiled_convolution.inl"
#include "tiled_tdf.inl"
#include "tiled_resampling.inl"

/* multiply_tiles for sizes that are not constants: for checks and for the measurement of its peak. */
static void multiply_any(int rows, int columns, int terms, struct left a, struct right b, int steps, int add, float *to,
                         ptrdiff_t to_row) {
    begin_tiles();
    if (rows == 2 && columns == 2 && terms == 1) multiply_tiles(2, 2, 1, a, b, steps, add, to, to_row);
    else if (rows == 2 && columns == 2 && terms == 3) multiply_tiles(2, 2, 3, a, b, steps, add, to, to_row);
    else if (rows == 2 && columns == 2) multiply_tiles(2, 2, 6, a, b, steps, add, to, to_row);
    else if (rows == 2) multiply_tiles(2, 1, terms, a, b, steps, add, to, to_row);
    else if (columns == 2) multiply_tiles(1, 2, terms, a, b, steps, add, to, to_row);
    else multiply_tiles(1, 1, terms, a, b, steps, add, to, to_row);
    end_tiles();
}

const struct tiled_kernels TILED_KERNELS = {
    .isa = ISA,
    .multiply = multiply_any,
    .roformer = {[SPLIT] = split_job, [TRANSFORM] = transform_job, [MASK] = mask_job},
    .job = {[CONVOLUTION] = tiled_convolution_job, [TDF] = tiled_tdf_job, [DOWN] = tiled_down_job, [UP] = tiled_up_job},
    .filters_job = tiled_filters_job,
};
