/* Winograd's minimal filtering F(4, 3): four outputs of a three-tap filter with 6 instead of 12 multiplications.
 *
 *     y = A^T [ (G g) * (B^T d) ],   six inputs d, three taps g, four outputs y, * element by element
 *
 * See Lavin & Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016, arXiv:1509.09308). The matrices are
 * those of Toom-Cook for polynomials evaluated at six points. The points here (0, +-3/4, +-3/2, infinity) cause smaller
 * rounding errors than those of the paper (0, +-1, +-2, infinity).
 *
 *            | a^2 b^2     0      -a^2-b^2     0     1  0 |
 *            |    0     -a b^2      -b^2       a     1  0 |
 *     B^T =  |    0      a b^2      -b^2      -a     1  0 |         | 1  1    1    1    1   0 |
 *            |    0     -b a^2      -a^2       b     1  0 |   A^T = | 0  a   -a    b   -b   0 |     a = 3/4, b = 3/2
 *            |    0      b a^2      -a^2      -b     1  0 |         | 0 a^2  a^2  b^2  b^2  0 |
 *            |    0     a^2 b^2      0     -a^2-b^2  0  1 |         | 0 a^3 -a^3  b^3 -b^3  1 |
 *
 * G is in weights.c, in double precision. The constants here are exact in float32. */

#define POINT_A 0.75f
#define POINT_B 1.5f
#define SQUARE_A (POINT_A * POINT_A)
#define SQUARE_B (POINT_B * POINT_B)

/* out = B^T in: six outputs from six inputs. Inputs are `in_step` vectors apart, outputs `out_step`. */
INLINE void transform_input(const vector *in, int in_step, vector *out, int out_step) {
    const vector d0 = in[0], d1 = in[in_step], d2 = in[2 * in_step];
    const vector d3 = in[3 * in_step], d4 = in[4 * in_step], d5 = in[5 * in_step];
    const vector even_a = d4 - d2 * SQUARE_B, odd_a = (d3 - d1 * SQUARE_B) * POINT_A;
    const vector even_b = d4 - d2 * SQUARE_A, odd_b = (d3 - d1 * SQUARE_A) * POINT_B;
    out[0] = d4 + (d0 * (SQUARE_A * SQUARE_B) - d2 * (SQUARE_A + SQUARE_B));
    out[out_step] = even_a + odd_a;
    out[2 * out_step] = even_a - odd_a;
    out[3 * out_step] = even_b + odd_b;
    out[4 * out_step] = even_b - odd_b;
    out[5 * out_step] = d5 + (d1 * (SQUARE_A * SQUARE_B) - d3 * (SQUARE_A + SQUARE_B));
}

/* out = A^T in: four outputs from six products. */
INLINE void transform_output(const vector *in, int in_step, vector *out, int out_step) {
    const vector sum_a = in[in_step] + in[2 * in_step], difference_a = in[in_step] - in[2 * in_step];
    const vector sum_b = in[3 * in_step] + in[4 * in_step], difference_b = in[3 * in_step] - in[4 * in_step];
    out[0] = in[0] + (sum_a + sum_b);
    out[out_step] = difference_a * POINT_A + difference_b * POINT_B;
    out[2 * out_step] = sum_a * SQUARE_A + sum_b * SQUARE_B;
    out[3 * out_step] = in[5 * in_step] + (difference_a * (POINT_A * SQUARE_A) + difference_b * (POINT_B * SQUARE_B));
}
