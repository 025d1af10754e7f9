/* The 3x3 convolutions of convolution.inl on tiles: the same transforms, and 36 products of patches, plain rows of
 * channels with one plane for each part, with packed filters: [block][36] right operands. */

INLINE void put_patch_parts(const struct patches *patches, int element, ptrdiff_t place, vector x) {
    put_parts((uint16_t *)patches->data + element * PARTS * patches->stride + place, patches->stride, x);
}

/* The channels between the last one and the end of its step. */
INLINE void clear_padding(const struct layer *layer, struct tile_range tiles, struct patches patches) {
    uint16_t *data = patches.data;
    for (int plane = 0; plane < ELEMENTS * PARTS; plane++, data += patches.stride)
        for (int tile = 0; tile < tiles.count; tile++)
            for (ptrdiff_t i = layer->inputs; i < patches.row; i += VECTOR_FLOATS)
                store_bfloat16(data + tile * patches.row + i, (vector){0});
}

/* One of the 36 products, for one block of output channels. */
INLINE void multiply_patches(const struct layer *layer, int tiles, const uint16_t *patches, ptrdiff_t plane,
                             const uint16_t *filters, float *products) {
    const int steps = steps_of(layer->inputs);
    for (int output = 0; output < layer->block; output += GROUP_SIDE) {
        const struct right b = packed_right(filters + right_place(steps, 0, output), steps);
        for (int tile = 0; tile < tiles; tile += GROUP_SIDE) {
            const struct left a = {patches + (ptrdiff_t)tile * steps * STEP, (ptrdiff_t)steps * STEP, STEP, plane};
            multiply_operands(tiles - tile, layer->block - output, a, b, steps, 0,
                              products + (ptrdiff_t)tile * layer->block + output, layer->block);
        }
    }
}

static void tiled_convolution_job(const struct layer *layer, int job, float *workspace) {
    const struct tile_range tiles = tiles_of(layer, job);
    const ptrdiff_t plane = patch_plane(layer), product_stride = element_stride(layer->tiles, layer->block);
    const ptrdiff_t filter = HALVES_OF_FLOAT * right_floats(layer->inputs, layer->block);
    const struct patches patches = {workspace, plane, (ptrdiff_t)steps_of(layer->inputs) * STEP};
    const uint16_t *filters = halves_of(layer->filters);
    float *products = workspace + ELEMENTS * PARTS * plane / HALVES_OF_FLOAT;
    struct stopwatch *watch = stopwatch_of(workspace);
    begin_tiles();
    transform_patches(layer, tiles, put_patch_parts, patches);
    clear_padding(layer, tiles, patches);
    end_step(watch, INPUT_TRANSFORM);
    for (int from = 0; from < layer->outputs; from += layer->block) {
        for (int element = 0; element < ELEMENTS; element++, filters += filter)
            multiply_patches(layer, tiles.count, halves_of(workspace) + element * PARTS * plane, plane, filters,
                             products + element * product_stride);
        end_step(watch, PRODUCTS);
        transform_products(layer, tiles, from, products, product_stride, layer->block);
        end_step(watch, OUTPUT_TRANSFORM);
    }
    if (layer->past_cache) finish_stores();
    end_tiles();
}

/* The 36 elements of the filters of one input and 16 outputs, or zeros for an input beyond the last one. */
INLINE void transform_input_filters(const struct layer *layer, double g[INPUT_TILE][3], const float *taps, int input,
                                    int output, float element[ELEMENTS][TILE_SIDE]) {
    const ptrdiff_t tap_step = (ptrdiff_t)layer->inputs * layer->block;
    const float *first = taps + (ptrdiff_t)input * layer->block + output;
    if (input >= layer->inputs) memset(element, 0, sizeof(float[ELEMENTS][TILE_SIDE]));
    for (int i = 0; i < TILE_SIDE && input < layer->inputs; i += HALF_VECTOR)
        transform_filter(g, first + i, tap_step, element[0] + i, TILE_SIDE);
}

/* Transforms the filters of one block of output channels, as filters_job of convolution.inl does. */
static void tiled_filters_job(const struct layer *layer, int job, float *workspace) {
    const int steps = steps_of(layer->inputs);
    const ptrdiff_t filter = HALVES_OF_FLOAT * right_floats(layer->inputs, layer->block);
    const float *taps = layer->weight + (ptrdiff_t)job * TAPS * layer->inputs * layer->block;
    uint16_t *filters = halves_of(layer->filters) + job * ELEMENTS * filter;
    __attribute__((aligned(64))) float even[ELEMENTS][TILE_SIDE], odd[ELEMENTS][TILE_SIDE];
    double g[INPUT_TILE][3];
    (void)workspace;
    filter_matrix(g);
    for (int output = 0; output < layer->block; output += TILE_SIDE)
        for (int input = 0; input < steps * STEP; input += 2) {
            transform_input_filters(layer, g, taps, input, output, even);
            transform_input_filters(layer, g, taps, input + 1, output, odd);
            for (int element = 0; element < ELEMENTS; element++)
                for (int i = 0; i < TILE_SIDE; i += VECTOR_FLOATS)
                    put_pairs(filters + element * filter + right_place(steps, input, output + i),
                              load(even[element] + i), load(odd[element] + i));
        }
}
