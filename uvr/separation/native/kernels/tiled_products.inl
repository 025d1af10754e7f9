/* The products of RoFormers in bfloat16, by tiles of QUERIES tokens and PANEL outputs, whose sums are float32.
 *
 * The functions have the names of those in products.inl. What a product reads as its left operand are rows of operands:
 * PANEL high parts, and in three terms PANEL low parts behind them. A row of operands is never longer than one of
 * floats, so operands may take the place of floats, one token after the other. The right operand is made of tiles, with
 * a tile of low parts behind each one of high parts. */
#define QUERIES (2 * TILE_SIDE)

/* Compiled on its own, so that there are enough registers for the sums of a tile. */
#define SEPARATE static __attribute__((noinline))

/* Numbers in a row of operands. */
INLINE int operands_in_row(const struct roformer *net) { return net->terms == 1 ? PANEL : 2 * PANEL; }

/* Operands in panels, from another token on. */
INLINE struct panels operands_from(const struct roformer *net, struct panels panels, int token) {
    return (struct panels){panels.data + (ptrdiff_t)token * operands_in_row(net) / 2, panels.stride};
}

INLINE uint16_t *halves_at(const float *place) { return (uint16_t *)(void *)place; }

INLINE void store_operands(const struct roformer *net, float *row, const vector x[PANEL_VECTORS]) {
    uint16_t *to = halves_at(row);
    for (int i = 0; i < PANEL_VECTORS; i++) store_bfloat16(to + i * VECTOR_FLOATS, high_part(x[i]));
    for (int i = 0; i < PANEL_VECTORS && net->terms > 1; i++)
        store_bfloat16(to + PANEL + i * VECTOR_FLOATS, low_part(x[i]));
}

INLINE struct left left_of(const struct roformer *net, struct panels operands) {
    return (struct left){halves_at(operands.data), operands_in_row(net), 2 * operands.stride, PANEL};
}

/* Numbers in a step of a right operand. */
INLINE ptrdiff_t step_of(const struct roformer *net) { return net->terms == 1 ? TILE_HALVES : 2 * TILE_HALVES; }

/* Two columns of tiles, from the column `column` on, of a right operand with so many steps. */
INLINE struct right right_of(const struct roformer *net, const uint16_t *tiles, int column, int steps) {
    const ptrdiff_t step = step_of(net), next = steps * step;
    return (struct right){.high = tiles + column * next, .step = step, .next = next, .low = TILE_HALVES};
}

/* to[token][i] (+)= products of up to QUERIES tokens and two columns of tiles. */
SEPARATE void multiply_rows(const struct roformer *net, struct left a, int tokens, struct right b, int steps, int add,
                            float *to) {
    const int both = tokens > TILE_SIDE;
    if (net->terms == 1 && both) multiply_tiles(2, 2, 1, a, b, steps, add, to, PANEL);
    else if (net->terms == 1) multiply_tiles(1, 2, 1, a, b, steps, add, to, PANEL);
    else if (both) multiply_tiles(2, 2, 3, a, b, steps, add, to, PANEL);
    else multiply_tiles(1, 2, 3, a, b, steps, add, to, PANEL);
}

struct sums {
    float data[QUERIES][PANEL] __attribute__((aligned(64)));
};

INLINE vector finished(vector y, enum finish finish) {
    if (finish == GELU) return gelu(y);
    if (finish == TANH) return hyperbolic_tangent(y);
    return finish == SIGMOID ? sigmoid(y) : y;
}

INLINE int makes_operands(enum finish finish) { return finish == GELU || finish == TANH; }

/* Panels of what a product makes, from another token on. */
INLINE struct panels results_from(const struct roformer *net, struct panels to, int token, enum finish finish) {
    return makes_operands(finish) ? operands_from(net, to, token) : from_token(to, token);
}

INLINE void finish_sums(const struct roformer *net, const struct sums *sums, int tokens, const float *bias,
                        struct panels to, enum finish finish) {
    for (int token = 0; token < tokens; token++) {
        float *row = results_from(net, to, token, finish).data;
        vector y[PANEL_VECTORS];
        for (int i = 0; i < PANEL_VECTORS; i++) {
            y[i] = load(sums->data[token] + i * VECTOR_FLOATS);
            if (bias) y[i] += load(bias + i * VECTOR_FLOATS);
            if (finish == ADD) y[i] += load(row + i * VECTOR_FLOATS);
            y[i] = finished(y[i], finish);
        }
        if (makes_operands(finish)) store_operands(net, row, y);
        else store_row(row, y);
    }
}

SEPARATE void finish_block(const struct roformer *net, const struct sums *sums, int tokens, const float *bias,
                           struct panels to, enum finish finish) {
    if (finish == STORE) finish_sums(net, sums, tokens, bias, to, STORE);
    if (finish == ADD) finish_sums(net, sums, tokens, bias, to, ADD);
    if (finish == GELU) finish_sums(net, sums, tokens, bias, to, GELU);
    if (finish == TANH) finish_sums(net, sums, tokens, bias, to, TANH);
    if (finish == SIGMOID) finish_sums(net, sums, tokens, bias, to, SIGMOID);
}

/* Up to QUERIES tokens and PANEL outputs. Floats to which nothing else is done need no sums beside them. */
INLINE void multiply_block(const struct roformer *net, struct left a, int tokens, struct right b, int steps,
                           const float *bias, struct panels to, enum finish finish) {
    if (!bias && (finish == STORE || finish == ADD)) {
        multiply_rows(net, a, tokens, b, steps, finish == ADD, to.data);
    } else {
        struct sums sums;
        multiply_rows(net, a, tokens, b, steps, 0, sums.data[0]);
        finish_block(net, &sums, tokens, bias, to, finish);
    }
}

