/* Computing the layers of a block strip by strip.
 *
 * The images of the first levels are larger than the caches. If each layer computed its whole image before the next one
 * starts, each would read and write main memory. Here a wave of layers moves down the image instead. In step t, each
 * layer computes the strip t - lag of a few rows, for example in a block with three convolutions:
 *
 *                      strip:   0    1    2    3    4    5    6    7    8    9
 *     first layer     (lag 0)   .    .    .    .    .    .    .    .    .   t=9
 *     convolution     (lag 2)   .    .    .    .    .    .    .   t=9
 *     convolution     (lag 4)   .    .    .    .    .   t=9
 *     convolution     (lag 6)   .    .    .   t=9
 *
 * A convolution also reads one row above and below its strip. Hence it is two strips behind the layer before, and other
 * layers are one strip behind. So a step needs only what earlier steps have computed: its jobs run in any order and in
 * parallel, and no row is computed twice.
 *
 * Only a few strips of the images between the convolutions are in use at a time. These images are rings (see
 * image_row): a new strip replaces the oldest one. The last convolution is far enough behind the first one to overwrite
 * the image that this one reads. A small image has one strip: its layers run one after the other. */
#define _POSIX_C_SOURCE 200809L
#include "strips.h"

#include <sched.h>
#include <stdlib.h>

#include "tdfnet.h"

/* Strips of a ring: the one being written, and the three from which the next convolution reads. */
#define RING_STRIPS 4

/* Rows of a strip, a power of two: one row of Winograd tiles, and more for more than two threads, so that each step has
 * jobs for all of them. */
static int rows_for(int threads) {
    int rows = OUTPUT_TILE;
    while (rows < 2 * threads) rows *= 2;
    return rows;
}

static size_t size_of(const struct image *image) { return (size_t)image->rows * (size_t)image->stride; }

static int is_large(const struct image *image, int strip_rows) {
    return size_of(image) >= MIN_WAVE_FLOATS && image->rows >= 2 * RING_STRIPS * strip_rows;
}

/* The layer after the last one of the wave that starts at `first`. A wave stays on its level and contains no TDF layer:
 * its weights would leave the cache between two strips, and push out the strips. */
static int wave_end(const struct layer *layer, int layers, int first, int strip_rows) {
    int end = first + 1;
    if (layer[first].kind == TDF || !is_large(&layer[first].out, strip_rows)) return end;
    while (end < layers && layer[end].kind != DOWN && layer[end].kind != UP && layer[end].kind != TDF) end++;
    return end;
}

/* Whether only the next layer of the wave, a convolution, reads the output of this one. */
static int is_passed_on(const struct wave *wave, const struct layer *layer, int number) {
    const int between = number > wave->first && number < wave->last;
    return between && layer[number].kind == CONVOLUTION && layer[number + 1].kind == CONVOLUTION;
}

/* Whether the last convolution of a wave, `number`, may overwrite the output of the wave's first layer. */
static int returns_home(const struct wave *wave, const struct layer *layer, int number) {
    int before = 0, after = 0;
    for (int i = wave->first + 1; i < number; i++) before += layer[i].kind == CONVOLUTION;
    for (int i = number + 1; i <= wave->last; i++) after += layer[i].kind == CONVOLUTION;
    return layer[number].kind == CONVOLUTION && before && !after &&
           layer[wave->first].out.channels == layer[number].out.channels;
}

static int jobs_in_step(const struct wave *wave, const struct layer *layer, int step) {
    const int strip = step - layer->lag, first = strip * layer->strip_jobs;
    if (strip < 0 || strip >= wave->strips) return 0;
    return strip < wave->strips - 1 ? layer->strip_jobs : layer_jobs(layer) - first;
}

