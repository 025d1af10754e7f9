/* Divides a layer's work into jobs, and computes the workspace that a job needs. */
#include "layers.h"

int layer_jobs(const struct layer *layer) {
    if (layer->kind != CONVOLUTION) return layer->kind == UP ? layer->in.rows : layer->out.rows;
    const int tiles = divide_up(layer->in.columns, OUTPUT_TILE) * divide_up(layer->in.rows, OUTPUT_TILE);
    return divide_up(tiles, layer->tiles);
}

size_t layer_workspace(const struct layer *layer) {
    if (layer->kind == CONVOLUTION)
        return ELEMENTS *
               (size_t)(element_stride(layer->tiles, layer->inputs) + element_stride(layer->tiles, layer->block));
    /* The hidden layer, and the partial sums of a chunk of row tiles. */
    if (layer->kind == TDF) return ((size_t)layer->hidden + TDF_CHUNK * MAX_TILE_ROWS) * layer->block;
    return 0;
}

_Static_assert(sizeof(struct stopwatch) <= LINE * sizeof(float), "a stopwatch has a cache line of its own");

void run_layer_job(const struct layer *layer, int job, float *workspace, int thread) {
    struct stopwatch *watch = stopwatch_of(workspace);
    const double start = monotonic_s();
    *watch = (struct stopwatch){.started = start};
    layer->kernels->job[layer->kind](layer, job, workspace);
    watch->seconds[WHOLE_JOB] = monotonic_s() - start;
    for (int step = 0; step < STEPS; step++) layer->seconds[thread][step] += watch->seconds[step];
}
