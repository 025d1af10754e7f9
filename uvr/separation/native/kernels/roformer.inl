/* The kernels of RoFormers. A job works on a group of tokens in the workspace of its thread, so that all that a layer
 * makes of them stays in the caches. Rows of the workspace are rounded up to whole panels, and the number of tokens to
 * whole register tiles: what is computed beyond the real ones is never stored. */
#define TOKENS TILE_2
#define COLUMNS (2 * VECTOR_FLOATS)

enum finish { STORE, ADD, GELU, TANH };

/* e^x to 2 ulp: 2^n e^r with |r| <= ln 2 / 2, and a polynomial of degree 6 (Cephes, expf.c). */
INLINE vector exponential(vector x) {
    const float to_integer = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, whose bits are the lowest */
    const vector lowest = (vector){0} - 87.0f, highest = (vector){0} + 88.0f;
    x = (vector)(((mask)(x > lowest) & (mask)x) | (~(mask)(x > lowest) & (mask)lowest));
    x = (vector)(((mask)(x < highest) & (mask)x) | (~(mask)(x < highest) & (mask)highest));
    const vector shifted = x * 1.44269504f + to_integer, n = shifted - to_integer;
    const vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1.0f;
    return (vector)((mask)p + ((mask)shifted << 23));
}

INLINE vector sigmoid(vector x) { return 1.0f / (1.0f + exponential(-x)); }

INLINE vector hyperbolic_tangent(vector x) { return 1.0f - 2.0f / (exponential(x + x) + 1.0f); }

/* x times the normal distribution; erf to 1.5e-7 (Abramowitz and Stegun, 7.1.26). */
INLINE vector gelu(vector x) {
    const mask negative = x < (vector){0};
    const vector size = (vector)(((mask)x & ~negative) | ((mask)-x & negative)) * 0.70710678f;
    const vector t = 1.0f / (1.0f + 0.3275911f * size);
    vector p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const vector tail = 0.5f * p * t * exponential(-(size * size)), rest = 1.0f - tail;
    return x * (vector)(((mask)tail & negative) | ((mask)rest & ~negative));
}

INLINE float sum_of(vector x) {
    float sum = 0;
    for (int i = 0; i < VECTOR_FLOATS; i++) sum += x[i];
    return sum;
}

/* to[token][output] = finish(sum over inputs of from[token][input] weight[input][output] + bias[output]) */
INLINE void linear_product(const struct roformer_linear *linear, int first, int outputs, const float *from,
                           ptrdiff_t from_row, int tokens, float *to, ptrdiff_t to_row, enum finish finish) {
    for (int panel = 0; panel < outputs; panel += ROFORMER_PANEL) {
        const float *weight = linear->weight + (ptrdiff_t)(first + panel) * linear->inputs;
        const float *bias = linear->bias ? linear->bias + first + panel : NULL;
        for (int token = 0; token < tokens; token += TOKENS)
            for (int part = 0; part < ROFORMER_PANEL; part += COLUMNS) {
                vector sum[MAX_TILE_ROWS][MAX_VECTORS];
                clear(TOKENS, 2, sum);
                multiply(TOKENS, 2, from + token * from_row, from_row, 1, weight + part, ROFORMER_PANEL, linear->inputs,
                         0, sum);
                for (int i = 0; i < TOKENS; i++)
                    for (int j = 0; j < 2; j++) {
                        float *place = to + (token + i) * to_row + panel + part + j * VECTOR_FLOATS;
                        vector y = sum[i][j];
                        if (bias) y += load(bias + part + j * VECTOR_FLOATS);
                        if (finish == ADD) y += load(place);
                        if (finish == GELU) y = gelu(y);
                        if (finish == TANH) y = hyperbolic_tangent(y);
                        store(place, y);
                    }
            }
    }
}

/* Scales a row of `padded` values, of which `dim` are not zero padding, to the length sqrt(dim) or, with a gamma, to
 * that times gamma. */
