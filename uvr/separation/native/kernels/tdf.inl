/* Time-distributed fully connected layer (Choi et al., arXiv:1912.02591): per frame and channel, along the bins,
 *
 *     x += relu(s2 (W2 relu(s1 (W1 x + b1) + h1) + b2) + h2)
 *
 * With the bins of a frame as rows and the channels as columns these are two matrix products. Large ones are halved by
 * Strassen's algorithm (strassen.inl): W is divided into 2x2 parts, and x into two halves of its bins times two frames.
 * A job is such a pair of frames (or else one frame), computed in blocks of `vectors` vectors of channels:
 *
 *     terms  [product][bin of part][channel]     = split(x), TDF_DEPTH bins at a time  (split_bins)
 *     sums   [product][hidden of part][channel] += W1 terms                            (multiply_terms)
 *     narrow [product][hidden of part][channel]  = split(relu(s1 join(sums) + h1))     (finish_hidden)
 *     sums   [product][row of chunk][channel]    = W2 narrow                           (multiply_terms)
 *     x     += relu(s2 join(sums) + h2)                                                (finish_bins)
 *
 * W is packed [product][row tile][input][row of tile], so a register tile reads it sequentially. The terms of a product
 * stay in the L1 cache while all row tiles use them. */

INLINE void split_or_copy(int halved, const vector *part, float *to, ptrdiff_t step) {
    if (halved) split(part, to, step);
    else store(to, part[0]);
}

INLINE void join_or_copy(int halved, const float *products, ptrdiff_t step, vector *part) {
    if (halved) join(products, step, part);
    else part[0] = load(products);
}

INLINE vector normalised(vector sum, const float *scale, const float *shift) {
    return relu(sum * load(scale) + load(shift));
}

struct tdf_job {
    const struct layer *layer;
    int frame, channel;
    float *terms, *narrow, *sums;
};

INLINE float *pixels_of(const struct tdf_job *job, int halved, int part, int bin) {
    const struct image *x = &job->layer->in;
    const int row = part / 2 * (x->columns >> halved) + bin;
    return image_row(x, job->frame + part % 2) + (ptrdiff_t)row * x->channels + job->channel;
}

/* The terms of the bins `from` to `from + depth` of each part. */
INLINE void split_bins(const struct tdf_job *job, int halved, int vectors, int from, int depth) {
    const ptrdiff_t step = tdf_step(job->layer, TDF_DEPTH);
    for (int bin = 0; bin < depth; bin++)
        for (int j = 0; j < vectors; j++) {
            vector part[4];
#pragma GCC unroll 4
            for (int i = 0; i < tdf_parts(halved); i++)
                part[i] = load(pixels_of(job, halved, i, from + bin) + j * VECTOR_FLOATS);
            split_or_copy(halved, part, job->terms + (bin * vectors + j) * VECTOR_FLOATS, step);
        }
}

/* Adds the products of `depth` terms to the sums of `count` rows, starting at a row tile. `weight` is that of the first
 * row and term. If `first` is set, there are no sums yet. */
INLINE void multiply_terms(int vectors, const float *weight, int inputs, const float *terms, int depth, int count,
                           int first, float *sums) {
    const int rows = tile_rows(vectors), block = vectors * VECTOR_FLOATS;
    for (int row = 0; row < count; row += rows, sums += rows * block) {
        vector sum[MAX_TILE_ROWS][MAX_VECTORS];
        clear(rows, vectors, sum);
        multiply(rows, vectors, weight + (ptrdiff_t)row * inputs, 1, rows, terms, block, depth, 0, sum);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < vectors; j++) {
                float *to = sums + (i * vectors + j) * VECTOR_FLOATS;
                if (!first) sum[i][j] += load(to);
                store(to, sum[i][j]);
            }
    }
}

/* One row of the hidden layer, from its finished sums to the terms of the second product. */
INLINE void finish_hidden(const struct tdf_job *job, int halved, int vectors, int row) {
    const struct linear *linear = &job->layer->linear[0];
    const int outputs = job->layer->hidden >> halved, block = vectors * VECTOR_FLOATS;
    for (int j = 0; j < vectors; j++) {
        const ptrdiff_t at = j * VECTOR_FLOATS, channel = job->channel + at;
        vector part[4];
        join_or_copy(halved, job->sums + row * block + at, tdf_step(job->layer, tdf_rows(job->layer, outputs)), part);
#pragma GCC unroll 4
        for (int i = 0; i < tdf_parts(halved); i++) {
            if (linear->bias) part[i] += linear->bias[i / 2 * outputs + row];
            part[i] = normalised(part[i], linear->scale + channel, linear->shift + channel);
        }
        split_or_copy(halved, part, job->narrow + row * block + at, tdf_step(job->layer, outputs));
    }
}

