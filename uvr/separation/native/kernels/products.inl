/* The products of RoFormers in float32, by register tiles of TOKENS tokens and COLUMNS columns.
 *
 * tiled_products.inl has the same functions for bfloat16: `operand` means here a float like all others. */
#define TOKENS TILE_2
#define COLUMNS (2 * VECTOR_FLOATS)

/* Queries of which scores are computed at a time. */
#define QUERIES TOKENS

/* Compiled on its own, so that there are enough registers for the sums of a tile. */
#define SEPARATE static __attribute__((noinline))

/* For products on tiles, which need their registers. */
INLINE void begin_tiles(void) {}
INLINE void end_tiles(void) {}

INLINE struct panels operands_from(const struct roformer *net, struct panels panels, int token) {
    (void)net;
    return from_token(panels, token);
}

INLINE void store_operands(const struct roformer *net, float *row, const vector x[PANEL_VECTORS]) {
    (void)net;
    store_row(row, x);
}

/* The right operand of a register tile: `step` floats from one line to the next, `next` from the first vector of a line
 * to the second one. */
struct columns {
    const float *data;
    ptrdiff_t step, next;
};

INLINE struct columns columns_of_panel(const float *data) { return (struct columns){data, PANEL, VECTOR_FLOATS}; }

/* Columns of packed weights: a vector is a whole line of 16 outputs, or a part of one. */
INLINE struct columns columns_of_weight(const struct roformer_linear *linear, int output, int first_input) {
    const ptrdiff_t line = (ptrdiff_t)linear->inputs * LINE;
    const float *weight = linear->weight, *data = weight + output / LINE * line + first_input * LINE + output % LINE;
    return (struct columns){data, LINE, VECTOR_FLOATS == LINE ? line : VECTOR_FLOATS};
}

INLINE void multiply_panels(struct panels from, struct columns b, int depth, vector sum[MAX_TILE_ROWS][MAX_VECTORS]) {
    clear(TOKENS, 2, sum);
    for (; depth > 0; depth -= PANEL, from.data += from.stride) {
        const float *a = from.data, *const end = a + (depth < PANEL ? depth : PANEL);
        for (; a < end; a++, b.data += b.step) {
            const vector first = load(b.data), second = load(b.data + b.next);
#pragma GCC unroll 16
            for (int i = 0; i < TOKENS; i++) {
                sum[i][0] += a[i * PANEL] * first;
                sum[i][1] += a[i * PANEL] * second;
            }
        }
    }
}

INLINE void finish_tile(vector sum[MAX_TILE_ROWS][MAX_VECTORS], const float *bias, float *to, enum finish finish) {
#pragma GCC unroll 16
    for (int i = 0; i < TOKENS; i++)
        for (int j = 0; j < 2; j++) {
            float *place = to + i * PANEL + j * VECTOR_FLOATS;
            vector y = sum[i][j];
            if (bias) y += load(bias + j * VECTOR_FLOATS);
            if (finish == ADD) y += load(place);
            if (finish == GELU) y = gelu(y);
            if (finish == TANH) y = hyperbolic_tangent(y);
            if (finish == SIGMOID) y = sigmoid(y);
            store(place, y);
        }
}

/* to[token][output] = finish(sum over inputs of from[token][input] weight[input][output] + bias[output]) for up to
 * net->block tokens, where `from` and `to` begin with the first input and the first output of the range. */
SEPARATE void linear_product(const struct roformer *net, const struct roformer_linear *linear, struct range range,
                             struct panels from, int tokens, struct panels to, enum finish finish) {
    (void)net;
    for (int panel = 0; panel < range.outputs; panel += PANEL, to.data += to.stride)
        for (int part = 0; part < PANEL; part += COLUMNS) {
            const int output = range.first_output + panel;
            const struct columns weight = columns_of_weight(linear, output + part, range.first_input);
            const float *bias = linear->bias ? linear->bias + output + part : NULL;
            for (int token = 0; token < tokens; token += TOKENS) {
                float *place = to.data + token * PANEL + part;
                vector sum[MAX_TILE_ROWS][MAX_VECTORS];
                multiply_panels(from_token(from, token), weight, range.inputs, sum);
                if (finish == STORE) finish_tile(sum, bias, place, STORE);
                if (finish == ADD) finish_tile(sum, bias, place, ADD);
                if (finish == GELU) finish_tile(sum, bias, place, GELU);
                if (finish == TANH) finish_tile(sum, bias, place, TANH);
                if (finish == SIGMOID) finish_tile(sum, bias, place, SIGMOID);
            }
        }
}

INLINE vector power_of_score(const struct roformer *net, vector x) {
    (void)net;
    return power_of_two(x);
}

/* Keys in panels of values to packed[key / PANEL][value][PANEL], zeros behind the last key. */
INLINE void pack_keys(const struct roformer *net, struct panels keys, int count, float *packed) {
    for (int first = 0; first < count; first += PANEL, packed += net->turned * PANEL)
        for (int value = 0; value < net->turned; value++) {
            const float *from = keys.data + value / PANEL * keys.stride + (ptrdiff_t)first * PANEL + value % PANEL;
            for (int key = 0; key < PANEL; key++)
                packed[value * PANEL + key] = first + key < count ? from[key * PANEL] : 0;
        }
}

/* Values as `average` takes them: as they are. */
INLINE struct panels pack_values(const struct roformer *net, struct panels values, int count, float *room) {
    (void)net, (void)count, (void)room;
    return values;
}

/* scores[key / PANEL][query][PANEL] of QUERIES queries, of which `count` are needed, with all keys */
SEPARATE void score(const struct roformer *net, struct panels queries, int count, const float *packed_keys, int keys,
                    struct panels scores) {
    (void)count;
    for (int panel = 0; panel < keys; panel += PANEL, scores.data += scores.stride)
        for (int part = 0; part < PANEL; part += COLUMNS) {
            const float *some = packed_keys + (ptrdiff_t)panel * net->turned + part;
            vector sum[MAX_TILE_ROWS][MAX_VECTORS];
            multiply_panels(queries, columns_of_panel(some), net->turned, sum);
            finish_tile(sum, NULL, scores.data + part, STORE);
        }
}

/* to[query][value] = factor[query] * sum over keys of scores[query][key] values[key][value], for QUERIES queries */
SEPARATE void average(const struct roformer *net, struct panels scores, int count, int keys, const float *factor,
                      struct panels values, struct panels to) {
    (void)count;
    for (int panel = 0; panel < net->valued; panel += PANEL, values.data += values.stride, to.data += to.stride)
        for (int part = 0; part < PANEL; part += COLUMNS) {
            vector sum[MAX_TILE_ROWS][MAX_VECTORS];
            multiply_panels(scores, columns_of_panel(values.data + part), keys, sum);
#pragma GCC unroll 16
            for (int i = 0; i < TOKENS; i++)
                for (int j = 0; j < 2; j++)
                    store(to.data + i * PANEL + part + j * VECTOR_FLOATS, sum[i][j] * factor[i]);
        }
}
