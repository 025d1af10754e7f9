/* Numbers of 16 bits with the exponent of a float32: the upper half of one. Products of two are exact in float32.
 *
 *     x = high + low + rest,   |low| <= 2^-8 |x|,   |rest| <= 2^-17 |x|
 *
 * One term, high * high, gives a matrix product about 54 dB; three terms, high * high + high * low + low * high, 108.
 *
 * Cut into three parts of 8 bits, x is their sum: with the six largest of the nine products a matrix product is as
 * exact as one in float32. */

typedef uint32_t bits __attribute__((vector_size(VECTOR_FLOATS * 4), may_alias));
typedef uint16_t halves __attribute__((vector_size(VECTOR_FLOATS * 2), may_alias, aligned(2)));

#define UPPER_HALF 0xffff0000u

/* The nearest bfloat16, to even ones in the middle between two, as a float. */
INLINE vector high_part(vector x) {
    const bits b = (bits)x;
    return (vector)((b + 0x7fff + (b >> 16 & 1)) & UPPER_HALF);
}

/* What is left of x, rounded in the same way. */
INLINE vector low_part(vector x) { return high_part(x - high_part(x)); }

/* x = part[0] + part[1] + part[2]. They are cut off and not rounded, which takes a third of the instructions. */
INLINE void cut_in_parts(vector x, vector part[PARTS]) {
    part[0] = (vector)((bits)x & UPPER_HALF);
    part[1] = (vector)((bits)(x - part[0]) & UPPER_HALF);
    part[2] = x - part[0] - part[1];
}

/* Stores numbers that are bfloat16 already, side by side. */
INLINE void store_bfloat16(uint16_t *to, vector x) { *(halves *)to = __builtin_convertvector((bits)x >> 16, halves); }

/* Stores numbers that are bfloat16 already, in pairs: even[0], odd[0], even[1], ... */
INLINE void store_pairs(uint16_t *to, vector even, vector odd) {
    store((float *)(void *)to, (vector)((bits)even >> 16 | ((bits)odd & UPPER_HALF)));
}

/* Rounds numbers and stores them side by side. Where the processor does it, those below 2^-126 become zero. */
INLINE void store_rounded(uint16_t *to, vector x) {
#if CONVERTS_BFLOAT16
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    store_bfloat16(to, high_part(x));
#endif
}
