/* The short-time Fourier transform of as many frames at a time as a vector has floats. Samples of adjacent frames are
 * adjacent once the signal is turned, and adjacent frames are adjacent in a spectrum: neither is ever sorted.
 *
 * The transform of n real samples is computed from one of n / 2 complex points z[i] = x[2i] + i x[2i + 1]. */

INLINE vector load_unaligned(const float *from) { return *(const unaligned_vector *)from; }

/* The first `lanes` floats, zeros behind them. */
INLINE vector load_lanes(const float *from, int lanes) {
    if (lanes == VECTOR_FLOATS) return load_unaligned(from);
    vector x = {0};
    memcpy(&x, from, (size_t)lanes * sizeof(float));
    return x;
}

INLINE void store_lanes(float *to, vector x, int lanes) {
    if (lanes == VECTOR_FLOATS) store_unaligned(to, x);
    else memcpy(to, &x, (size_t)lanes * sizeof(float));
}

static int lanes_of(const struct stft *stft, int frame) {
    const int left = stft->shape.frames - frame;
    return left < VECTOR_FLOATS ? left : VECTOR_FLOATS;
}

/* A sample of the signal, which is reflected at both ends. What lies further out has no meaning. */
static float reflected(const struct stft *stft, const float *samples, ptrdiff_t at) {
    if (at < 0) at = -at;
    if (at >= stft->samples) at = 2 * (stft->samples - 1) - at;
    return at < 0 ? 0 : samples[at];
}

/* Whether the columns from `column` on, TURNED_COLUMNS of them, have samples of the signal only. */
static int is_inside(const struct stft *stft, ptrdiff_t start) {
    return start >= 0 && start + TURNED_COLUMNS * stft->shape.hop <= stft->samples;
}

/* turned[hop][columns] from the signal. */
static void turn_samples(const struct stft *stft, const float *samples, float *turned) {
    const ptrdiff_t hop = stft->shape.hop;
    for (int column = 0; column < stft->columns; column += TURNED_COLUMNS, turned += TURNED_COLUMNS) {
        const ptrdiff_t start = column * hop - stft->shape.size / 2;
        const int inside = is_inside(stft, start);
        for (ptrdiff_t i = 0; i < hop; i++)
            for (int j = 0; j < TURNED_COLUMNS; j++) {
                const ptrdiff_t at = start + j * hop + i;
                turned[i * stft->columns + j] = inside ? samples[at] : reflected(stft, samples, at);
            }
    }
}

/* The signal from turned[hop][columns], divided by the squares of the windows. */
static void turn_back(const struct stft *stft, const float *turned, float *samples) {
    const ptrdiff_t hop = stft->shape.hop;
    for (int column = 0; column < stft->columns; column += TURNED_COLUMNS, turned += TURNED_COLUMNS) {
        const ptrdiff_t start = column * hop - stft->shape.size / 2;
        const int inside = is_inside(stft, start);
        for (ptrdiff_t i = 0; i < hop; i++)
            for (int j = 0; j < TURNED_COLUMNS; j++) {
                const ptrdiff_t at = start + j * hop + i;
                if (inside || (at >= 0 && at < stft->samples))
                    samples[at] = turned[i * stft->columns + j] * stft->one_over_squares[at];
            }
    }
}

/* The windowed samples of the frames from `frame` on. */
INLINE void read_frames(const struct stft *stft, const float *turned, int frame, float *points) {
    const int size = stft->shape.size, hop = stft->shape.hop;
    for (int start = 0; start < size; start += hop, frame++) {
        const int stop = start + hop < size ? start + hop : size;
        for (int i = start; i < stop; i++)
            store(points + (ptrdiff_t)i * VECTOR_FLOATS,
                  load_unaligned(turned + (ptrdiff_t)(i - start) * stft->columns + frame) * stft->window_in[i]);
    }
}

/* Adds the windowed samples of the frames from `frame` on. */
INLINE void add_frames(const struct stft *stft, const float *points, int frame, float *turned) {
    const int size = stft->shape.size, hop = stft->shape.hop;
    for (int start = 0; start < size; start += hop, frame++) {
        const int stop = start + hop < size ? start + hop : size;
        for (int i = start; i < stop; i++) {
            float *to = turned + (ptrdiff_t)(i - start) * stft->columns + frame;
            const vector x = load(points + (ptrdiff_t)i * VECTOR_FLOATS);
            store_unaligned(to, load_unaligned(to) + x * stft->window_out[i]);
        }
    }
}