INLINE void normalize(const float *from, int dim, int padded, const float *gamma, float *to) {
    vector squares = {0};
    for (int i = 0; i < padded; i += VECTOR_FLOATS) squares += load(from + i) * load(from + i);
    const float length = sqrtf(sum_of(squares));
    const float factor = sqrtf((float)dim) / (length > 1e-12f ? length : 1e-12f);
    for (int i = 0; i < padded; i += VECTOR_FLOATS)
        store(to + i, gamma ? load(from + i) * factor * load(gamma + i) : load(from + i) * factor);
}

/* Turns the pairs of the queries or keys of one head by their positions. */
INLINE void turn(const struct roformer *net, const struct roformer_layer *layer, int tokens, float *heads) {
    const int half = net->turned / 2;
    for (int token = 0, position = 0; token < tokens; token++) {
        float *even = heads + (ptrdiff_t)token * net->turned, *odd = even + half;
        const float *cosine = layer->cosines + (ptrdiff_t)position * half,
                    *sine = layer->sines + (ptrdiff_t)position * half;
        for (int i = 0; i < half; i += VECTOR_FLOATS) {
            const vector x = load(even + i), y = load(odd + i), c = load(cosine + i), s = load(sine + i);
            store(even + i, x * c - y * s);
            store(odd + i, y * c + x * s);
        }
        if (++position == positions_of(net, layer)) position = 0;
    }
}

/* keys[key][value] to packed[key / 32][value][32], zeros behind the last key. */
INLINE void transpose_keys(const struct roformer *net, const float *keys, int count, float *packed) {
    for (int first = 0; first < count; first += ROFORMER_PANEL, packed += (ptrdiff_t)net->turned * ROFORMER_PANEL)
        for (int key = 0; key < ROFORMER_PANEL; key++)
            for (int value = 0; value < net->turned; value++)
                packed[value * ROFORMER_PANEL + key] =
                    first + key < count ? keys[(ptrdiff_t)(first + key) * net->turned + value] : 0;
}

/* Replaces the scores of one query by e^(score - largest score), and returns their sum. */
INLINE float soften(float *scores, int count) {
    const int padded = (int)round_up(count, ROFORMER_PANEL);
    for (int i = count; i < padded; i++) scores[i] = -INFINITY;
    vector largest = load(scores);
    for (int i = VECTOR_FLOATS; i < padded; i += VECTOR_FLOATS) {
        const vector x = load(scores + i);
        const mask above = x > largest;
        largest = (vector)(((mask)x & above) | ((mask)largest & ~above));
    }
    float top = largest[0];
    for (int i = 1; i < VECTOR_FLOATS; i++) top = largest[i] > top ? largest[i] : top;
    vector sum = {0};
    for (int i = 0; i < padded; i += VECTOR_FLOATS) {
        const vector power = exponential(load(scores + i) - top);
        store(scores + i, power);
        sum += power;
    }
    float total = sum_of(sum);
    for (int i = count; i < padded; i++) total -= scores[i];
    return total;
}

/* One head of one sequence: to[query][value] = gate * softmax(queries keys) values. A block of rows of the scores is
 * computed, softened and used before the next one, so it stays in the cache. */
