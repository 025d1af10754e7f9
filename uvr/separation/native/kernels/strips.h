/* Waves: runs of layers that work on one strip of rows after the other, so that a strip is still in the cache when the
 * next layer reads it. See strips.c. */
#ifndef STRIPS_H
#define STRIPS_H

#include "layers.h"

/* Smaller images stay in the L3 cache: their layers run one after the other. */
#ifndef MIN_WAVE_FLOATS /* tests build the library with 0 */
#define MIN_WAVE_FLOATS ((size_t)4 << 20)
#endif

struct wave {
    int first, last; /* layers */
    int strips, steps;
    int *before; /* [steps + 1]: jobs of all steps before a step */
};

struct waves {
    struct wave *wave;
    int count;
};

/* Divides the layers of a network into waves. Sets how each layer is divided into strips, and which outputs are rings
 * or overwrite another image. Returns a status of tdfnet.h; on an error `waves` is empty. */
int waves_plan(struct waves *waves, struct layer *layer, int layers, int threads);

void waves_free(struct waves *waves);

/* Computes a wave on the threads of a pool. `workspace` has `workspace_floats` for each thread. */
void wave_run(const struct wave *wave, struct layer *layer, struct pool *pool, float *workspace,
              size_t workspace_floats);

#endif
