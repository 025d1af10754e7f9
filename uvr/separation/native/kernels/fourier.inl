/* Fourier transforms of as many signals as a vector has floats, each in a lane of its own.
 *
 * In place: decimation in frequency puts the frequencies in another order (`place` of stft_jobs.h), and the inverse
 * undoes its passes in reverse order, so nothing is ever sorted. Blocks that fit the L1 cache go through all of their
 * passes before the next one is read. A point is its real parts, then its imaginary parts. The inverse is the forward
 * transform with both exchanged, and is not divided by the number of points. */

#define POINT_FLOATS (2 * VECTOR_FLOATS)
#define CACHED_FLOATS 8192

struct points {
    vector re[5], im[5];
};

INLINE void turn_point(struct points *x, int j, float cosine, float sine) {
    const vector re = x->re[j];
    x->re[j] = re * cosine - x->im[j] * sine;
    x->im[j] = re * sine + x->im[j] * cosine;
}

INLINE void fourier_2(struct points *x) {
    const vector re = x->re[1], im = x->im[1];
    x->re[1] = x->re[0] - re, x->im[1] = x->im[0] - im;
    x->re[0] += re, x->im[0] += im;
}

INLINE void fourier_3(struct points *x) {
    const float sine = 0.866025403784438647f;
    const vector sum_re = x->re[1] + x->re[2], sum_im = x->im[1] + x->im[2];
    const vector re = (x->re[1] - x->re[2]) * sine, im = (x->im[1] - x->im[2]) * sine;
    const vector mean_re = x->re[0] - sum_re * 0.5f, mean_im = x->im[0] - sum_im * 0.5f;
    x->re[0] += sum_re, x->im[0] += sum_im;
    x->re[1] = mean_re + im, x->im[1] = mean_im - re;
    x->re[2] = mean_re - im, x->im[2] = mean_im + re;
}

INLINE void fourier_4(struct points *x) {
    const vector even_re = x->re[0] + x->re[2], even_im = x->im[0] + x->im[2];
    const vector odd_re = x->re[1] + x->re[3], odd_im = x->im[1] + x->im[3];
    const vector first_re = x->re[0] - x->re[2], first_im = x->im[0] - x->im[2];
    const vector second_re = x->re[1] - x->re[3], second_im = x->im[1] - x->im[3];
    x->re[0] = even_re + odd_re, x->im[0] = even_im + odd_im;
    x->re[1] = first_re + second_im, x->im[1] = first_im - second_re;
    x->re[2] = even_re - odd_re, x->im[2] = even_im - odd_im;
    x->re[3] = first_re - second_im, x->im[3] = first_im + second_re;
}

INLINE void fourier_5(struct points *x) {
    const float c1 = 0.309016994374947424f, c2 = -0.809016994374947424f; /* cosines of 72 and 144 degrees */
    const float s1 = 0.951056516295153572f, s2 = 0.587785252292473129f;
    const vector re0 = x->re[0], im0 = x->im[0];
    const vector sum1_re = x->re[1] + x->re[4], sum1_im = x->im[1] + x->im[4];
    const vector sum2_re = x->re[2] + x->re[3], sum2_im = x->im[2] + x->im[3];
    const vector odd1_re = x->re[1] - x->re[4], odd1_im = x->im[1] - x->im[4];
    const vector odd2_re = x->re[2] - x->re[3], odd2_im = x->im[2] - x->im[3];
    const vector even1_re = re0 + sum1_re * c1 + sum2_re * c2, even1_im = im0 + sum1_im * c1 + sum2_im * c2;
    const vector even2_re = re0 + sum1_re * c2 + sum2_re * c1, even2_im = im0 + sum1_im * c2 + sum2_im * c1;
    const vector turned1_re = odd1_re * s1 + odd2_re * s2, turned1_im = odd1_im * s1 + odd2_im * s2;
    const vector turned2_re = odd1_re * s2 - odd2_re * s1, turned2_im = odd1_im * s2 - odd2_im * s1;
    x->re[0] = re0 + sum1_re + sum2_re, x->im[0] = im0 + sum1_im + sum2_im;
    x->re[1] = even1_re + turned1_im, x->im[1] = even1_im - turned1_re;
    x->re[2] = even2_re + turned2_im, x->im[2] = even2_im - turned2_re;
    x->re[3] = even2_re - turned2_im, x->im[3] = even2_im + turned2_re;
    x->re[4] = even1_re - turned1_im, x->im[4] = even1_im + turned1_re;
}

