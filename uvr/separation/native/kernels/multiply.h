/* The inner loop of every layer: a register tile of a matrix product.
 *
 *     sum[i][j] += sum over k of a[i, k] b[k][j],   i < rows, j < vectors (of VECTOR_FLOATS columns), k < depth
 *
 * `rows` and `vectors` are constants wherever this is inlined, so `sum` lives in registers: TILE_1, TILE_2 and TILE_3
 * are the rows that leave room for one line of b and one broadcast element of a. b's line is loaded once per k, a's
 * elements are broadcast from memory. Lines of b are fetched `ahead` lines before their turn, where that is not 0. */

INLINE int tile_rows(int vectors) { return vectors == 3 ? TILE_3 : vectors == 2 ? TILE_2 : TILE_1; }

INLINE void clear(int rows, int vectors, vector sum[MOST_TILE_ROWS][MAX_VECTORS]) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++) sum[i][j] = (vector){0};
}

INLINE void multiply(int rows, int vectors, const float *a, ptrdiff_t a_row, ptrdiff_t a_step, const float *b,
                     ptrdiff_t b_step, int depth, int ahead, vector sum[MOST_TILE_ROWS][MAX_VECTORS]) {
    for (int k = 0; k < depth; k++, a += a_step, b += b_step) {
        vector line[MAX_VECTORS];
        for (int j = 0; j < vectors && ahead; j++) __builtin_prefetch(b + ahead * b_step + j * VECTOR_FLOATS);
        for (int j = 0; j < vectors; j++) line[j] = load(b + j * VECTOR_FLOATS);
        _Pragma("GCC unroll 16") for (int i = 0; i < rows; i++)
            for (int j = 0; j < vectors; j++) sum[i][j] += a[i * a_row] * line[j];
    }
}
