/* The inner loop of every layer: a register tile of a matrix product.
 *
 *     sum[i][j] += sum over k of a[i, k] b[k][j],   i < rows, j < vectors (of VECTOR_FLOATS columns), k < depth
 *
 * `rows` and `vectors` are constants wherever this is inlined, so `sum` stays in registers. TILE_1, TILE_2 and TILE_3
 * are the numbers of rows that leave registers for one line of b and one broadcast element of a. Each line of b is
 * loaded once per k; the elements of a are broadcast from memory. If `ahead` is not 0, lines of b are prefetched
 * `ahead` lines before their use. */

INLINE int tile_rows(int vectors) { return vectors == 3 ? TILE_3 : vectors == 2 ? TILE_2 : TILE_1; }

INLINE void clear(int rows, int vectors, vector sum[MAX_TILE_ROWS][MAX_VECTORS]) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++) sum[i][j] = (vector){0};
}

INLINE void multiply(int rows, int vectors, const float *a, ptrdiff_t a_row, ptrdiff_t a_step, const float *b,
                     ptrdiff_t b_step, int depth, int ahead, vector sum[MAX_TILE_ROWS][MAX_VECTORS]) {
    for (int k = 0; k < depth; k++, a += a_step, b += b_step) {
        vector line[MAX_VECTORS];
        for (int j = 0; j < vectors && ahead; j++) __builtin_prefetch(b + ahead * b_step + j * VECTOR_FLOATS);
        for (int j = 0; j < vectors; j++) line[j] = load(b + j * VECTOR_FLOATS);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < vectors; j++) sum[i][j] += a[i * a_row] * line[j];
    }
}
