/* How a layer's work is cut into jobs, and the memory that a job needs. */
#include "layers.h"

int layer_jobs(const struct layer *layer) {
    if (layer->kind != CONVOLUTION) return layer->kind == UP ? layer->in.rows : layer->out.rows;
    const int tiles = divide_up(layer->in.columns, OUTPUT_TILE) * divide_up(layer->in.rows, OUTPUT_TILE);
    return divide_up(tiles, layer->tiles);
}

size_t layer_workspace(const struct layer *layer) {
    if (layer->kind == CONVOLUTION)
        return ELEMENTS * (size_t)(element_stride(layer->tiles, layer->inputs) +
                                   element_stride(layer->tiles, layer->block));
    /* The hidden layer and the waiting sums of a chunk of row tiles. */
    if (layer->kind == TDF) return ((size_t)layer->hidden + TDF_CHUNK * MOST_TILE_ROWS) * layer->block;
    return 0;
}
