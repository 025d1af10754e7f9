/* Time-distributed fully connected layer (Choi et al., arXiv:1912.02591): per frame and channel, along the bins,
 *
 *     x += relu(s2 (W2 relu(s1 (W1 x + b1) + h1) + b2) + h2)
 *
 * With the bins of a frame as rows and the channels as columns these are two matrix products. A job is a frame,
 * computed in blocks of `vectors` vectors of channels. W is packed [row tile][input][row of tile], so a register tile
 * reads it sequentially. The inputs are processed TDF_DEPTH at a time: a panel of TDF_DEPTH x block stays in the L2
 * cache while TDF_CHUNK row tiles use it; their partial sums are kept in the workspace. */

/* Panels sized for the L1 cache (depth 128) without prefetching are 7 % slower. */
#define TDF_DEPTH 512
#define TDF_AHEAD 32

struct panel {
    const float *in;
    ptrdiff_t in_stride;
    int inputs;
    float *out;
    ptrdiff_t out_stride;
    int outputs;
    float *sums; /* partial sums of TDF_CHUNK row tiles */
};

/* Applies batch normalisation and relu to the finished sums of one row, and stores it or, if `add` is set, adds it. */
INLINE void finish_row(int vectors, const struct panel *panel, int row, int add, const vector *sum, const float *scale,
                       const float *shift) {
    float *to = panel->out + row * panel->out_stride;
    for (int j = 0; j < vectors; j++) {
        const ptrdiff_t at = j * VECTOR_FLOATS;
        vector y = relu(sum[j] * load(scale + at) + load(shift + at));
        if (add) y += load(to + at);
        store(to + at, y);
    }
}

/* Adds the inputs `from` to `from + depth` to the partial sums of one row tile; finishes the rows after the last
 * inputs. */
INLINE void multiply_inputs(int vectors, const struct panel *panel, const struct linear *linear, int row, int from,
                            int depth, int add, float *sums, const float *scale, const float *shift) {
    const int rows = tile_rows(vectors), last = from + depth == panel->inputs;
    vector sum[MAX_TILE_ROWS][MAX_VECTORS];
    clear(rows, vectors, sum);
    multiply(rows, vectors, linear->weight + (ptrdiff_t)row * panel->inputs + (ptrdiff_t)from * rows, 1, rows,
             panel->in + from * panel->in_stride, panel->in_stride, depth, TDF_AHEAD, sum);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++) {
            float *partial = sums + (i * vectors + j) * VECTOR_FLOATS;
            if (from) sum[i][j] += load(partial);
            else if (linear->bias) sum[i][j] += linear->bias[row + i];
            if (!last) store(partial, sum[i][j]);
        }
    for (int i = 0; i < rows && last; i++)
        if (row + i < panel->outputs) finish_row(vectors, panel, row + i, add, sum[i], scale, shift);
}

INLINE void multiply_panel(int vectors, const struct panel *panel, const struct linear *linear, int channel, int add) {
    const int rows = tile_rows(vectors), chunk = rows * TDF_CHUNK;
    const float *scale = linear->scale + channel, *shift = linear->shift + channel;
    for (int start = 0; start < panel->outputs; start += chunk) {
        const int stop = start + chunk < panel->outputs ? start + chunk : panel->outputs;
        for (int from = 0; from < panel->inputs; from += TDF_DEPTH) {
            const int left = panel->inputs - from, depth = left < TDF_DEPTH ? left : TDF_DEPTH;
            for (int row = start; row < stop; row += rows)
                multiply_inputs(vectors, panel, linear, row, from, depth, add,
                                panel->sums + (ptrdiff_t)(row - start) * vectors * VECTOR_FLOATS, scale, shift);
        }
    }
}

INLINE void connect(const struct layer *layer, int frame, float *workspace, int vectors) {
    const int block = vectors * VECTOR_FLOATS, bins = layer->in.columns;
    float *hidden = workspace, *sums = workspace + (ptrdiff_t)layer->hidden * block;
    for (int channel = 0; channel < layer->inputs; channel += block) {
        float *x = image_row(&layer->in, frame) + channel;
        const struct panel shrink = {x, layer->in.channels, bins, hidden, block, layer->hidden, sums};
        const struct panel grow = {hidden, block, layer->hidden, x, layer->in.channels, bins, sums};
        multiply_panel(vectors, &shrink, &layer->linear[0], channel, 0);
        multiply_panel(vectors, &grow, &layer->linear[1], channel, 1);
    }
}

static void tdf_job(const struct layer *layer, int job, float *workspace) {
    switch (layer->block / VECTOR_FLOATS) {
        case 3: connect(layer, job, workspace, 3); break;
        case 2: connect(layer, job, workspace, 2); break;
        default: connect(layer, job, workspace, 1);
    }
}
