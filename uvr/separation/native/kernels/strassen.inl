/* Strassen's product of matrices (Numerische Mathematik 13, 1969) in Winograd's form: a product of 2x2 parts takes 7
 * products of parts instead of 8.
 *
 *     | C0 C1 |   | A0 A1 | | B0 B1 |      P0 = A0 B0               P4 = (A2 + A3) (B1 - B0)
 *     | C2 C3 | = | A2 A3 | | B2 B3 |      P1 = A1 B2               P5 = (A2 + A3 - A0) (B3 - B1 + B0)
 *                                          P2 = (A1 - S) B3         P6 = (A0 - A2) (B3 - B1)
 *     C0 = P0 + P1                         P3 = A3 (T - B2)         with S, T: the two factors of P5
 *     C1 = P0 + P5 + P4 + P2
 *     C2 = P0 + P5 + P6 - P3
 *     C3 = P0 + P5 + P6 + P4
 *
 * A (weights) is prepared once, in double precision (weights.c); the functions here prepare B and put C together.
 * Factors and products are lines of memory that are `step` floats apart. */

/* The seven right-hand factors of four parts. */
INLINE void split(const vector b[4], float *to, ptrdiff_t step) {
    const vector across = b[1] - b[0], t = b[3] - across;
    store(to, b[0]);
    store(to + step, b[2]);
    store(to + 2 * step, b[3]);
    store(to + 3 * step, t - b[2]);
    store(to + 4 * step, across);
    store(to + 5 * step, t);
    store(to + 6 * step, b[3] - b[1]);
}

/* The four parts of the result from seven products. */
INLINE void join(const float *p, ptrdiff_t step, vector c[4]) {
    const vector p0 = load(p), p4 = load(p + 4 * step);
    const vector common = p0 + load(p + 5 * step), left = common + load(p + 6 * step);
    c[0] = p0 + load(p + step);
    c[1] = common + p4 + load(p + 2 * step);
    c[2] = left - load(p + 3 * step);
    c[3] = left + p4;
}
