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

struct tile_range {
    int first, count, per_row;
};

INLINE struct tile_range tiles_of(const struct layer *layer, int job) {
    const int per_row = divide_up(layer->in.columns, OUTPUT_TILE);
    const int all = per_row * divide_up(layer->in.rows, OUTPUT_TILE), first = job * layer->tiles;
    const int count = all - first < layer->tiles ? all - first : layer->tiles;
    return (struct tile_range){first, count, per_row};
}

/* How many pixels ahead the input is prefetched. The hardware prefetcher follows six rows less well: this saves 25 % of
 * the step. */
#define FETCH_AHEAD 16

/* Transforms one column of a patch: column[6 * i] = row i of B^T d. Pixels outside the image are zero. */
INLINE void transform_column(const struct image *in, int top, int x, int channel, vector *column) {
    vector pixel[INPUT_TILE];
    for (int i = 0; i < INPUT_TILE; i++) {
        pixel[i] = (vector){0};
        if (x < 0 || x >= in->columns || top + i < 0 || top + i >= in->rows) continue;
        const float *from = image_row(in, top + i) + (ptrdiff_t)x * in->channels + channel;
        if (x + FETCH_AHEAD < in->columns) __builtin_prefetch(from + FETCH_AHEAD * in->channels);
        pixel[i] = load(from);
    }
    transform_input(pixel, 1, column, INPUT_TILE);
}

/* patches = B^T d B for all tiles. Neighbouring tiles share two columns, which are kept from tile to tile. */
INLINE void transform_patches(const struct layer *layer, struct tile_range tiles, float *patches, ptrdiff_t stride) {
    const int channels = layer->inputs;
    const struct image in = layer->in; /* a copy, which no store can change: its fields stay in registers */
    for (int channel = 0; channel < channels; channel += VECTOR_FLOATS) {
        vector half[ELEMENTS];
        for (int tile = 0; tile < tiles.count; tile++) {
            const int top = (tiles.first + tile) / tiles.per_row * OUTPUT_TILE - 1;
            const int left = (tiles.first + tile) % tiles.per_row * OUTPUT_TILE - 1;
            const int shared = tile > 0 && left > 0 ? INPUT_TILE - OUTPUT_TILE : 0;
            for (int i = 0; i < INPUT_TILE && shared; i++)
                for (int j = 0; j < shared; j++) half[i * INPUT_TILE + j] = half[i * INPUT_TILE + OUTPUT_TILE + j];
            for (int j = shared; j < INPUT_TILE; j++) transform_column(&in, top, left + j, channel, half + j);
            for (int i = 0; i < INPUT_TILE; i++) {
                vector row[INPUT_TILE];
                transform_input(half + i * INPUT_TILE, 1, row, 1);
                for (int j = 0; j < INPUT_TILE; j++)
                    store(patches + (i * INPUT_TILE + j) * stride + (ptrdiff_t)tile * channels + channel, row[j]);
            }
        }
    }
}

/* One register tile of products[tile][block] (+)= patches[tile][channels] x filters[channels][block], summed over the
 * channels `from` to `until`. */
INLINE void multiply_tiles(int vectors, const float *patches, int channels, int from, int until, const float *filters,
                           float *products) {
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
            multiply_tiles(vectors, patches + (ptrdiff_t)tile * channels, channels, from, until, filters,
                           products + (ptrdiff_t)tile * block);
    }
}