static int plan_wave(struct wave *wave, struct layer *layer, int strip_rows) {
    const int rows = layer[wave->first].out.rows;
    if (wave->first == wave->last) strip_rows = (int)round_up(rows, OUTPUT_TILE);
    wave->strips = divide_up(rows, strip_rows);
    for (int i = wave->first; i <= wave->last; i++) {
        layer[i].strip_rows = strip_rows;
        layer[i].strip_jobs = jobs_of_strip(&layer[i]);
        layer[i].out.mask = is_passed_on(wave, layer, i) ? RING_STRIPS * strip_rows - 1 : ~0;
        layer[i].past_cache = layer[i].out.mask == ~0 && size_of(&layer[i].out) >= MIN_WAVE_FLOATS;
        layer[i].returns_home = returns_home(wave, layer, i);
        layer[i].lag = i == wave->first ? 0 : layer[i - 1].lag + (layer[i].kind == CONVOLUTION ? 2 : 1);
    }
    wave->steps = wave->strips + layer[wave->last].lag;
    wave->before = calloc((size_t)wave->steps + 1, sizeof *wave->before);
    if (!wave->before) return TDFNET_NO_MEMORY;
    for (int step = 0; step < wave->steps; step++) {
        wave->before[step + 1] = wave->before[step];
        for (int i = wave->first; i <= wave->last; i++) wave->before[step + 1] += jobs_in_step(wave, &layer[i], step);
    }
    return TDFNET_OK;
}

int waves_plan(struct waves *waves, struct layer *layer, int layers, int threads) {
    const int strip_rows = rows_for(threads);
    *waves = (struct waves){calloc((size_t)layers, sizeof *waves->wave), 0};
    int status = waves->wave ? TDFNET_OK : TDFNET_NO_MEMORY;
    for (int first = 0; first < layers && !status;) {
        struct wave *wave = &waves->wave[waves->count++];
        const int end = wave_end(layer, layers, first, strip_rows);
        *wave = (struct wave){.first = first, .last = end - 1};
        status = plan_wave(wave, layer, strip_rows);
        first = end;
    }
    if (status) waves_free(waves);
    return status;
}

void waves_free(struct waves *waves) {
    for (int i = 0; i < waves->count; i++) free(waves->wave[i].before);
    free(waves->wave);
    *waves = (struct waves){NULL, 0};
}

/* ---- running ---- */

struct run {
    const struct wave *wave;
    const struct layer *layer;
    float *workspace;
    size_t workspace_floats;
    int finished; /* jobs; atomic */
};

/* Waits until the steps before `step` are complete. Their jobs were taken before by threads that are at work on them.
 */
static void wait_for_steps(const struct run *run, int step) {
    while (__atomic_load_n(&run->finished, __ATOMIC_ACQUIRE) < run->wave->before[step]) sched_yield();
}

static void wave_job(void *context, int job, int thread) {
    struct run *run = context;
    const struct wave *wave = run->wave;
    const struct layer *layer = &run->layer[wave->last];
    int step = 0, jobs;
    while (job >= wave->before[step + 1]) step++;
    for (job -= wave->before[step]; job >= (jobs = jobs_in_step(wave, layer, step)); layer--) job -= jobs;
    wait_for_steps(run, step);
    layer->kernels->job[layer->kind](layer, (step - layer->lag) * layer->strip_jobs + job,
                                     run->workspace + run->workspace_floats * thread);
    __atomic_fetch_add(&run->finished, 1, __ATOMIC_ACQ_REL);
}

static void transform_filters(void *context, int job, int thread) {
    const struct layer *layer = context;
    (void)thread;
    layer->kernels->filters_job(layer, job, NULL);
}

void wave_run(const struct wave *wave, struct layer *layer, struct pool *pool, float *workspace,
              size_t workspace_floats) {
    struct run run = {wave, layer, workspace, workspace_floats, 0};
    for (int i = wave->first; i <= wave->last; i++)
        if (layer[i].late) pool_run(pool, transform_filters, &layer[i], layer[i].outputs / layer[i].block);
    pool_run(pool, wave_job, &run, wave->before[wave->steps]);
}
