/* Tokens in panels, and their product with the weights of a linear layer.
 *
 * A panel has PANEL values of all tokens: panels are [panel][token][PANEL]. A register tile of a product reads and
 * writes one piece of memory per panel, so neither pages nor cache sets run out, as they do with rows of 6 kB. What is
 * computed beyond the last token, up to a whole register tile, is never used. */
#define PANEL ROFORMER_PANEL
#define TOKENS TILE_2
#define COLUMNS (2 * VECTOR_FLOATS)

/* Compiled on its own, so that there are enough registers for the sums of a tile. */
#define SEPARATE static __attribute__((noinline))

enum finish { STORE, ADD, GELU, TANH, SIGMOID };

/* The same panels from another token on. */
INLINE struct panels from_token(struct panels panels, int token) {
    return (struct panels){panels.data + (ptrdiff_t)token * PANEL, panels.stride};
}

INLINE struct panels from_panel(struct panels panels, int panel) {
    return (struct panels){panels.data + panel * panels.stride, panels.stride};
}

/* Which outputs of a linear layer are computed, and from which inputs. */
struct range {
    int first_output, outputs, first_input, inputs;
};

INLINE struct range everything(const struct roformer_linear *linear) {
    return (struct range){0, (int)round_up(linear->outputs, PANEL), 0, linear->inputs};
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
    const float *data = linear->weight + output / LINE * line + first_input * LINE + output % LINE;
    return (struct columns){data, LINE, VECTOR_FLOATS == LINE ? line : VECTOR_FLOATS};
}

/* A register tile: TOKENS tokens and COLUMNS columns. */
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

/* to[token][output] = finish(sum over inputs of from[token][input] weight[input][output] + bias[output]), where `from`
 * and `to` begin with the first input and the first output of the range. */
SEPARATE void multiply_block(const struct roformer_linear *linear, struct range range, struct panels from, int tokens,
                             struct panels to, enum finish finish) {
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

/* The same for any number of tokens, of which a block stays in the L2 cache while the weights pass by. */
INLINE void linear_product(const struct roformer_linear *linear, struct range range, struct panels from, int tokens,
                           struct panels to, enum finish finish) {
    for (int first = 0; first < tokens; first += BLOCK_TOKENS) {
        const int count = tokens - first < BLOCK_TOKENS ? tokens - first : BLOCK_TOKENS;
        multiply_block(linear, range, from_token(from, first), count, from_token(to, first), finish);
    }
}

/* Copies one token of `count` values from its row; zeros behind it, up to a whole panel. */
INLINE void read_token(const float *row, int count, struct panels to) {
    for (; count > 0; count -= PANEL, row += PANEL, to.data += to.stride) {
        const int here = count < PANEL ? count : PANEL;
        memcpy(to.data, row, (size_t)here * sizeof *row);
        memset(to.data + here, 0, (size_t)(PANEL - here) * sizeof *row);
    }
}

INLINE void write_token(struct panels from, int count, float *row) {
    for (; count > 0; count -= PANEL, row += PANEL, from.data += from.stride)
        memcpy(row, from.data, (size_t)(count < PANEL ? count : PANEL) * sizeof *row);
}

/* Scales one token of `dim` values, and zeros up to a whole panel, to the length sqrt(dim) or, with a gamma, to that
 * times gamma. */
INLINE void normalize(struct panels from, int dim, const float *gamma, struct panels to) {
    const int panels = divide_up(dim, PANEL);
    vector squares = {0};
    for (int panel = 0; panel < panels; panel++)
        for (int i = 0; i < PANEL; i += VECTOR_FLOATS) {
            const vector x = load(from.data + panel * from.stride + i);
            squares += x * x;
        }
    const float length = sqrtf(sum_of(squares)), factor = sqrtf((float)dim) / (length > 1e-12f ? length : 1e-12f);
    for (int panel = 0; panel < panels; panel++)
        for (int i = 0; i < PANEL; i += VECTOR_FLOATS) {
            vector x = load(from.data + panel * from.stride + i) * factor;
            if (gamma) x *= load(gamma + panel * PANEL + i);
            store(to.data + panel * to.stride + i, x);
        }
}
