/* The jobs of RoFormers. A job works on a group of tokens in the workspace of its thread, so that all that a layer
 * makes of them stays in the caches. */

/* Makes operands of `count` tokens, scaled to the length sqrt(dim). */
INLINE void normalize_tokens(const struct roformer *net, struct panels tokens, int count, int dim, struct panels to) {
    for (int token = 0; token < count; token++) {
        const struct panels place = from_token(tokens, token);
        make_operands(net, place, dim, scale_of(place, dim), operands_from(net, to, token));
    }
}

/* The attended values of all heads. */
INLINE void attend_all(const struct roformer *net, const struct roformer_layer *layer,
                       const struct roformer_workspace *work, const struct sequences *group) {
    const int tokens = group->count * group->positions;
    for (int head = 0; head < net->shape.heads; head++) {
        make_head(net, layer, work, tokens, head);
        for (int number = 0; number < group->count; number++)
            attend(net, work, group->positions, number * group->positions, head);
    }
}

/* Up to net->block tokens through both linear layers, net->feed hidden values at a time. */
INLINE void add_feed_forward(const struct roformer *net, const struct roformer_layer *layer,
                             const struct roformer_workspace *work, struct panels tokens, int count) {
    const int hidden = layer->inner.outputs, dim = net->shape.dim;
    struct roformer_linear outer = layer->outer;
    normalize_tokens(net, tokens, count, dim, work->normal);
    for (int first = 0; first < hidden; first += net->feed) {
        const int values = hidden - first < net->feed ? hidden - first : net->feed;
        const struct range inner = {first, (int)round_up(values, PANEL), 0, dim};
        linear_product(net, &layer->inner, inner, work->normal, count, work->hidden, GELU);
        linear_product(net, &outer, (struct range){0, net->padded_dim, first, values}, work->hidden, count, tokens,
                       ADD);
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
    begin_tiles();
    for (int token = 0; token < tokens; token++)
        read_token(call->features + place_of(net, layer, &group, token), dim, from_token(work->tokens, token));
    normalize_tokens(net, work->tokens, tokens, dim, work->normal);
    for (int first = 0; first < tokens; first += net->block) {
        const int count = tokens - first < net->block ? tokens - first : net->block;
        linear_product(net, &layer->gates, everything(&layer->gates), operands_from(net, work->normal, first), count,
                       from_token(work->gates, first), SIGMOID);
    }
    attend_all(net, layer, work, &group);
    for (int first = 0; first < tokens; first += net->block) {
        const int count = tokens - first < net->block ? tokens - first : net->block;
        const struct panels place = from_token(work->tokens, first);
        linear_product(net, &layer->output, everything(&layer->output), operands_from(net, work->attended, first),
                       count, place, ADD);
        add_feed_forward(net, layer, work, place, count);
    }
    for (int token = 0; token < tokens; token++) {
        const struct panels place = from_token(work->tokens, token);
        if (layer->norm) normalize(place, dim, layer->norm);
        write_token(place, dim, call->features + place_of(net, layer, &group, token));
    }
    end_tiles();
}

/* One job of the band split: a block of frames. */
static void split_job(void *context, int job, int thread) {
    const struct roformer_call *call = context;
    const struct roformer *net = call->net;
    const struct roformer_linear *linear = call->linear;
    const struct roformer_workspace *work = &net->workspace[thread];
    const int first = job * net->block, count = frames_of(net, job);
    begin_tiles();
    for (int token = 0; token < count; token++) {
        const struct panels place = from_token(work->hidden, token);
        read_token(call->inputs + (first + token) * call->stride, linear->inputs, place);
        make_operands(net, place, linear->inputs, scale_of(place, linear->inputs),
                      operands_from(net, work->hidden, token));
    }
    linear_product(net, linear, everything(linear), work->hidden, count, work->tokens, STORE);
    for (int token = 0; token < count; token++)
        write_token(from_token(work->tokens, token), net->shape.dim,
                    call->features + feature_of(net, first + token, call->band));
    end_tiles();
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
    const int blocks = divide_up(net->shape.frames, net->block), number = job / blocks, block = job % blocks;
    const struct roformer_mask *mask = &call->masks[number];
    const int first = block * net->block, count = frames_of(net, block), dim = net->shape.dim;
    struct panels from = work->normal, to = work->hidden, other = work->second_hidden;
    begin_tiles();
    for (int token = 0; token < count; token++) {
        const struct panels place = from_token(work->tokens, token);
        read_token(call->features + feature_of(net, first + token, call->band + number), dim, place);
        make_operands(net, place, dim, call->normalize ? scale_of(place, dim) : 1, operands_from(net, from, token));
    }
    for (int layer = 0; layer < call->layers; layer++) {
        const struct roformer_linear *linear = &mask->linear[layer];
        linear_product(net, linear, everything(linear), from, count, to, layer + 1 < call->layers ? TANH : STORE);
        from = to;
        to = other;
        other = from;
    }
    for (int token = 0; token < count; token++)
        write_gated(from_token(from, token), mask->numbers,
                    call->outputs + (first + token) * call->stride + mask->column);
    end_tiles();
}
