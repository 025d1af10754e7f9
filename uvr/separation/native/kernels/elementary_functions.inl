/* Elementary functions of vectors, without branches and without calls, by polynomials and quotients of polynomials.
 *
 * The coefficients were fitted here, for the smallest greatest error. The errors below are absolute, unless they are in
 * percent of the result, and include the rounding of float32. */

INLINE vector minimum(vector x, vector y) {
#if VECTOR_FLOATS == 16
    return (vector)_mm512_min_ps((__m512)x, (__m512)y);
#elif VECTOR_FLOATS == 8
    return (vector)_mm256_min_ps((__m256)x, (__m256)y);
#else
    const mask below = x < y;
    return (vector)(((mask)x & below) | ((mask)y & ~below));
#endif
}

INLINE vector maximum(vector x, vector y) {
#if VECTOR_FLOATS == 16
    return (vector)_mm512_max_ps((__m512)x, (__m512)y);
#elif VECTOR_FLOATS == 8
    return (vector)_mm256_max_ps((__m256)x, (__m256)y);
#else
    const mask above = x > y;
    return (vector)(((mask)x & above) | ((mask)y & ~above));
#endif
}

INLINE vector limited(vector x, float limit) { return minimum(maximum(x, (vector){0} - limit), (vector){0} + limit); }

#define TO_INTEGER 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, whose bits are the lowest */

/* 2^(n + f), to 0.00002 %, for |f| <= 0.5 and shifted = n + TO_INTEGER: f goes through a polynomial, and n is added to
 * the exponent's bits. */
INLINE vector power_of_parts(vector shifted, vector f) {
    vector p = f * 1.32647e-3f + 9.67151e-3f;
    p = p * f + 5.550734e-2f;
    p = p * f + 2.4022242e-1f;
    p = p * f + 6.9314698e-1f;
    p = p * f + 1.0f;
    return (vector)((mask)p + ((mask)shifted << 23));
}

/* The same to 0.008 %. */
INLINE vector rough_power_of_parts(vector shifted, vector f) {
    vector p = f * 5.517167e-2f + 2.4261114e-1f;
    p = p * f + 6.9326099e-1f;
    p = p * f + 9.9992807e-1f;
    return (vector)((mask)p + ((mask)shifted << 23));
}

/* 2^x for x <= 0; below -126 the result is that of -126 */
INLINE vector power_of_two(vector x) {
    x = maximum(x, (vector){0} - 126.0f);
    const vector shifted = x + TO_INTEGER;
    return power_of_parts(shifted, x - (shifted - TO_INTEGER));
}

INLINE vector rough_power_of_two(vector x) {
    x = maximum(x, (vector){0} - 126.0f);
    const vector shifted = x + TO_INTEGER;
    return rough_power_of_parts(shifted, x - (shifted - TO_INTEGER));
}

/* e^x; beyond 87 the result is that of 87. The product of x and log2(e), rounded, would lose digits of large x: n ln(2)
 * is subtracted from x in two parts instead (Cody and Waite), of which the first times n is exact. */
INLINE vector exponential(vector x) {
    x = limited(x, 87.0f);
    const vector shifted = x * 1.44269504f + TO_INTEGER, n = shifted - TO_INTEGER;
    const vector rest = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    return power_of_parts(shifted, rest * 1.44269504f);
}

/* 1 / (1 + e^-x), to 0.00003 %, also where it is small */
INLINE vector sigmoid(vector x) { return 1.0f / (1.0f + exponential(-x)); }

/* tanh(x), to 2e-7 */
INLINE vector hyperbolic_tangent(vector x) { return 1.0f - 2.0f / (1.0f + exponential(x + x)); }

/* The probability that a normal variable lies between -x and x, negative for negative x: erf(x / sqrt(2)), to 4e-7;
 * beyond 5.4 it is 1. */
INLINE vector normal_share(vector x) {
    x = limited(x, 5.4f);
    const vector u = x * x;
    vector p = u * 4.67734698e-8f + 1.27200535e-5f;
    p = p * u + 3.28644215e-4f;
    p = p * u + 9.30170749e-3f;
    p = p * u + 6.67445296e-2f;
    p = p * u + 7.97884491e-1f;
    vector q = u * 1.21659149e-6f + 7.24003375e-5f;
    q = q * u + 1.85898382e-3f;
    q = q * u + 2.83787091e-2f;
    q = q * u + 2.50317952e-1f;
    q = q * u + 1.0f;
    return x * p / q;
}

/* x times the probability that a normal variable is below x */
INLINE vector gelu(vector x) {
    const vector half = 0.5f * x;
    return half + half * normal_share(x);
}

/* x / y, to 0.007 % where the processor has an instruction for it */
INLINE vector rough_quotient(vector x, vector y) {
#if VECTOR_FLOATS == 16
    return x * (vector)_mm512_rcp14_ps((__m512)y);
#else
    return x / y;
#endif
}

/* The same as `gelu`, to 0.00004 of x and 0.007 % */
INLINE vector rough_gelu(vector x) {
    const vector half = 0.5f * x, limit = limited(x, 4.1f), u = limit * limit;
    vector p = u * 5.3619e-3f + 6.803706e-2f;
    p = p * u + 7.9772801e-1f;
    vector q = u * 4.4003e-4f + 2.427439e-2f;
    q = q * u + 2.5125129e-1f;
    q = q * u + 1.0f;
    return half + half * rough_quotient(limit * p, q);
}

INLINE float sum_of(vector x) {
#if VECTOR_FLOATS == 16
    return _mm512_reduce_add_ps((__m512)x);
#endif
    for (int half = VECTOR_FLOATS / 2; half; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

INLINE float largest_of(vector x) {
#if VECTOR_FLOATS == 16
    return _mm512_reduce_max_ps((__m512)x);
#endif
    for (int half = VECTOR_FLOATS / 2; half; half /= 2)
        for (int i = 0; i < half; i++) x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
    return x[0];
}