/* Butterflies of one block. The twiddles of a block with parts of one point are all 1. */
INLINE void fourier_block(const struct stft_pass *pass, float *points, int radix, int inverse, int single) {
    const ptrdiff_t step = (ptrdiff_t)pass->part * POINT_FLOATS;
    const float *twiddle = pass->twiddles;
    struct points x;
    for (int k = 0; k < pass->part; k++, points += POINT_FLOATS, twiddle += 2 * (radix - 1)) {
#pragma GCC unroll 5
        for (int j = 0; j < radix; j++) {
            x.re[j] = load(points + j * step + (inverse ? VECTOR_FLOATS : 0));
            x.im[j] = load(points + j * step + (inverse ? 0 : VECTOR_FLOATS));
            if (inverse && !single && j) turn_point(&x, j, twiddle[2 * j - 2], twiddle[2 * j - 1]);
        }
        radix == 2 ? fourier_2(&x) : radix == 3 ? fourier_3(&x) : radix == 4 ? fourier_4(&x) : fourier_5(&x);
#pragma GCC unroll 5
        for (int j = 0; j < radix; j++) {
            if (!inverse && !single && j) turn_point(&x, j, twiddle[2 * j - 2], twiddle[2 * j - 1]);
            store(points + j * step + (inverse ? VECTOR_FLOATS : 0), x.re[j]);
            store(points + j * step + (inverse ? 0 : VECTOR_FLOATS), x.im[j]);
        }
    }
}

/* One pass over `blocks` adjacent blocks. */
INLINE void fourier_blocks(const struct stft_pass *pass, float *points, int blocks, int radix, int inverse) {
    const ptrdiff_t step = (ptrdiff_t)pass->part * radix * POINT_FLOATS;
    if (pass->part == 1)
        for (int i = 0; i < blocks; i++) fourier_block(pass, points + i * step, radix, inverse, 1);
    else
        for (int i = 0; i < blocks; i++) fourier_block(pass, points + i * step, radix, inverse, 0);
}

INLINE void fourier_pass(const struct stft_pass *pass, float *points, int blocks, int inverse) {
    switch (pass->radix) {
        case 2: fourier_blocks(pass, points, blocks, 2, inverse); break;
        case 3: fourier_blocks(pass, points, blocks, 3, inverse); break;
        case 4: fourier_blocks(pass, points, blocks, 4, inverse); break;
        default: fourier_blocks(pass, points, blocks, 5, inverse);
    }
}

/* All passes from `first` on of a block that fits the cache. */
INLINE void fourier_cached(const struct stft *stft, int first, float *points, int inverse) {
    const int size = stft->pass[first].radix * stft->pass[first].part;
    for (int i = first; i < stft->passes; i++) {
        const struct stft_pass *pass = &stft->pass[inverse ? stft->passes - 1 - (i - first) : i];
        fourier_pass(pass, points, size / (pass->radix * pass->part), inverse);
    }
}

INLINE void fourier_from(const struct stft *stft, int first, float *points, int inverse);

static void fourier_forward(const struct stft *stft, int first, float *points) { fourier_from(stft, first, points, 0); }

static void fourier_inverse(const struct stft *stft, int first, float *points) { fourier_from(stft, first, points, 1); }

INLINE void fourier_from(const struct stft *stft, int first, float *points, int inverse) {
    if (first == stft->passes) return;
    const struct stft_pass *pass = &stft->pass[first];
    const ptrdiff_t step = (ptrdiff_t)pass->part * POINT_FLOATS;
    if (step * pass->radix <= CACHED_FLOATS) {
        fourier_cached(stft, first, points, inverse);
        return;
    }
    if (!inverse) fourier_pass(pass, points, 1, 0);
    for (int j = 0; j < pass->radix; j++)
        (inverse ? fourier_inverse : fourier_forward)(stft, first + 1, points + j * step);
    if (inverse) fourier_pass(pass, points, 1, 1);
}
