/* Transforms of frames that fill no vector, with every radix, and bins that are missing. */
#include "stft.h"

#include <stdlib.h>

#include "check.h"

static const struct stft_shape shapes[] = {{2048, 441, 1025, 21}, {6144, 1024, 2560, 16}, {60, 7, 20, 37},
                                           {30, 15, 16, 5},       {2, 1, 2, 3},           {128, 128, 1, 9}};

static int tried_isa;

/* There and back again. */
static int transform(int isa, const struct stft_shape *shape) {
    const size_t samples = (size_t)shape->hop * (shape->frames - 1), bins = (size_t)shape->bins * shape->frames;
    float *window = numbers(shape->size), *signal = numbers(samples), *spectrum = room_for(2 * bins * sizeof(float));
    stft *stft = NULL;
    for (int i = 0; i < shape->size; i++) window[i] += 1;
    int status = stft_create(&stft, isa, shape, window);
    if (!status) status = stft_forward(stft, signal, spectrum);
    if (!status) require_finite(spectrum, 2 * bins, "a spectrum");
    if (!status) status = stft_inverse(stft, spectrum, signal);
    if (!status) require_finite(signal, samples, "the samples of a spectrum");
    stft_free(stft);
    free(window), free(signal), free(spectrum);
    return status;
}

static int attempt(void) { return transform(tried_isa, &shapes[2]); }

static void refuse(int size, int hop, int bins, int frames, int status, const char *what) {
    const struct stft_shape shape = {size, hop, bins, frames};
    float *window = numbers(64);
    stft *stft;
    expect(stft_create(&stft, TDFNET_BASELINE, &shape, window), status, what);
    require(stft == NULL, what);
    free(window);
}

void check_stft(int isa) {
    for (int i = 0; i < COUNT(shapes); i++) expect(transform(isa, &shapes[i]), TDFNET_OK, "a transform");
    tried_isa = isa;
    with_every_failure(attempt, "a transform");
    refuse(22, 5, 10, 9, TDFNET_UNSUPPORTED, "a factor of 11");
    refuse(27, 5, 10, 9, TDFNET_UNSUPPORTED, "an odd frame");
    refuse(32, 33, 10, 9, TDFNET_BAD_ARGUMENT, "a gap between frames");
    refuse(32, 8, 18, 9, TDFNET_BAD_ARGUMENT, "too many bins");
    refuse(32, 8, 17, 3, TDFNET_BAD_ARGUMENT, "too few samples to reflect");
    expect(stft_forward(NULL, NULL, NULL), TDFNET_BAD_ARGUMENT, "no transform");
    stft_free(NULL);
}