/* to[token][output] = finish(sum over inputs of from[token][input] weight[input][output] + bias[output]) for up to
 * net->block tokens, where `from` and `to` begin with the first input and the first output of the range. */
SEPARATE void linear_product(const struct roformer *net, const struct roformer_linear *linear, struct range range,
                             struct panels from, int tokens, struct panels to, enum finish finish) {
    const int all = divide_up(linear->inputs, STEP), steps = divide_up(range.inputs, STEP);
    for (int panel = 0; panel < range.outputs; panel += PANEL, to.data += to.stride) {
        const int output = range.first_output + panel;
        const float *bias = linear->bias ? linear->bias + output : NULL;
        struct right weight = right_of(net, linear->weight, output / TILE_SIDE, all);
        weight.high += range.first_input / STEP * weight.step;
        for (int token = 0; token < tokens; token += QUERIES) {
            const int count = tokens - token < QUERIES ? tokens - token : QUERIES;
            const struct left a = left_of(net, operands_from(net, from, token));
            multiply_block(net, a, count, weight, steps, bias, results_from(net, to, token, finish), finish);
        }
    }
}

/* A tile of pairs of 16 keys from their rows of operands: to[pair][key]. */
INLINE void transpose_pairs(const uint32_t *rows, ptrdiff_t row, uint32_t *to) {
    for (int pair = 0; pair < STEP / 2; pair++)
        for (int key = 0; key < TILE_SIDE; key++) to[pair * TILE_SIDE + key] = rows[key * row + pair];
}

/* Rows of operands of up to TILE_SIDE keys, zeros behind them. */
INLINE void key_rows(const struct roformer *net, struct panels keys, int count, float rows[TILE_SIDE][PANEL]) {
    for (int key = 0; key < TILE_SIDE; key++) {
        vector x[PANEL_VECTORS];
        for (int i = 0; i < PANEL_VECTORS; i++)
            x[i] = key < count ? load(from_token(keys, key).data + i * VECTOR_FLOATS) : (vector){0};
        store_operands(net, rows[key], x);
    }
}

/* Keys in panels of values to a right operand whose columns are keys. Behind the last key, up to a whole panel of
 * scores, are zeros. */
INLINE void pack_keys(const struct roformer *net, struct panels keys, int count, float *packed) {
    uint32_t *to = (uint32_t *)(void *)packed;
    for (int first = 0; first < round_up(count, PANEL); first += TILE_SIDE)
        for (int panel = 0; panel < net->turned / PANEL; panel++) {
            float rows[TILE_SIDE][PANEL] __attribute__((aligned(64)));
            key_rows(net, from_token(from_panel(keys, panel), first), count - first, rows);
            for (int part = 0; part < operands_in_row(net) / STEP; part++, to += TILE_HALVES / 2)
                transpose_pairs((const uint32_t *)(const void *)rows + part * STEP / 2, PANEL, to);
        }
}

/* A line of a tile: the values of a pair of keys. */
INLINE void pack_pair(const struct roformer *net, const float *even, const float *odd, uint16_t *line) {
    for (int i = 0; i < TILE_SIDE; i += VECTOR_FLOATS) {
        const vector x = even ? load(even + i) : (vector){0}, y = odd ? load(odd + i) : (vector){0};
        store_pairs(line + 2 * i, high_part(x), high_part(y));
        if (net->terms > 1) store_pairs(line + TILE_HALVES + 2 * i, low_part(x), low_part(y));
    }
}

/* Values as `average` takes them: a right operand whose columns are values. Behind the last key, up to a whole step,
 * are zeros: the scores there are next to zero. */
INLINE struct panels pack_values(const struct roformer *net, struct panels values, int count, float *room) {
    uint16_t *to = halves_at(room);
    for (int column = 0; column < net->valued; column += TILE_SIDE)
        for (int first = 0; first < count; first += STEP, to += step_of(net))
            for (int pair = 0; pair < STEP / 2; pair++) {
                const int key = first + 2 * pair;
                const float *even = from_token(from_panel(values, column / PANEL), key).data + column % PANEL;
                pack_pair(net, key < count ? even : NULL, key + 1 < count ? even + PANEL : NULL,
                          to + 2 * TILE_SIDE * pair);
            }
    return (struct panels){room, 0};
}

/* scores[key / PANEL][query][PANEL] of up to QUERIES queries with all keys */
INLINE void score(const struct roformer *net, struct panels queries, int count, const float *packed_keys, int keys,
                  struct panels scores) {
    const int steps = net->turned / STEP;
    for (int key = 0; key < keys; key += PANEL, scores.data += scores.stride) {
        const struct right b = right_of(net, halves_at(packed_keys), key / TILE_SIDE, steps);
        multiply_rows(net, left_of(net, queries), count, b, steps, 0, scores.data);
    }
}

/* to[query][value] = factor[query] * sum over keys of scores[query][key] values[key][value], for up to QUERIES queries
 */
INLINE void average(const struct roformer *net, struct panels scores, int count, int keys, const float *factor,
                    struct panels values, struct panels to) {
    const int steps = divide_up(keys, STEP);
    for (int panel = 0; panel < net->valued / PANEL; panel++, to.data += to.stride) {
        const struct right b = right_of(net, halves_at(values.data), panel * PANEL / TILE_SIDE, steps);
        struct sums sums;
        multiply_rows(net, left_of(net, scores), count, b, steps, 0, sums.data[0]);
        for (int query = 0; query < count; query++) {
            vector y[PANEL_VECTORS];
            for (int i = 0; i < PANEL_VECTORS; i++) y[i] = load(sums.data[query] + i * VECTOR_FLOATS) * factor[query];
            store_operands(net, operands_from(net, to, query).data, y);
        }
    }
}
