/* The products of RoFormers in bfloat16, by tiles of QUERIES tokens and PANEL outputs, whose sums are float32.
 *
 * The functions have the names of those in products.inl. What a product reads as its left operand are rows of operands:
 * PANEL high parts, and in three terms PANEL low parts behind them. A row of operands is never longer than one of
 * floats, so operands may take the place of floats, one token after the other. The right operand is made of tiles, with
 * a tile of low parts behind each one of high parts. */
#define QUERIES (2 * TILE_SIDE)

_Static_assert(STEP == PANEL, "a step of a left operand is a row of a panel");

/* Inputs that are multiplied at a time. */
#define DEPTH 512

/* Compiled on its own, so that there are enough registers for the sums of a tile. */
#define SEPARATE static __attribute__((noinline))

/* Numbers in a row of operands. */
INLINE int operands_in_row(const struct roformer *net) { return net->terms == 1 ? PANEL : 2 * PANEL; }

/* Operands in panels, from another token on. */
INLINE struct panels operands_from(const struct roformer *net, struct panels panels, int token) {
    return (struct panels){panels.data + (ptrdiff_t)token * operands_in_row(net) / 2, panels.stride};
}

INLINE void store_operands(const struct roformer *net, float *row, const vector x[PANEL_VECTORS]) {
    uint16_t *to = halves_of(row);
    for (int i = 0; i < PANEL_VECTORS; i++) store_rounded(to + i * VECTOR_FLOATS, x[i]);
    for (int i = 0; i < PANEL_VECTORS && net->terms > 1; i++)
        store_rounded(to + PANEL + i * VECTOR_FLOATS, x[i] - high_part(x[i]));
}

