/* Attention among the positions of a sequence, one head at a time. A block of rows of the scores is computed, softened
 * and used before the next one, so no matrix of all scores is ever in memory. */

/* Turns the pairs of the queries or keys of one head at one position: a pair is a value of the first half and one of
 * the second. */
INLINE void turn(const struct roformer *net, const struct roformer_layer *layer, int position, struct panels head) {
    const int half = net->turned / 2;
    const float *cosines = layer->cosines + (ptrdiff_t)position * half;
    const float *sines = layer->sines + (ptrdiff_t)position * half;
    for (int i = 0; i < half; i += VECTOR_FLOATS) {
        float *even = from_panel(head, i / PANEL).data + i % PANEL;
        float *odd = from_panel(head, (half + i) / PANEL).data + (half + i) % PANEL;
        const vector x = load(even), y = load(odd), c = load(cosines + i), s = load(sines + i);
        store(even, x * c - y * s);
        store(odd, y * c + x * s);
    }
}

/* Makes a token's `count` values, zeros up to a whole panel and times `factor`, operands of a product. */
INLINE void make_operands(const struct roformer *net, struct panels token, int count, float factor, struct panels to) {
    for (int panel = 0; panel < divide_up(count, PANEL); panel++) {
        vector x[PANEL_VECTORS];
        load_row(from_panel(token, panel).data, x);
        for (int i = 0; i < PANEL_VECTORS; i++) x[i] *= factor;
        store_operands(net, from_panel(to, panel).data, x);
    }
}

/* Turns queries and keys of the tokens from `first` on, and makes operands of the queries. */
INLINE void turn_tokens(const struct roformer *net, const struct roformer_layer *layer,
                        const struct roformer_workspace *work, int first, int count) {
    const int positions = positions_of(net, layer);
    for (int token = first, position = first % positions; token < first + count; token++) {
        const struct panels query = from_token(work->queries, token);
        turn(net, layer, position, query);
        turn(net, layer, position, from_token(work->keys, token));
        make_operands(net, query, net->turned, 1, operands_from(net, work->queries, token));
        if (++position == positions) position = 0;
    }
}

/* Queries, keys and values of one head, block after block of tokens. */
INLINE void make_head(const struct roformer *net, const struct roformer_layer *layer,
                      const struct roformer_workspace *work, int tokens, int head) {
    const struct roformer_linear *heads = &layer->query_key_value;
    const int dim = net->shape.dim, turned = net->turned, valued = net->valued, output = head * (2 * turned + valued);
    for (int first = 0; first < tokens; first += net->block) {
        const int count = tokens - first < net->block ? tokens - first : net->block;
        const struct panels from = operands_from(net, work->normal, first);
        linear_product(net, heads, (struct range){output, turned, 0, dim}, from, count,
                       from_token(work->queries, first), STORE);
        linear_product(net, heads, (struct range){output + turned, turned, 0, dim}, from, count,
                       from_token(work->keys, first), STORE);
        linear_product(net, heads, (struct range){output + 2 * turned, valued, 0, dim}, from, count,
                       from_token(work->values, first), STORE);
        turn_tokens(net, layer, work, first, count);
    }
}

/* Makes operands 2^(score - largest score) of the scores of one query, and returns their sum. What lies behind the last
 * score in its panel becomes next to zero, and meets no values in `average`. */
INLINE float soften(const struct roformer *net, struct panels scores, int count, struct panels to) {
    const int panels = divide_up(count, PANEL);
    float *last = from_panel(scores, panels - 1).data;
    for (int i = count - (panels - 1) * PANEL; i < PANEL; i++) last[i] = -INFINITY;
    vector largest = load(scores.data), sum = {0};
    for (int panel = 0; panel < panels; panel++)
        for (int i = 0; i < PANEL; i += VECTOR_FLOATS)
            largest = maximum(largest, load(from_panel(scores, panel).data + i));
    const float top = largest_of(largest);
    for (int panel = 0; panel < panels; panel++) {
        vector x[PANEL_VECTORS];
        load_row(from_panel(scores, panel).data, x);
        for (int i = 0; i < PANEL_VECTORS; i++) {
            x[i] = power_of_score(net, x[i] - top);
            sum += x[i];
        }
        store_operands(net, from_panel(to, panel).data, x);
    }
    return sum_of(sum);
}

/* One head of one sequence: to[query][value] = gate * softmax(queries keys) values. The powers are those of 2: the
 * factor log2(e) is part of the queries. */
INLINE void attend(const struct roformer *net, const struct roformer_workspace *work, int positions, int first,
                   int head) {
    const struct panels scores = {work->scores, SCORE_STRIDE};
    const struct panels to = from_panel(work->attended, head * net->valued / PANEL);
    const struct panels values = pack_values(net, from_token(work->values, first), positions, work->packed_values);
    const float *gates = from_token(from_panel(work->gates, head / PANEL), first).data + head % PANEL;
    pack_keys(net, from_token(work->keys, first), positions, work->packed_keys);
    for (int row = 0; row < positions; row += QUERIES) {
        const int count = positions - row < QUERIES ? positions - row : QUERIES;
        float factor[QUERIES] = {0};
        score(net, operands_from(net, work->queries, first + row), count, work->packed_keys, positions, scores);
        for (int i = 0; i < count; i++)
            factor[i] =
                gates[(row + i) * PANEL] / soften(net, from_token(scores, i), positions, operands_from(net, scores, i));
        average(net, scores, count, positions, factor, values, operands_from(net, to, first + row));
    }
}
