/* Tables and memory of a short-time Fourier transform; stft.inl computes it. */
#include <math.h>
#include <stdlib.h>

#include "dispatch.h"
#include "memory.h"
#include "stft_jobs.h"

#define MAX_SIZE (1 << 20)
#define MAX_SAMPLES (1 << 26)

static const int radices[] = {4, 2, 3, 5};

/* Divides the transform into passes; 0 if its length has other prime factors. */
static int divide(stft *stft) {
    int left = stft->half;
    for (size_t i = 0; i < sizeof radices / sizeof *radices; i++)
        for (; left % radices[i] == 0; left /= radices[i])
            stft->pass[stft->passes++] = (struct stft_pass){radices[i], left / radices[i], NULL};
    return left == 1;
}

/* Where the passes put frequency k: they sort by its remainder of the first radix, then of the second one, … */
static int place_of(const stft *stft, int k) {
    int place = 0;
    for (int i = 0; i < stft->passes; k /= stft->pass[i++].radix) place += k % stft->pass[i].radix * stft->pass[i].part;
    return place;
}

static void set_turn(float *turn, double part_of_circle) {
    const double angle = 2 * acos(-1.0) * part_of_circle;
    turn[0] = (float)cos(angle), turn[1] = (float)sin(angle);
}

static size_t twiddles_of(const struct stft_pass *pass) { return (size_t)pass->part * (pass->radix - 1); }

static void fill_tables(stft *stft) {
    float *twiddle = stft->twiddles;
    for (int i = 0; i < stft->passes; i++) {
        struct stft_pass *pass = &stft->pass[i];
        pass->twiddles = twiddle;
        for (int k = 0; k < pass->part; k++)
            for (int j = 1; j < pass->radix; j++, twiddle += 2)
                set_turn(twiddle, -(double)j * k / ((double)pass->radix * pass->part));
    }
    for (int k = 0; k <= stft->half; k++) set_turn(stft->turns + 2 * k, (double)k / stft->shape.size);
    for (int k = 0; k < stft->half; k++) stft->place[k] = place_of(stft, k);
}

/* The windows, and what the sum of the squared windows of all frames is at each sample. */
static void fill_windows(stft *stft, const float *window, double *squares) {
    const int size = stft->shape.size, hop = stft->shape.hop;
    for (int i = 0; i < size; i++) {
        stft->window_in[i] = window[i] / 2;
        stft->window_out[i] = window[i] / (float)size;
        for (int frame = 0; frame < stft->shape.frames; frame++) {
            const ptrdiff_t at = (ptrdiff_t)frame * hop + i - size / 2;
            if (at >= 0 && at < stft->samples) squares[at] += (double)window[i] * window[i];
        }
    }
    for (ptrdiff_t i = 0; i < stft->samples; i++)
        stft->one_over_squares[i] = squares[i] > 0 ? (float)(1 / squares[i]) : 0;
}

static int make_tables(stft *stft, const float *window) {
    const size_t size = (size_t)stft->shape.size, samples = (size_t)stft->samples, turns = (size_t)stft->half + 1;
    size_t twiddles = 0;
    for (int i = 0; i < stft->passes; i++) twiddles += twiddles_of(&stft->pass[i]);
    double *squares = calloc(samples, sizeof *squares);
    stft->place = malloc((size_t)stft->half * sizeof *stft->place);
    stft->memory = new_floats(2 * (twiddles + turns + size) + samples);
    if (squares && stft->place && stft->memory) {
        stft->twiddles = stft->memory;
        stft->turns = stft->twiddles + 2 * twiddles;
        stft->window_in = stft->turns + 2 * turns;
        stft->window_out = stft->window_in + size;
        stft->one_over_squares = stft->window_out + size;
        fill_tables(stft);
        fill_windows(stft, window, squares);
    }
    const int is_made = squares && stft->place && stft->memory;
    free(squares);
    return is_made ? TDFNET_OK : TDFNET_NO_MEMORY;
}

static int is_possible(const struct stft_shape *shape) {
    if (shape->size < 2 || shape->size > MAX_SIZE || shape->hop < 1 || shape->hop > shape->size) return 0;
    if (shape->frames < 2 || shape->bins < 1 || shape->bins > shape->size / 2 + 1) return 0;
    const ptrdiff_t samples = (ptrdiff_t)shape->hop * (shape->frames - 1);
    return samples > shape->size / 2 && samples <= MAX_SAMPLES;
}

int stft_create(stft **result, int isa, const struct stft_shape *shape, const float *window) {
    if (!result || !shape || !window) return TDFNET_BAD_ARGUMENT;
    *result = NULL;
    if (!is_possible(shape)) return TDFNET_BAD_ARGUMENT;
    isa = resolve_isa(isa);
    if (isa < 0) return isa;
    stft *made = calloc(1, sizeof *made);
    if (!made) return TDFNET_NO_MEMORY;
    const int pieces = divide_up(shape->size, shape->hop);
    made->shape = *shape;
    made->kernels = kernels_for(isa, 0, 0);
    made->half = shape->size / 2;
    made->samples = (ptrdiff_t)shape->hop * (shape->frames - 1);
    made->columns = (int)round_up(round_up(shape->frames, LINE) + pieces, LINE);
    const int status = shape->size % 2 == 0 && divide(made) ? make_tables(made, window) : TDFNET_UNSUPPORTED;
    if (status) stft_free(made);
    else *result = made;
    return status;
}

void stft_free(stft *stft) {
    if (!stft) return;
    free(stft->place);
    free(stft->memory);
    free(stft);
}

/* Runs a job with memory that nothing keeps: beside a network it would be missing. */
static int run(const stft *stft, stft_job *job, const float *from, float *to) {
    const size_t turned = (size_t)round_up((ptrdiff_t)stft->columns * stft->shape.hop, LINE);
    float *memory = scratch_floats(turned + (size_t)stft->shape.size * stft->kernels->width);
    if (!memory) return TDFNET_NO_MEMORY;
    job(stft, (struct stft_workspace){memory, memory + turned}, from, to);
    free(memory);
    return TDFNET_OK;
}

int stft_forward(const stft *stft, const float *samples, float *spectrum) {
    if (!stft || !samples || !spectrum) return TDFNET_BAD_ARGUMENT;
    return run(stft, stft->kernels->stft_forward, samples, spectrum);
}

int stft_inverse(const stft *stft, const float *spectrum, float *samples) {
    if (!stft || !samples || !spectrum) return TDFNET_BAD_ARGUMENT;
    return run(stft, stft->kernels->stft_inverse, spectrum, samples);
}
