/* 3x3 convolution by Winograd's F(4x4, 3x3), after Lavin & Gray (arXiv:1509.09308), section 4.1 and algorithm 1.
 *
 *     y = relu(A^T [ sum over c of (G g_c G^T) * (B^T d_c B) ] A + b)
 *
 * A job computes a range of tiles (4x4 outputs each, numbered along the bins first) in three steps:
 *
 *     patches  [36][tile][input channel]           = B^T d B               (transform_patches)
 *     products [36][tile][output channel of block] = patches x filters     (multiply_elements: 36 matrix products)
 *     output                                       = relu(A^T products A + b) (transform_products)
 *
 * The last two steps run for one block of output channels at a time. So `products` stays small, and the filters,
 * [block][36][input channel][channel of block], are read sequentially. */

/* Channels summed in registers before the sum is written to memory. Shorter sums have smaller rounding errors: with 48
 * the whole network loses 2 dB. */
#define PARTIAL_SUM 24

/* Channels whose filters stay in the L1 cache while a job goes through all its tiles; a multiple of PARTIAL_SUM. */
#define CHANNEL_GROUP (3 * PARTIAL_SUM)

/* One register tile of products[tile][block] (+)= patches[tile][channels] x filters[channels][block], summed over the
 * channels `from` to `until`. */
INLINE void multiply_register_tile(int vectors, const float *patches, int channels, int from, int until,
                                   const float *filters, float *products) {
    const int rows = tile_rows(vectors), block = vectors * VECTOR_FLOATS;
    for (int channel = from; channel < until; channel += PARTIAL_SUM) {
        const int depth = until - channel < PARTIAL_SUM ? until - channel : PARTIAL_SUM;
        vector sum[MAX_TILE_ROWS][MAX_VECTORS];
        clear(rows, vectors, sum);
        multiply(rows, vectors, patches + channel, channels, 1, filters + (ptrdiff_t)channel * block, block, depth, 0,
                 sum);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < vectors; j++) {
                float *to = products + i * block + j * VECTOR_FLOATS;
                if (channel) sum[i][j] += load(to);
                store(to, sum[i][j]);
            }
    }
}

/* One of the 36 matrix products, over all tiles and channels. */
INLINE void multiply_element(int vectors, int tiles, const float *patches, int channels, const float *filters,
                             float *products) {
    const int rows = tile_rows(vectors), block = vectors * VECTOR_FLOATS;
    for (int from = 0; from < channels; from += CHANNEL_GROUP) {
        const int until = channels - from < CHANNEL_GROUP ? channels : from + CHANNEL_GROUP;
        for (int tile = 0; tile < tiles; tile += rows)
            multiply_register_tile(vectors, patches + (ptrdiff_t)tile * channels, channels, from, until, filters,
                                   products + (ptrdiff_t)tile * block);
    }
}

INLINE void put_floats(const struct patches *patches, int element, ptrdiff_t place, vector x) {
    store((float *)patches->data + element * patches->stride + place, x);
}

INLINE void convolve(const struct layer *layer, int job, float *workspace, int vectors) {
    const struct tile_range tiles = tiles_of(layer, job);
    const int block = vectors * VECTOR_FLOATS, channels = layer->inputs;
    const ptrdiff_t patch_stride = element_stride(layer->tiles, channels);
    const ptrdiff_t product_stride = element_stride(layer->tiles, block);
    float *patches = workspace, *products = workspace + ELEMENTS * patch_stride;
    struct stopwatch *watch = stopwatch_of(workspace);
    transform_patches(layer, tiles, put_floats, (struct patches){patches, patch_stride, channels});
    end_step(watch, INPUT_TRANSFORM);
    for (int from = 0; from < layer->outputs; from += block) {
        const float *filters = layer->filters + (ptrdiff_t)from * ELEMENTS * channels;
        for (int element = 0; element < ELEMENTS; element++, filters += (ptrdiff_t)channels * block)
            multiply_element(vectors, tiles.count, patches + element * patch_stride, channels, filters,
                             products + element * product_stride);
        end_step(watch, PRODUCTS);
        transform_products(layer, tiles, from, products, product_stride, block);
        end_step(watch, OUTPUT_TRANSFORM);
    }
    if (layer->past_cache) finish_stores();
}

static void convolution_job(const struct layer *layer, int job, float *workspace) {
    switch (layer->block / VECTOR_FLOATS) {
        case 3: convolve(layer, job, workspace, 3); break;
        case 2: convolve(layer, job, workspace, 2); break;
        default: convolve(layer, job, workspace, 1);
    }
}

/* The filters of deep levels are larger than their images: transformed, they would be most of the memory of a network.
 * So they are transformed in each run, into memory that larger images use at other times. */
static void filters_job(const struct layer *layer, int job, float *workspace) {
    const ptrdiff_t step = (ptrdiff_t)layer->inputs * layer->block;
    double g[INPUT_TILE][3];
    (void)workspace;
    filter_matrix(g);
    for (ptrdiff_t i = 0; i < step; i += HALF_VECTOR)
        transform_filter(g, layer->weight + job * TAPS * step + i, step, layer->filters + job * ELEMENTS * step + i,
                         step);
}
