/* The jobs of RoFormers. A job works on a group of tokens in the workspace of its thread, so that all that a layer
 * makes of them stays in the caches. */

INLINE void add_attention(const struct roformer *net, const struct roformer_layer *layer,
                          const struct roformer_workspace *work, const struct sequences *group) {
    const struct roformer_linear *heads = &layer->query_key_value;
    const int tokens = group->count * group->positions, dim = net->shape.dim, turned = net->turned;
    linear_product(&layer->gates, everything(&layer->gates), work->normal, tokens, work->gates, SIGMOID);
    for (int head = 0; head < net->shape.heads; head++) {
        const int first = head * (2 * turned + net->valued);
        linear_product(heads, (struct range){first, turned, 0, dim}, work->normal, tokens, work->queries, STORE);
        linear_product(heads, (struct range){first + turned, turned, 0, dim}, work->normal, tokens, work->keys, STORE);
        linear_product(heads, (struct range){first + 2 * turned, net->valued, 0, dim}, work->normal, tokens,
                       work->values, STORE);
        turn(net, layer, tokens, work->queries);
        turn(net, layer, tokens, work->keys);
        for (int number = 0; number < group->count; number++)
            attend(net, work, group->positions, number * group->positions, head);
    }
    linear_product(&layer->output, everything(&layer->output), work->attended, tokens, work->tokens, ADD);
}

/* Up to BLOCK_TOKENS tokens through both linear layers, FEED_VALUES hidden values at a time. */
INLINE void add_feed_forward(const struct roformer *net, const struct roformer_layer *layer,
                             const struct roformer_workspace *work, struct panels tokens, int count) {
    const int hidden = layer->inner.outputs, dim = net->shape.dim;
    struct roformer_linear outer = layer->outer;
    for (int token = 0; token < count; token++)
        normalize(from_token(tokens, token), dim, NULL, from_token(work->normal, token));
    for (int first = 0; first < hidden; first += FEED_VALUES) {
        const int values = hidden - first < FEED_VALUES ? hidden - first : FEED_VALUES;
        const struct range inner = {first, (int)round_up(values, PANEL), 0, dim};
        linear_product(&layer->inner, inner, work->normal, count, work->hidden, GELU);
        linear_product(&outer, (struct range){0, net->padded_dim, first, values}, work->hidden, count, tokens, ADD);
        outer.bias = NULL; /* it is added once */
    }
}

/* One job of a transformer's layer: a group of sequences, from the features and back. */
static void transform_job(void *context, int job, int thread) {
    const struct roformer_call *call = context;
    const struct roformer *net = call->net;
    const struct roformer_layer *layer = call->layer;
    const struct roformer_workspace *work = &net->workspace[thread];
    const struct sequences group = sequences_of(net, layer, job);
    const int tokens = group.count * group.positions, dim = net->shape.dim;
    for (int token = 0; token < tokens; token++) {
        const struct panels place = from_token(work->tokens, token);
        read_token(call->features + place_of(net, layer, &group, token), dim, place);
        normalize(place, dim, NULL, from_token(work->normal, token));
    }
    add_attention(net, layer, work, &group);
    for (int first = 0; first < tokens; first += BLOCK_TOKENS) {
        const int count = tokens - first < BLOCK_TOKENS ? tokens - first : BLOCK_TOKENS;
        add_feed_forward(net, layer, work, from_token(work->tokens, first), count);
    }
    for (int token = 0; token < tokens; token++) {
        const struct panels place = from_token(work->tokens, token);
        if (layer->norm) normalize(place, dim, layer->norm, place);
        write_token(place, dim, call->features + place_of(net, layer, &group, token));
    }
}

/* One job of the band split: a block of frames. */
static void split_job(void *context, int job, int thread) {
    const struct roformer_call *call = context;
    const struct roformer *net = call->net;
    const struct roformer_linear *linear = call->linear;
    const struct roformer_workspace *work = &net->workspace[thread];
    const int first = job * BLOCK_TOKENS, count = frames_of(net, job);
    for (int token = 0; token < count; token++) {
        const struct panels place = from_token(work->hidden, token);
        read_token(call->inputs + (first + token) * call->stride, linear->inputs, place);
        normalize(place, linear->inputs, NULL, place);
    }
    linear_product(linear, everything(linear), work->hidden, count, work->tokens, STORE);
    for (int token = 0; token < count; token++)
        write_token(from_token(work->tokens, token), net->shape.dim,
                    call->features + feature_of(net, first + token, call->band));
}

/* Applies a gated linear unit to one token, and writes its numbers. */
INLINE void write_gated(struct panels token, int numbers, float *to) {
    const int panels = divide_up(numbers, PANEL);
    for (int panel = 0; panel < panels; panel++)
        for (int i = 0; i < PANEL; i += VECTOR_FLOATS) {
            float *place = token.data + panel * token.stride + i;
            store(place, load(place) * sigmoid(load(place + panels * token.stride)));
        }
    write_token(token, numbers, to);
}

/* One job of the masks: a block of frames of one band. */
static void mask_job(void *context, int job, int thread) {
    const struct roformer_call *call = context;
    const struct roformer *net = call->net;
    const struct roformer_workspace *work = &net->workspace[thread];
    const int blocks = divide_up(net->shape.frames, BLOCK_TOKENS), number = job / blocks, block = job % blocks;
    const struct roformer_mask *mask = &call->masks[number];
    const int first = block * BLOCK_TOKENS, count = frames_of(net, block);
    struct panels from = work->tokens, to = work->hidden, other = work->second_hidden;
    for (int token = 0; token < count; token++) {
        const struct panels place = from_token(from, token);
        read_token(call->features + feature_of(net, first + token, call->band + number), net->shape.dim, place);
        if (call->normalize) normalize(place, net->shape.dim, NULL, place);
    }
    for (int layer = 0; layer < call->layers; layer++) {
        const struct roformer_linear *linear = &mask->linear[layer];
        if (layer + 1 < call->layers) linear_product(linear, everything(linear), from, count, to, TANH);
        else linear_product(linear, everything(linear), from, count, to, STORE);
        from = to;
        to = other;
        other = from;
    }
    for (int token = 0; token < count; token++)
        write_gated(from_token(from, token), mask->numbers,
                    call->outputs + (first + token) * call->stride + mask->column);
}
