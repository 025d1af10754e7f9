/* What the tiled jobs of all layers share: the making of operands, and products of any size up to 32 rows and columns.
 */

INLINE struct left packed_left(const uint16_t *data) {
    return (struct left){.high = data, .row = STEP, .step = LEFT_STEP, .low = LEFT_PART};
}

INLINE struct right packed_right(const uint16_t *data, int steps) {
    return (struct right){.high = data, .step = RIGHT_STEP, .next = steps * (ptrdiff_t)RIGHT_STEP, .low = TILE_HALVES};
}

/* Computes whole tiles, of which there are as many as `rows` and `columns` need; at most two each. */
static __attribute__((noinline)) void multiply_operands(int rows, int columns, struct left a, struct right b, int steps,
                                                        int add, float *to, ptrdiff_t to_row) {
    const int tall = rows > TILE_SIDE, wide = columns > TILE_SIDE;
    if (tall && wide) multiply_tiles(2, 2, TERMS, a, b, steps, add, to, to_row);
    else if (tall) multiply_tiles(2, 1, TERMS, a, b, steps, add, to, to_row);
    else if (wide) multiply_tiles(1, 2, TERMS, a, b, steps, add, to, to_row);
    else multiply_tiles(1, 1, TERMS, a, b, steps, add, to, to_row);
}

/* Writes a vector of columns into a line of a packed right operand. */
INLINE void put_pairs(uint16_t *line, vector even, vector odd) {
    vector even_part[PARTS], odd_part[PARTS];
    cut_in_parts(even, even_part);
    cut_in_parts(odd, odd_part);
    for (int i = 0; i < PARTS; i++) store_pairs(line + i * TILE_HALVES, even_part[i], odd_part[i]);
}

/* Writes a vector into a row of a left operand whose parts are planes. */
INLINE void put_parts(uint16_t *row, ptrdiff_t plane, vector x) {
    vector part[PARTS];
    cut_in_parts(x, part);
    for (int i = 0; i < PARTS; i++) store_bfloat16(row + i * plane, part[i]);
}

/* Makes `count` values a part of a row, and the rest of their last step zeros. */
INLINE void put_row(const float *from, int count, uint16_t *row, ptrdiff_t plane) {
    int i = 0;
    for (; i < count; i += VECTOR_FLOATS) put_parts(row + i, plane, load(from + i));
    for (; i % STEP; i += VECTOR_FLOATS) put_parts(row + i, plane, (vector){0});
}