INLINE struct left left_of(const struct roformer *net, struct panels operands) {
    return (struct left){halves_of(operands.data), operands_in_row(net), 2 * operands.stride, PANEL};
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

/* In one term, functions need not be more exact than the operands that they make. */
INLINE vector power_of_score(const struct roformer *net, vector x) {
    return net->terms == 1 ? rough_power_of_two(x) : power_of_two(x);
}

INLINE vector finished(vector y, int terms, enum finish finish) {
    if (finish == GELU) return terms == 1 ? rough_gelu(y) : gelu(y);
    if (finish == TANH) return hyperbolic_tangent(y);
    return finish == SIGMOID ? sigmoid(y) : y;
}

INLINE void finish_sums(const struct roformer *net, int terms, const float *sums, int tokens, const float *bias,
                        struct panels to, enum finish finish) {
    for (int token = 0; token < tokens; token++) {
        const int makes_operands = finish == GELU || finish == TANH;
        float *row = (makes_operands ? operands_from(net, to, token) : from_token(to, token)).data;
        vector y[PANEL_VECTORS];
        for (int i = 0; i < PANEL_VECTORS; i++) {
            y[i] = load(sums + token * PANEL + i * VECTOR_FLOATS);
            if (bias) y[i] += load(bias + i * VECTOR_FLOATS);
            if (finish == ADD) y[i] += load(row + i * VECTOR_FLOATS);
            y[i] = finished(y[i], terms, finish);
        }
        if (makes_operands) store_operands(net, row, y);
        else store_row(row, y);
    }
}

SEPARATE void finish_block(const struct roformer *net, const float *sums, int tokens, const float *bias,
                           struct panels to, enum finish finish) {
    if (finish == STORE) finish_sums(net, 0, sums, tokens, bias, to, STORE);
    if (finish == ADD) finish_sums(net, 0, sums, tokens, bias, to, ADD);
    if (finish == GELU && net->terms == 1) finish_sums(net, 1, sums, tokens, bias, to, GELU);
    if (finish == GELU && net->terms == 3) finish_sums(net, 3, sums, tokens, bias, to, GELU);
    if (finish == TANH) finish_sums(net, 0, sums, tokens, bias, to, TANH);
    if (finish == SIGMOID) finish_sums(net, 0, sums, tokens, bias, to, SIGMOID);
}

/* sums[token][PANEL] (+)= the products of a block of tokens with PANEL outputs, DEPTH inputs at a time: their weights
 * stay in the L1 cache. */
INLINE void multiply_block(const struct roformer *net, struct panels from, int tokens, struct right weight, int steps,
                           int add, float *sums) {
    for (int first = 0; first < steps; first += DEPTH / STEP, weight.high += DEPTH / STEP * weight.step, add = 1) {
        const int some = steps - first < DEPTH / STEP ? steps - first : DEPTH / STEP;
        for (int token = 0; token < tokens; token += QUERIES) {
            const struct left a = left_of(net, operands_from(net, from_panel(from, first), token));
            multiply_rows(net, a, tokens - token, weight, some, add, sums + token * PANEL);
        }
    }
}

/* to[token][output] = finish(sum over inputs of from[token][input] weight[input][output] + bias[output]) for up to
 * net->block tokens, where `from` and `to` begin with the first input and the first output of the range. Sums that need
 * nothing else are made in their place. */
SEPARATE void linear_product(const struct roformer *net, const struct roformer_linear *linear, struct range range,
                             struct panels from, int tokens, struct panels to, enum finish finish) {
    const int all = divide_up(linear->inputs, STEP), steps = divide_up(range.inputs, STEP);
    const int in_place = !linear->bias && (finish == STORE || finish == ADD);
    float sums[TILED_BLOCK_TOKENS * PANEL] __attribute__((aligned(64)));
    for (int panel = 0; panel < range.outputs; panel += PANEL, to.data += to.stride) {
        const int output = range.first_output + panel;
        const float *bias = linear->bias ? linear->bias + output : NULL;
        struct right weight = right_of(net, linear->weight, output / TILE_SIDE, all);
        weight.high += range.first_input / STEP * weight.step;
        multiply_block(net, from, tokens, weight, steps, in_place && finish == ADD, in_place ? to.data : sums);
        if (!in_place) finish_block(net, sums, tokens, bias, to, finish);
    }
}

/* A tile of pairs of 16 keys from their rows of operands: to[pair][key]. */
#if VECTOR_FLOATS == 16
INLINE void transpose_pairs(const uint32_t *rows, ptrdiff_t row, uint32_t *to) {
    __m512i a[TILE_SIDE], b[TILE_SIDE];
#pragma GCC unroll 8
    for (int i = 0; i < TILE_SIDE; i += 2) { /* pairs of keys */
        const __m512i x = _mm512_load_si512(rows + i * row), y = _mm512_load_si512(rows + (i + 1) * row);
        b[i] = _mm512_unpacklo_epi32(x, y);
        b[i + 1] = _mm512_unpackhi_epi32(x, y);
    }
#pragma GCC unroll 4
    for (int i = 0; i < TILE_SIDE; i += 4) /* four keys: a[i + c] has their columns c, 4 + c, 8 + c and 12 + c */
        for (int c = 0; c < 2; c++) {
            a[i + 2 * c] = _mm512_unpacklo_epi64(b[i + c], b[i + 2 + c]);
            a[i + 2 * c + 1] = _mm512_unpackhi_epi64(b[i + c], b[i + 2 + c]);
        }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const __m512i even_1 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88);
        const __m512i even_2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
        const __m512i odd_1 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
        const __m512i odd_2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
        _mm512_store_si512(to + c * TILE_SIDE, _mm512_shuffle_i32x4(even_1, even_2, 0x88));
        _mm512_store_si512(to + (4 + c) * TILE_SIDE, _mm512_shuffle_i32x4(odd_1, odd_2, 0x88));
        _mm512_store_si512(to + (8 + c) * TILE_SIDE, _mm512_shuffle_i32x4(even_1, even_2, 0xdd));
        _mm512_store_si512(to + (12 + c) * TILE_SIDE, _mm512_shuffle_i32x4(odd_1, odd_2, 0xdd));
    }
}
#else
INLINE void transpose_pairs(const uint32_t *rows, ptrdiff_t row, uint32_t *to) {
    for (int pair = 0; pair < STEP / 2; pair++)
        for (int key = 0; key < TILE_SIDE; key++) to[pair * TILE_SIDE + key] = rows[key * row + pair];
}
#endif

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
    uint16_t *to = halves_of(room);
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
        const struct right b = right_of(net, halves_of(packed_keys), key / TILE_SIDE, steps);
        multiply_rows(net, left_of(net, queries), count, b, steps, 0, scores.data);
    }
}

/* to[query][value] = factor[query] * sum over keys of scores[query][key] values[key][value], for up to QUERIES queries
 */
INLINE void average(const struct roformer *net, struct panels scores, int count, int keys, const float *factor,
                    struct panels values, struct panels to) {
    const int steps = divide_up(keys, STEP);
    for (int panel = 0; panel < net->valued / PANEL; panel++, to.data += to.stride) {
        const struct right b = right_of(net, halves_of(values.data), panel * PANEL / TILE_SIDE, steps);
        float sums[QUERIES * PANEL] __attribute__((aligned(64)));
        multiply_rows(net, left_of(net, scores), count, b, steps, 0, sums);
        for (int query = 0; query < count; query++) {
            vector y[PANEL_VECTORS];
            for (int i = 0; i < PANEL_VECTORS; i++)
                y[i] = load(sums + query * PANEL + i * VECTOR_FLOATS) * factor[query];
            store_operands(net, operands_from(net, to, query).data, y);
        }
    }
}
