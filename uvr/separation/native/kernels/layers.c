/* Divides a layer's work into jobs, and computes the workspace that a job needs. */
#include "layers.h"

#include "tiled_layers.h"

int layer_jobs(const struct layer *layer) {
    if (layer->kind == TDF && layer->tiled) return divide_up(layer->in.rows, layer->frames);
    if (layer->kind == TDF) return layer->in.rows >> layer->halved;
    if (layer->kind != CONVOLUTION) return layer->kind == UP ? layer->in.rows : layer->out.rows;
    const int tiles = divide_up(layer->in.columns, OUTPUT_TILE) * divide_up(layer->in.rows, OUTPUT_TILE);
    return divide_up(tiles, layer->tiles);
}

/* The finite evaluation points of F(4, 3) (see transforms.inl). The last row of G is for the point at infinity. */
static const double points[INPUT_TILE - 1] = {0, 0.75, -0.75, 1.5, -1.5};

/* G[i] = (1, p_i, p_i^2) / product of (p_i - p_j) over all other points p_j; G[last] = (0, 0, 1). */
void filter_matrix(double g[INPUT_TILE][3]) {
    for (int i = 0; i < INPUT_TILE - 1; i++) {
        double product = 1;
        for (int j = 0; j < INPUT_TILE - 1; j++)
            if (j != i) product *= points[i] - points[j];
        g[i][0] = 1 / product;
        g[i][1] = points[i] / product;
        g[i][2] = points[i] * points[i] / product;
    }
    g[INPUT_TILE - 1][0] = g[INPUT_TILE - 1][1] = 0;
    g[INPUT_TILE - 1][2] = 1;
}

size_t filter_floats(const struct layer *layer) {
    const size_t plain = (size_t)layer->inputs * layer->outputs;
    return ELEMENTS * (layer->tiled ? right_floats(layer->inputs, layer->outputs) : plain);
}

/* The terms of some bins, the terms of the hidden layer, and the sums of the larger product (see tdf.inl). */
static size_t tdf_workspace(const struct layer *layer) {
    const int hidden = layer->hidden >> layer->halved;
    const ptrdiff_t narrow = tdf_step(layer, tdf_rows(layer, hidden));
    const ptrdiff_t wide = tdf_step(layer, TDF_CHUNK * tdf_rows(layer, 1));
    const ptrdiff_t sums = narrow > wide ? narrow : wide;
    return (size_t)tdf_products(layer->halved) * (size_t)(tdf_step(layer, TDF_DEPTH) + tdf_step(layer, hidden) + sums);
}

/* The terms of some bins, those of the hidden layer, and the sums of one of the two products (see tiled_tdf.inl). */
static size_t tiled_tdf_workspace(const struct layer *layer) {
    const int columns = layer->frames * layer->inputs, hidden = (int)round_up(layer->hidden, GROUP_SIDE);
    const size_t rows = (size_t)(hidden > TILED_ROWS ? hidden : TILED_ROWS);
    return right_floats(TILED_DEPTH, columns) + right_floats(layer->hidden, columns) + rows * (size_t)columns;
}

/* Patches and products of a convolution; or the sums of a tile, and some pixels: for `down` four in a row. */
static size_t tiled_workspace(const struct layer *layer) {
    if (layer->kind == TDF) return tiled_tdf_workspace(layer);
    const size_t products = (size_t)element_stride(layer->tiles, layer->block);
    if (layer->kind == CONVOLUTION) return ELEMENTS * (PARTS * (size_t)patch_plane(layer) / HALVES_OF_FLOAT + products);
    const size_t depth = (size_t)round_up(layer->inputs * (layer->kind == DOWN ? 4 : 1), STEP);
    return GROUP_SIDE * GROUP_SIDE + PARTS * TILED_PIXELS * depth / HALVES_OF_FLOAT;
}

size_t layer_workspace(const struct layer *layer) {
    if (layer->tiled) return tiled_workspace(layer);
    if (layer->kind == CONVOLUTION)
        return ELEMENTS *
               (size_t)(element_stride(layer->tiles, layer->inputs) + element_stride(layer->tiles, layer->block));
    return layer->kind == TDF ? tdf_workspace(layer) : 0;
}

_Static_assert(sizeof(struct stopwatch) <= LINE * sizeof(float), "a stopwatch has a cache line of its own");

void run_layer_job(const struct layer *layer, int job, float *workspace, int thread) {
    struct stopwatch *watch = stopwatch_of(workspace);
    const double start = monotonic_s();
    *watch = (struct stopwatch){.started = start};
    layer->job(layer, job, workspace);
    watch->seconds[WHOLE_JOB] = monotonic_s() - start;
    for (int step = 0; step < STEPS; step++) layer->seconds[thread][step] += watch->seconds[step];
}
