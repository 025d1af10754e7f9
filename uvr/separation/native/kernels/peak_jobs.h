/* What a job of peak.inl works on. */
#ifndef PEAK_JOBS_H
#define PEAK_JOBS_H

#include <stddef.h>

#include "layers.h"

#define PEAK_ROUNDS (1 << 18)        /* of the loop of multiply-adds */
#define PEAK_STEPS (1 << 10)         /* of a product of tiles */
#define PEAK_JOB_FLOATS (256 * 1024) /* of each array */

/* Independent sums: enough to hide the latency of an addition, and registers for all of them. */
#if defined(__aarch64__)
#define PEAK_SUMS 16
#else
#define PEAK_SUMS 12
#endif

struct peak_work {
    float *a;
    const float *b, *c;
    float sink[LINE]; /* written so that no compiler leaves out the loop */
};

#endif