INLINE void narrow(const struct tdf_job *job, int halved, int vectors) {
    const struct layer *layer = job->layer;
    const int inputs = layer->in.columns >> halved, outputs = layer->hidden >> halved;
    const int rows = tile_rows(vectors), padded = tdf_rows(layer, outputs);
    for (int from = 0; from < inputs; from += TDF_DEPTH) {
        const int depth = inputs - from < TDF_DEPTH ? inputs - from : TDF_DEPTH;
        split_bins(job, halved, vectors, from, depth);
        for (int product = 0; product < tdf_products(halved); product++)
            multiply_terms(vectors,
                           layer->linear[0].weight + (ptrdiff_t)product * padded * inputs + (ptrdiff_t)from * rows,
                           inputs, job->terms + product * tdf_step(layer, TDF_DEPTH), depth, outputs, from == 0,
                           job->sums + product * tdf_step(layer, padded));
    }
    for (int row = 0; row < outputs; row++) finish_hidden(job, halved, vectors, row);
}

/* Adds one row of the second product to x, from its finished sums. `row` counts from `start` in the sums. */
INLINE void finish_bins(const struct tdf_job *job, int halved, int vectors, int start, int row) {
    const struct linear *linear = &job->layer->linear[1];
    const int outputs = job->layer->in.columns >> halved, block = vectors * VECTOR_FLOATS;
    for (int j = 0; j < vectors; j++) {
        const ptrdiff_t at = j * VECTOR_FLOATS, channel = job->channel + at;
        vector part[4];
        join_or_copy(halved, job->sums + row * block + at, tdf_step(job->layer, TDF_CHUNK * tile_rows(vectors)), part);
#pragma GCC unroll 4
        for (int i = 0; i < tdf_parts(halved); i++) {
            float *x = pixels_of(job, halved, i, start + row) + at;
            if (linear->bias) part[i] += linear->bias[i / 2 * outputs + start + row];
            store(x, load(x) + normalised(part[i], linear->scale + channel, linear->shift + channel));
        }
    }
}

INLINE void widen(const struct tdf_job *job, int halved, int vectors) {
    const struct layer *layer = job->layer;
    const int inputs = layer->hidden >> halved, outputs = layer->in.columns >> halved;
    const int chunk = TDF_CHUNK * tile_rows(vectors), padded = tdf_rows(layer, outputs);
    for (int start = 0; start < outputs; start += chunk) {
        const int count = outputs - start < chunk ? outputs - start : chunk;
        for (int product = 0; product < tdf_products(halved); product++)
            multiply_terms(vectors, layer->linear[1].weight + ((ptrdiff_t)product * padded + start) * inputs, inputs,
                           job->narrow + product * tdf_step(layer, inputs), inputs, count, 1,
                           job->sums + product * tdf_step(layer, chunk));
        for (int row = 0; row < count; row++) finish_bins(job, halved, vectors, start, row);
    }
}

INLINE void connect(const struct layer *layer, int number, float *workspace, int halved, int vectors) {
    const int block = vectors * VECTOR_FLOATS, products = tdf_products(halved);
    float *narrow_terms = workspace + products * tdf_step(layer, TDF_DEPTH);
    struct tdf_job job = {
        layer,     number << halved, 0,
        workspace, narrow_terms,     narrow_terms + products * tdf_step(layer, layer->hidden >> halved)};
    for (; job.channel < layer->inputs; job.channel += block) {
        narrow(&job, halved, vectors);
        widen(&job, halved, vectors);
    }
}

INLINE void connect_blocks(const struct layer *layer, int job, float *workspace, int halved) {
    switch (layer->block / VECTOR_FLOATS) {
        case 3: connect(layer, job, workspace, halved, 3); break;
        case 2: connect(layer, job, workspace, halved, 2); break;
        default: connect(layer, job, workspace, halved, 1);
    }
}

static void tdf_job(const struct layer *layer, int job, float *workspace) {
    if (layer->halved) connect_blocks(layer, job, workspace, 1);
    else connect_blocks(layer, job, workspace, 0);
}
