/* Tokens in panels.
 *
 * A panel has PANEL values of all tokens: panels are [panel][token][PANEL]. A product reads and writes one piece of
 * memory per panel, so neither pages nor cache sets run out, as they do with rows of 6 kB. What is computed beyond the
 * last token, up to a whole tile, is never used. */
#define PANEL ROFORMER_PANEL
#define PANEL_VECTORS (PANEL / VECTOR_FLOATS)

/* The same panels from another token on. */
INLINE struct panels from_token(struct panels panels, int token) {
    return (struct panels){panels.data + (ptrdiff_t)token * PANEL, panels.stride};
}

INLINE struct panels from_panel(struct panels panels, int panel) {
    return (struct panels){panels.data + panel * panels.stride, panels.stride};
}

INLINE void load_row(const float *row, vector x[PANEL_VECTORS]) {
    for (int i = 0; i < PANEL_VECTORS; i++) x[i] = load(row + i * VECTOR_FLOATS);
}

INLINE void store_row(float *row, const vector x[PANEL_VECTORS]) {
    for (int i = 0; i < PANEL_VECTORS; i++) store(row + i * VECTOR_FLOATS, x[i]);
}

/* Which outputs of a linear layer are computed, and from which inputs. */
struct range {
    int first_output, outputs, first_input, inputs;
};

INLINE struct range everything(const struct roformer_linear *linear) {
    return (struct range){0, (int)round_up(linear->outputs, PANEL), 0, linear->inputs};
}

/* What becomes of a product and its bias. The results of GELU and TANH are operands of the next product, the others
 * are floats. */
enum finish { STORE, ADD, GELU, TANH, SIGMOID };

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

/* The factor that scales one token of `dim` values, and zeros up to a whole panel, to the length sqrt(dim). */
INLINE float scale_of(struct panels token, int dim) {
    const int panels = divide_up(dim, PANEL);
    vector squares = {0};
    for (int panel = 0; panel < panels; panel++)
        for (int i = 0; i < PANEL; i += VECTOR_FLOATS) {
            const vector x = load(token.data + panel * token.stride + i);
            squares += x * x;
        }
    const float length = sqrtf(sum_of(squares));
    return sqrtf((float)dim) / (length > 1e-12f ? length : 1e-12f);
}

/* Scales one token to the length sqrt(dim) times gamma. */
INLINE void normalize(struct panels token, int dim, const float *gamma) {
    const int panels = divide_up(dim, PANEL);
    const float factor = scale_of(token, dim);
    for (int panel = 0; panel < panels; panel++)
        for (int i = 0; i < PANEL; i += VECTOR_FLOATS) {
            float *place = token.data + panel * token.stride + i;
            store(place, load(place) * factor * load(gamma + panel * PANEL + i));
        }
}