/* output = relu(A^T products A + b) for one block of output channels, starting at channel `from`. */
INLINE void transform_products(const struct layer *layer, struct tile_range tiles, int from, const float *products,
                               ptrdiff_t stride, int vectors) {
    const int block = vectors * VECTOR_FLOATS;
    const struct image out = layer->out;
    const float *biases = layer->bias + from;
    const int past_cache = layer->past_cache;
    for (int tile = 0; tile < tiles.count; tile++) {
        const int top = (tiles.first + tile) / tiles.per_row * OUTPUT_TILE;
        const int left = (tiles.first + tile) % tiles.per_row * OUTPUT_TILE;
        const int rows = out.rows - top < OUTPUT_TILE ? out.rows - top : OUTPUT_TILE;
        const int columns = out.columns - left < OUTPUT_TILE ? out.columns - left : OUTPUT_TILE;
        for (int channel = 0; channel < block; channel += VECTOR_FLOATS) {
            const vector bias = load(biases + channel);
            const float *product = products + (ptrdiff_t)tile * block + channel;
            vector half[OUTPUT_TILE * INPUT_TILE];
            for (int j = 0; j < INPUT_TILE; j++) {
                vector column[INPUT_TILE];
                for (int i = 0; i < INPUT_TILE; i++) column[i] = load(product + (i * INPUT_TILE + j) * stride);
                transform_output(column, 1, half + j, INPUT_TILE);
            }
            for (int i = 0; i < rows; i++) {
                vector row[OUTPUT_TILE];
                float *to = image_row(&out, top + i) + (ptrdiff_t)left * out.channels + from + channel;
                transform_output(half + i * INPUT_TILE, 1, row, 1);
                for (int j = 0; j < columns; j++, to += out.channels)
                    if (past_cache) store_past_cache(to, relu(row[j] + bias));
                    else store(to, relu(row[j] + bias));
            }
        }
    }
}

INLINE void convolve(const struct layer *layer, int job, float *workspace, int vectors) {
    const struct tile_range tiles = tiles_of(layer, job);
    const int block = vectors * VECTOR_FLOATS, channels = layer->inputs;
    const ptrdiff_t patch_stride = element_stride(layer->tiles, channels);
    const ptrdiff_t product_stride = element_stride(layer->tiles, block);
    float *patches = workspace, *products = workspace + ELEMENTS * patch_stride;
    struct stopwatch *watch = stopwatch_of(workspace);
    transform_patches(layer, tiles, patches, patch_stride);
    end_step(watch, INPUT_TRANSFORM);
    for (int from = 0; from < layer->outputs; from += block) {
        const float *filters = layer->filters + (ptrdiff_t)from * ELEMENTS * channels;
        for (int element = 0; element < ELEMENTS; element++, filters += (ptrdiff_t)channels * block)
            multiply_element(vectors, tiles.count, patches + element * patch_stride, channels, filters,
                             products + element * product_stride);
        end_step(watch, PRODUCTS);
        transform_products(layer, tiles, from, products, product_stride, vectors);
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

/* Half a vector of floats, and the same as doubles: filters are rounded to float32 only once. */
#define HALF_VECTOR (VECTOR_FLOATS / 2)
typedef float narrow_vector __attribute__((vector_size(HALF_VECTOR * 4), may_alias));
typedef double wide __attribute__((vector_size(HALF_VECTOR * 8), may_alias));

INLINE wide combine(const double row[3], wide x, wide y, wide z) { return row[0] * x + row[1] * y + row[2] * z; }

/* element[6 i + j] = (G filter G^T)[i][j] for half a vector of output channels; taps and elements are `step` floats
 * apart.
 */
INLINE void transform_filter(double g[INPUT_TILE][3], const float *taps, float *element, ptrdiff_t step) {
    wide tap[TAPS];
    for (int i = 0; i < TAPS; i++) tap[i] = __builtin_convertvector(*(const narrow_vector *)(taps + i * step), wide);
    for (int i = 0; i < INPUT_TILE; i++) {
        wide row[3];
        for (int j = 0; j < 3; j++) row[j] = combine(g[i], tap[j], tap[3 + j], tap[6 + j]);
        for (int j = 0; j < INPUT_TILE; j++, element += step)
            *(narrow_vector *)element = __builtin_convertvector(combine(g[j], row[0], row[1], row[2]), narrow_vector);
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
        transform_filter(g, layer->weight + job * TAPS * step + i, layer->filters + job * ELEMENTS * step + i, step);
}
