/* What stft.c prepares, and stft.inl computes with. */
#ifndef STFT_JOBS_H
#define STFT_JOBS_H

#include <stddef.h>

#include "stft.h"

#define MAX_PASSES 32
#define TURNED_COLUMNS 8 /* turned at a time: 4 kB apart, more lines would evict each other from the L1 cache */

/* A pass of the Fourier transform: `radix` parts of a block become as many blocks of `part` points. */
struct stft_pass {
    int radix, part;
    const float *twiddles; /* [part][radix - 1]: cosine and sine of -2 pi j k / (radix part) */
};

struct stft {
    struct stft_shape shape;
    const struct kernels *kernels;
    int half;    /* points of the complex transform that computes a real one of twice as many samples */
    int columns; /* pieces of one hop that the reflected signal has, rounded up */
    ptrdiff_t samples;
    int passes;
    struct stft_pass pass[MAX_PASSES];
    int *place;    /* [half]: where the transform puts each of its frequencies */
    float *memory; /* of all arrays below */
    float *twiddles;
    float *turns;            /* [half + 1]: cosine and sine of 2 pi k / size */
    float *window_in;        /* [size]: half of the window */
    float *window_out;       /* [size]: the window over size */
    float *one_over_squares; /* [samples]: of the sum of the squared windows */
};

/* Memory for one call. */
struct stft_workspace {
    float *turned; /* [hop][columns]: the reflected signal, so that samples of adjacent frames are adjacent */
    float *points; /* [half][2][vector]: the transforms of as many frames as a vector has floats */
};

typedef void stft_job(const struct stft *stft, struct stft_workspace work, const float *from, float *to);

#endif