INLINE void attend(const struct roformer *net, const struct roformer_workspace *work, int positions, int first,
                   int head) {
    const ptrdiff_t score_row = round_up(positions, ROFORMER_PANEL);
    const float *query = work->queries + (ptrdiff_t)first * net->turned;
    const float *value = work->values + (ptrdiff_t)first * net->valued;
    transpose_keys(net, work->keys + (ptrdiff_t)first * net->turned, positions, work->packed_keys);
    for (int row = 0; row < positions; row += TOKENS) {
        const int rows = positions - row < TOKENS ? positions - row : TOKENS;
        float factor[MAX_TILE_ROWS];
        for (int panel = 0; panel < positions; panel += ROFORMER_PANEL)
            for (int part = 0; part < ROFORMER_PANEL; part += COLUMNS) {
                vector sum[MAX_TILE_ROWS][MAX_VECTORS];
                clear(TOKENS, 2, sum);
                multiply(TOKENS, 2, query + (ptrdiff_t)row * net->turned, net->turned, 1,
                         work->packed_keys + (ptrdiff_t)panel * net->turned + part, ROFORMER_PANEL, net->turned, 0,
                         sum);
                for (int i = 0; i < TOKENS; i++)
                    for (int j = 0; j < 2; j++)
                        store(work->scores + i * score_row + panel + part + j * VECTOR_FLOATS, sum[i][j]);
            }
        for (int i = 0; i < rows; i++)
            factor[i] = work->gates[(ptrdiff_t)(first + row + i) * net->gate_row + head] /
                        soften(work->scores + i * score_row, positions);
        for (int part = 0; part < net->valued; part += COLUMNS) {
            vector sum[MAX_TILE_ROWS][MAX_VECTORS];
            clear(TOKENS, 2, sum);
            multiply(TOKENS, 2, work->scores, score_row, 1, value + part, net->valued, positions, 0, sum);
            for (int i = 0; i < rows; i++) {
                float *to =
                    work->attended + (ptrdiff_t)(first + row + i) * net->attended_row + head * net->shape.dim_head;
                for (int j = 0; j < 2; j++) store_unaligned(to + part + j * VECTOR_FLOATS, sum[i][j] * factor[i]);
            }
        }
    }
}

/* One job of a transformer's layer: a group of sequences, from the features and back. */
static void transform_job(void *context, int job, int thread) {
    const struct roformer_call *call = context;
    const struct roformer *net = call->net;
    const struct roformer_layer *layer = call->layer;
    const struct roformer_workspace *work = &net->workspace[thread];
    const struct sequences group = sequences_of(net, layer, job);
    const int tokens = group.count * group.positions, padded = net->padded_dim;
    const int hidden = (int)round_up(layer->inner.outputs, ROFORMER_PANEL);
    for (int token = 0; token < tokens; token++) {
        float *row = work->tokens + (ptrdiff_t)token * padded;
        memcpy(row, call->features + place_of(net, layer, &group, token), (size_t)net->shape.dim * sizeof *row);
        normalize(row, net->shape.dim, padded, NULL, work->normal + (ptrdiff_t)token * padded);
    }
    linear_product(&layer->gates, 0, net->gate_row, work->normal, padded, tokens, work->gates, net->gate_row, STORE);
    for (ptrdiff_t i = 0; i < (ptrdiff_t)tokens * net->gate_row; i += VECTOR_FLOATS)
        store(work->gates + i, sigmoid(load(work->gates + i)));
    for (int head = 0; head < net->shape.heads; head++) {
        const int first = head * (2 * net->turned + net->valued);
        const struct roformer_linear *heads = &layer->query_key_value;
        linear_product(heads, first, net->turned, work->normal, padded, tokens, work->queries, net->turned, STORE);
        linear_product(heads, first + net->turned, net->turned, work->normal, padded, tokens, work->keys, net->turned,
                       STORE);
        linear_product(heads, first + 2 * net->turned, net->valued, work->normal, padded, tokens, work->values,
                       net->valued, STORE);
        turn(net, layer, tokens, work->queries);
        turn(net, layer, tokens, work->keys);
        for (int number = 0; number < group.count; number++)
            attend(net, work, group.positions, number * group.positions, head);
    }
    linear_product(&layer->output, 0, padded, work->attended, net->attended_row, tokens, work->tokens, padded, ADD);
    for (int first = 0; first < tokens; first += FEED_TOKENS) {
        const int count = tokens - first < FEED_TOKENS ? tokens - first : FEED_TOKENS;
        float *rows = work->tokens + (ptrdiff_t)first * padded;
        for (int token = 0; token < count; token++)
            normalize(rows + (ptrdiff_t)token * padded, net->shape.dim, padded, NULL,
                      work->normal + (ptrdiff_t)token * padded);
        linear_product(&layer->inner, 0, hidden, work->normal, padded, count, work->hidden, hidden, GELU);
        linear_product(&layer->outer, 0, padded, work->hidden, hidden, count, rows, padded, ADD);
    }
    for (int token = 0; token < tokens; token++) {
        float *row = work->tokens + (ptrdiff_t)token * padded;
        if (layer->norm) normalize(row, net->shape.dim, padded, layer->norm, row);
        memcpy(call->features + place_of(net, layer, &group, token), row, (size_t)net->shape.dim * sizeof *row);
    }
}

