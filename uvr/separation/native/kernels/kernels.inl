/* All kernels, compiled once for each instruction set. The including file defines KERNELS (the name of the table), ISA,
 * VECTOR_FLOATS and TILE_1, TILE_2, TILE_3. */
#include <math.h>
#include <string.h>

#include "layers.h"
#include "tdfnet.h"
#include "dispatch.h"
#include "roformer_jobs.h"
#include "peak_jobs.h"
#include "stft_jobs.h"
#include "vector.inl"
#include "multiply.inl"
#include "transforms.inl"
#include "winograd.inl"
#include "convolution.inl"
#include "strassen.inl"
#include "tdf.inl"
#include "resampling.inl"
#include "pointwise.inl"
#include "elementary_functions.inl"
#include "panels.inl"
#include "products.inl"
#include "attention.inl"
#include "roformer.inl"
#include "fourier.inl"
#include "stft.inl"
#include "peak.inl"

const struct kernels KERNELS = {
    .isa = ISA,
    .width = VECTOR_FLOATS,
    .tile = {0, TILE_1, TILE_2, TILE_3},
    .job = {[POINTWISE] = pointwise_job,
            [CONVOLUTION] = convolution_job,
            [TDF] = tdf_job,
            [DOWN] = down_job,
            [UP] = up_job},
    .filters_job = filters_job,
    .roformer = {[SPLIT] = split_job, [TRANSFORM] = transform_job, [MASK] = mask_job},
    .stft_forward = forward_job,
    .stft_inverse = inverse_job,
    .peak = {[PEAK_MULTIPLY] = peak_multiply_job,
             [PEAK_READ] = peak_read_job,
             [PEAK_COPY] = peak_copy_job,
             [PEAK_TRIAD] = peak_triad_job},
};
