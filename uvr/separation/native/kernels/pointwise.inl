/* 1x1 convolutions at both ends of the network: y = W x + b for each pixel. A job is a row.
 *
 * If `layer->block` is set, the outputs fill vectors: W is [input][output], and there are few inputs. Otherwise W is
 * [output][input], and each of the few outputs is a dot product. */

INLINE void spread_pixel(const struct layer *layer, const float *x, float *y) {
    for (int to = 0; to < layer->outputs; to += VECTOR_FLOATS) {
        vector sum = load(layer->bias + to);
        for (int c = 0; c < layer->inputs; c++) sum += x[c] * load(layer->weight + (ptrdiff_t)c * layer->outputs + to);
        store(y + to, layer->relu ? relu(sum) : sum);
    }
}

INLINE float dot(const float *x, const float *w, int length) {
    vector sums = {0};
    float sum = 0;
    int i = 0;
    for (; i + VECTOR_FLOATS <= length; i += VECTOR_FLOATS) {
        vector a, b; /* with an arbitrary number of channels neither is aligned */
        __builtin_memcpy(&a, x + i, sizeof a);
        __builtin_memcpy(&b, w + i, sizeof b);
        sums += a * b;
    }
    for (int j = 0; j < VECTOR_FLOATS; j++) sum += sums[j];
    for (; i < length; i++) sum += x[i] * w[i];
    return sum;
}

INLINE void gather_pixel(const struct layer *layer, const float *x, float *y) {
    for (int to = 0; to < layer->outputs; to++) {
        const float sum = dot(x, layer->weight + (ptrdiff_t)to * layer->inputs, layer->inputs) + layer->bias[to];
        y[to] = layer->relu && !(sum > 0) ? 0 : sum;
    }
}

static void pointwise_job(const struct layer *layer, int job, float *workspace) {
    const float *x = image_row(&layer->in, job);
    float *y = image_row(&layer->out, job);
    (void)workspace;
    for (int column = 0; column < layer->in.columns; column++, x += layer->inputs, y += layer->outputs)
        if (layer->block) spread_pixel(layer, x, y);
        else gather_pixel(layer, x, y);
}