/* The tokens of a block of frames of one band, each from `from + frame * row`; zeros behind the last of their `dim`
 * values. */
INLINE void gather(const float *from, ptrdiff_t row, int count, int dim, int padded, int scaled, float *to) {
    for (int token = 0; token < count; token++) {
        float *place = to + (ptrdiff_t)token * padded;
        memcpy(place, from + token * row, (size_t)dim * sizeof *place);
        memset(place + dim, 0, (size_t)(padded - dim) * sizeof *place);
        if (scaled) normalize(place, dim, padded, NULL, place);
    }
}

static void split_job(void *context, int job, int thread) {
    const struct roformer_call *call = context;
    const struct roformer *net = call->net;
    const struct roformer_linear *linear = call->linear;
    const struct roformer_workspace *work = &net->workspace[thread];
    const int first = job * FEED_TOKENS, count = frames_of(net, job), padded = (int)round_up(linear->inputs, LINE);
    const ptrdiff_t row = (ptrdiff_t)net->shape.bands * net->shape.dim;
    gather(call->inputs + first * call->stride, call->stride, count, linear->inputs, padded, 1, work->hidden);
    linear_product(linear, 0, net->padded_dim, work->hidden, padded, count, work->tokens, net->padded_dim, STORE);
    for (int token = 0; token < count; token++)
        memcpy(call->features + (first + token) * row + (ptrdiff_t)call->band * net->shape.dim,
               work->tokens + (ptrdiff_t)token * net->padded_dim, (size_t)net->shape.dim * sizeof(float));
}

static void mask_job(void *context, int job, int thread) {
    const struct roformer_call *call = context;
    const struct roformer *net = call->net;
    const struct roformer_workspace *work = &net->workspace[thread];
    const int first = job * FEED_TOKENS, count = frames_of(net, job);
    const ptrdiff_t row = (ptrdiff_t)net->shape.bands * net->shape.dim;
    const float *from = work->tokens;
    ptrdiff_t from_row = net->padded_dim;
    float *to = work->hidden, *other = work->second_hidden;
    gather(call->features + first * row + (ptrdiff_t)call->band * net->shape.dim, row, count, net->shape.dim,
           net->padded_dim, call->normalize, work->tokens);
    for (int number = 0; number < call->layers; number++) {
        const struct roformer_linear *linear = &call->linear[number];
        const int outputs = (int)round_up(linear->outputs, ROFORMER_PANEL);
        if (number + 1 < call->layers) linear_product(linear, 0, outputs, from, from_row, count, to, outputs, TANH);
        else linear_product(linear, 0, outputs, from, from_row, count, to, outputs, STORE);
        from = to;
        from_row = outputs;
        to = other;
        other = (float *)from;
    }
    const ptrdiff_t gates = round_up(call->numbers, ROFORMER_PANEL);
    for (int token = 0; token < count; token++) {
        float *numbers = (float *)from + token * from_row;
        for (ptrdiff_t i = 0; i < gates; i += VECTOR_FLOATS)
            store(numbers + i, load(numbers + i) * sigmoid(load(numbers + gates + i)));
        memcpy(call->outputs + (first + token) * call->stride, numbers, (size_t)call->numbers * sizeof *numbers);
    }
}
