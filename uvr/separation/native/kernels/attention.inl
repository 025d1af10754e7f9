/* Attention among the positions of a sequence, one head at a time. A block of rows of the scores is computed, softened
 * and used before the next one, so no matrix of all scores is ever in memory. */

/* Turns the pairs of the queries or keys of one head by their positions: a pair is a value of the first half and one of
 * the second. */
INLINE void turn(const struct roformer *net, const struct roformer_layer *layer, int tokens, struct panels heads) {
    const int half = net->turned / 2;
    for (int i = 0; i < half; i += VECTOR_FLOATS) {
        float *even = heads.data + i / PANEL * heads.stride + i % PANEL;
        float *odd = heads.data + (half + i) / PANEL * heads.stride + (half + i) % PANEL;
        for (int token = 0, position = 0; token < tokens; token++, even += PANEL, odd += PANEL) {
            const ptrdiff_t place = (ptrdiff_t)position * half + i;
            const vector x = load(even), y = load(odd), c = load(layer->cosines + place),
                         s = load(layer->sines + place);
            store(even, x * c - y * s);
            store(odd, y * c + x * s);
            if (++position == positions_of(net, layer)) position = 0;
        }
    }
}

/* Keys in panels of values to packed[key / PANEL][value][PANEL], zeros behind the last key. */
INLINE void transpose_keys(struct panels keys, int turned, int count, float *packed) {
    for (int first = 0; first < count; first += PANEL, packed += turned * PANEL)
        for (int value = 0; value < turned; value++) {
            const float *from = keys.data + value / PANEL * keys.stride + (ptrdiff_t)first * PANEL + value % PANEL;
            for (int key = 0; key < PANEL; key++)
                packed[value * PANEL + key] = first + key < count ? from[key * PANEL] : 0;
        }
}

/* Replaces the scores of one query by 2^(score - largest score), and returns their sum. What lies behind the last score
 * in its panel becomes next to zero; `average` does not read it. */
INLINE float soften(struct panels scores, int count) {
    const int panels = divide_up(count, PANEL);
    float *last = from_panel(scores, panels - 1).data;
    for (int i = count - (panels - 1) * PANEL; i < PANEL; i++) last[i] = -INFINITY;
    vector largest = load(scores.data), sum = {0};
    for (int panel = 0; panel < panels; panel++)
        for (int i = 0; i < PANEL; i += VECTOR_FLOATS)
            largest = maximum(largest, load(from_panel(scores, panel).data + i));
    const float top = largest_of(largest);
    for (int panel = 0; panel < panels; panel++)
        for (int i = 0; i < PANEL; i += VECTOR_FLOATS) {
            float *place = from_panel(scores, panel).data + i;
            const vector power = power_of_two(load(place) - top);
            store(place, power);
            sum += power;
        }
    return sum_of(sum);
}

/* scores[key / PANEL][query][PANEL] of TOKENS queries with all keys */
SEPARATE void score(struct panels queries, const float *packed_keys, int turned, int keys, struct panels scores) {
    for (int panel = 0; panel < keys; panel += PANEL, scores.data += scores.stride)
        for (int part = 0; part < PANEL; part += COLUMNS) {
            vector sum[MAX_TILE_ROWS][MAX_VECTORS];
            multiply_panels(queries, columns_of_panel(packed_keys + (ptrdiff_t)panel * turned + part), turned, sum);
            finish_tile(sum, NULL, scores.data + part, STORE);
        }
}

/* to[query][value] = factor[query] * sum over keys of scores[query][key] values[key][value], for TOKENS queries */
SEPARATE void average(struct panels scores, int keys, const float *factor, struct panels values, int valued,
                      struct panels to) {
    for (int panel = 0; panel < valued; panel += PANEL, values.data += values.stride, to.data += to.stride)
        for (int part = 0; part < PANEL; part += COLUMNS) {
            vector sum[MAX_TILE_ROWS][MAX_VECTORS];
            multiply_panels(scores, columns_of_panel(values.data + part), keys, sum);
#pragma GCC unroll 16
            for (int i = 0; i < TOKENS; i++)
                for (int j = 0; j < 2; j++)
                    store(to.data + i * PANEL + part + j * VECTOR_FLOATS, sum[i][j] * factor[i]);
        }
}

/* One head of one sequence: to[query][value] = gate * softmax(queries keys) values. The powers are those of 2: the
 * factor log2(e) is part of the queries. */
INLINE void attend(const struct roformer *net, const struct roformer_workspace *work, int positions, int first,
                   int head) {
    const struct panels queries = from_token(work->queries, first), values = from_token(work->values, first);
    const struct panels to = from_token(from_panel(work->attended, head * net->valued / PANEL), first);
    const struct panels scores = {work->scores, TOKENS * PANEL};
    const float *gates = from_token(from_panel(work->gates, head / PANEL), first).data + head % PANEL;
    transpose_keys(from_token(work->keys, first), net->turned, positions, work->packed_keys);
    for (int row = 0; row < positions; row += TOKENS) {
        float factor[MAX_TILE_ROWS];
        score(from_token(queries, row), work->packed_keys, net->turned, positions, scores);
        for (int i = 0; i < TOKENS; i++)
            factor[i] = gates[(row + i) * PANEL] / soften(from_token(scores, i), positions);
        average(scores, positions, factor, values, net->valued, from_token(to, row));
    }
}
