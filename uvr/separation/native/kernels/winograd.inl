/* What all convolutions by Winograd's F(4x4, 3x3) share: the transforms between images and the operands and results of
 * their matrix products. See convolution.inl. */

struct tile_range {
    int first, count, per_row;
};

INLINE struct tile_range tiles_of(const struct layer *layer, int job) {
    const int per_row = divide_up(layer->in.columns, OUTPUT_TILE);
    const int all = per_row * divide_up(layer->in.rows, OUTPUT_TILE), first = job * layer->tiles;
    const int count = all - first < layer->tiles ? all - first : layer->tiles;
    return (struct tile_range){first, count, per_row};
}

/* Patches, in numbers of a type that the writer knows: `stride` from one of the 36 elements to the next, `row` from
 * tile to tile. */
struct patches {
    void *data;
    ptrdiff_t stride, row;
};

/* Writes a vector of one element; `place` counts from the first tile and channel. */
typedef void put_patch(const struct patches *patches, int element, ptrdiff_t place, vector x);

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
INLINE void transform_patches(const struct layer *layer, struct tile_range tiles, put_patch *put,
                              struct patches patches) {
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
                    put(&patches, i * INPUT_TILE + j, tile * patches.row + channel, row[j]);
            }
        }
    }
}

/* output = relu(A^T products A + b) for one block of output channels, starting at channel `from`. */
INLINE void transform_products(const struct layer *layer, struct tile_range tiles, int from, const float *products,
                               ptrdiff_t stride, int block) {
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

/* Half a vector of floats, and the same as doubles: filters are rounded to float32 only once. */
#define HALF_VECTOR (VECTOR_FLOATS / 2)
typedef float narrow_vector __attribute__((vector_size(HALF_VECTOR * 4), may_alias));
typedef double wide __attribute__((vector_size(HALF_VECTOR * 8), may_alias));

INLINE wide combine(const double row[3], wide x, wide y, wide z) { return row[0] * x + row[1] * y + row[2] * z; }

/* element[6 i + j] = (G filter G^T)[i][j] for half a vector of output channels; taps are `tap_step` floats apart,
 * elements `step`. */
INLINE void transform_filter(double g[INPUT_TILE][3], const float *taps, ptrdiff_t tap_step, float *element,
                             ptrdiff_t step) {
    wide tap[TAPS];
    for (int i = 0; i < TAPS; i++)
        tap[i] = __builtin_convertvector(*(const narrow_vector *)(taps + i * tap_step), wide);
    for (int i = 0; i < INPUT_TILE; i++) {
        wide row[3];
        for (int j = 0; j < 3; j++) row[j] = combine(g[i], tap[j], tap[3 + j], tap[6 + j]);
        for (int j = 0; j < INPUT_TILE; j++, element += step)
            *(narrow_vector *)element = __builtin_convertvector(combine(g[j], row[0], row[1], row[2]), narrow_vector);
    }
}