/* The bins of real signals from the transforms of their complex points. */
INLINE void write_spectrum(const struct stft *stft, const float *points, float *spectrum, int lanes) {
    const ptrdiff_t frames = stft->shape.frames, bins = stft->shape.bins, half = stft->half;
    for (ptrdiff_t k = 0; k <= half / 2; k++) {
        const float *a = points + (ptrdiff_t)stft->place[k] * POINT_FLOATS;
        const float *b = points + (ptrdiff_t)stft->place[k ? half - k : 0] * POINT_FLOATS;
        const vector a_re = load(a), a_im = load(a + VECTOR_FLOATS), b_re = load(b), b_im = load(b + VECTOR_FLOATS);
        const vector even_re = a_re + b_re, even_im = a_im - b_im, odd_re = a_re - b_re, odd_im = a_im + b_im;
        const float cosine = stft->turns[2 * k], sine = stft->turns[2 * k + 1];
        const vector re = odd_re * sine - odd_im * cosine, im = odd_im * sine + odd_re * cosine;
        if (k < bins) {
            store_lanes(spectrum + k * frames, even_re - re, lanes);
            store_lanes(spectrum + (bins + k) * frames, even_im - im, lanes);
        }
        if (half - k < bins) {
            store_lanes(spectrum + (half - k) * frames, even_re + re, lanes);
            store_lanes(spectrum + (bins + half - k) * frames, -even_im - im, lanes);
        }
    }
}

INLINE vector bin_of(const struct stft *stft, const float *part, ptrdiff_t k, int lanes) {
    return k < stft->shape.bins ? load_lanes(part + k * stft->shape.frames, lanes) : (vector){0};
}

/* The inverse of write_spectrum, but for a factor of 2. */
INLINE void read_spectrum(const struct stft *stft, const float *spectrum, float *points, int lanes) {
    const ptrdiff_t half = stft->half;
    const float *imaginary = spectrum + (ptrdiff_t)stft->shape.bins * stft->shape.frames;
    for (ptrdiff_t k = 0; k <= half / 2; k++) {
        const vector a_re = bin_of(stft, spectrum, k, lanes), b_re = bin_of(stft, spectrum, half - k, lanes);
        const vector a_im = k ? bin_of(stft, imaginary, k, lanes) : (vector){0};
        const vector b_im = k ? bin_of(stft, imaginary, half - k, lanes) : (vector){0};
        const vector even_re = a_re + b_re, even_im = a_im - b_im, odd_re = a_re - b_re, odd_im = a_im + b_im;
        const float cosine = stft->turns[2 * k], sine = stft->turns[2 * k + 1];
        const vector re = odd_re * sine + odd_im * cosine, im = odd_re * cosine - odd_im * sine;
        float *a = points + (ptrdiff_t)stft->place[k] * POINT_FLOATS;
        float *b = points + (ptrdiff_t)stft->place[k ? half - k : 0] * POINT_FLOATS;
        store(b, even_re + re), store(b + VECTOR_FLOATS, im - even_im);
        store(a, even_re - re), store(a + VECTOR_FLOATS, even_im + im);
    }
}

static void forward_job(const struct stft *stft, struct stft_workspace work, const float *samples, float *spectrum) {
    turn_samples(stft, samples, work.turned);
    for (int frame = 0; frame < stft->shape.frames; frame += VECTOR_FLOATS) {
        read_frames(stft, work.turned, frame, work.points);
        fourier_forward(stft, 0, work.points);
        write_spectrum(stft, work.points, spectrum + frame, lanes_of(stft, frame));
    }
}

static void inverse_job(const struct stft *stft, struct stft_workspace work, const float *spectrum, float *samples) {
    memset(work.turned, 0, (size_t)stft->shape.hop * stft->columns * sizeof(float));
    for (int frame = 0; frame < stft->shape.frames; frame += VECTOR_FLOATS) {
        read_spectrum(stft, spectrum + frame, work.points, lanes_of(stft, frame));
        fourier_inverse(stft, 0, work.points);
        add_frames(stft, work.points, frame, work.turned);
    }
    turn_back(stft, work.turned, samples);
}
